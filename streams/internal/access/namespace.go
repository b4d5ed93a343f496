// Package access is a namespace on a Redis as the packages of streams get at it, and
// what more than one of them reads. An error that it returns has its class.
package access

import (
	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

const (
	// MaxBatch bounds the items of one command or script: no argument list comes near
	// the 5,000 values that Lua's stack surely takes, and no call keeps Redis busy for long.
	MaxBatch = 512
	// ReadPage is how many entries, pending entries or keys one call asks for.
	ReadPage = 1000
)

// Namespace is one, on the Redis that its client is connected to.
type Namespace struct {
	Client redis.UniversalClient
	Keys   layout.Keys
	// Hashes is what is known of where orders are.
	Hashes *OrderHashes
	// PaymentNamespace is that of the payments' names: empty where they are plain.
	PaymentNamespace string
	// Redrive and Discard are scripts/redrive.lua and discard.lua: scripts are loaded in package streams, all of them.
	Redrive, Discard *redis.Script
	// Archived is where entries of the log are read that were trimmed; nil: nowhere.
	Archived domain.ArchivedEntries
}

// Store is a *streams.Store. The packages below streams take it as this, and import
// neither streams nor each other.
type Store interface {
	// Inside is the namespace.
	Inside() Namespace
}
