// Package workers runs the roles of holdfast: purchase takes requests to their
// outcome, posting writes invoices, settlement captures, voids and
// refunds, maintenance expires holds and tidies up, archive writes the log to durable storage, webhooks tells others of orders.
//
// A worker keeps nothing that it could lose. What it works on is pending in a
// consumer group; if it dies, others reclaim that and take the same steps again,
// each of which is harmless when it had happened already.
package workers

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast/domain"
)

// Role is one of the jobs a pool does.
type Role string

// The roles. Every partition needs each of them in at least one worker, but for archive and webhooks, which are for those who have such.
const (
	RolePurchase    Role = "purchase"
	RolePosting     Role = "posting"
	RoleSettlement  Role = "settlement"
	RoleMaintenance Role = "maintenance"
	RoleArchive     Role = "archive"
	RoleWebhooks    Role = "webhooks"
)

// Roles lists them all but archive and webhooks.
var Roles = []Role{RolePurchase, RolePosting, RoleSettlement, RoleMaintenance}

// Config of a Pool. The zero value of each field gets the default it names.
type Config struct {
	// Name of the consumer, unique among running workers. Default: host name, process id and a random part.
	Name string
	// Version of the program, for people who ask who works. Default: none.
	Version string
	// Roles this pool does. Default: Roles.
	Roles []Role
	// HoldTime is how long a hold lasts if the request does not say. Default 2m.
	HoldTime time.Duration
	// MaxHold bounds what a request may ask for. Default 15m.
	MaxHold time.Duration
	// ValidTime is how long a request may wait in line if it does not say. Default 15m.
	ValidTime time.Duration
	// ReclaimAfter is how long an entry may go without a sign of life from its
	// worker before others take it. Workers give one three times as often. Default 15s.
	ReclaimAfter time.Duration
	// Grace is how long Run may take to end after its context has. Default 10s.
	Grace time.Duration
	// Concurrency is how many calls of the gateway may be under way at once, for each role and
	// partition. Three times as many requests, or facts, may be in hand. Default 512.
	Concurrency int
	// PayWait is how long a pay waits for a hold that has not come yet. Default: four times ReclaimAfter,
	// because the hold may be in the hands of a worker that just died.
	PayWait time.Duration
	// MaxDeliveries is after how many deliveries an entry is set aside: each of the
	// workers before died of it, or with it. Default 20.
	MaxDeliveries int64
	// ForgetAfter is for how long it is known of a request for an event that there is not that it was rejected, from when it
	// would not be valid any more. Default 24h.
	ForgetAfter time.Duration
	// CodeKeys are what access codes are hashed with. Default: none, and requests with a code are set aside.
	CodeKeys domain.CodeKeys
	// CallTimeout bounds one call of the payment gateway. Default 10s.
	CallTimeout time.Duration
	// KeepEvent is for how long an event that was closed, and all of whose orders have ended, stays before it is forgotten, if all of it is archived;
	// 0: for ever. Default 0.
	KeepEvent time.Duration
	// ArchiveEvery is how long a fact waits at most until it is archived, as long as that can be done. Default 1s.
	ArchiveEvery time.Duration
	// SnapshotEvery is how old the newest snapshot of the archive may be until what archives takes another one; 0: it takes none. Default 0.
	SnapshotEvery time.Duration
	// TrimsLog: what archives trims the log, too. Default: the whole log stays in Redis.
	TrimsLog bool
}

// WithDefaults returns c with every unset field set.
func (c Config) WithDefaults() Config {
	setDefault(&c.HoldTime, 2*time.Minute)
	setDefault(&c.MaxHold, 15*time.Minute)
	setDefault(&c.ValidTime, 15*time.Minute)
	setDefault(&c.ReclaimAfter, 15*time.Second)
	setDefault(&c.Grace, 10*time.Second)
	setDefault(&c.PayWait, 4*c.ReclaimAfter)
	setDefault(&c.CallTimeout, 10*time.Second)
	setDefault(&c.ForgetAfter, 24*time.Hour)
	setDefault(&c.ArchiveEvery, time.Second)
	setDefault(&c.Concurrency, 512)
	setDefault(&c.MaxDeliveries, 20)
	if len(c.Roles) == 0 {
		c.Roles = slices.Clone(Roles)
	}
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil || host == "" {
			host = "worker"
		}
		c.Name = fmt.Sprintf("%s-%d-%s", host, os.Getpid(), strings.SplitN(uuid.NewString(), "-", 2)[0])
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate returns the first thing that is wrong with a complete Config, of ClassFatal.
func (c Config) Validate() error { return domain.WithClass(domain.ClassFatal, c.validate()) }

func (c Config) validate() error {
	for _, d := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"hold time", c.HoldTime, time.Millisecond},
		{"max hold", c.MaxHold, time.Millisecond},
		{"valid time", c.ValidTime, time.Millisecond},
		{"reclaim after", c.ReclaimAfter, 100 * time.Millisecond},
		{"grace", c.Grace, 100 * time.Millisecond},
		{"pay wait", c.PayWait, time.Millisecond},
		{"call timeout", c.CallTimeout, time.Millisecond},
		{"forget after", c.ForgetAfter, time.Millisecond},
		{"archive every", c.ArchiveEvery, 10 * time.Millisecond},
	} {
		if d.value < d.least {
			return fmt.Errorf("%s: want at least %s", d.name, d.least)
		}
	}
	if c.SnapshotEvery != 0 && c.SnapshotEvery < 10*time.Millisecond {
		return errors.New("snapshot every: want at least 10ms, or 0 for never")
	}
	if c.KeepEvent != 0 && c.KeepEvent < time.Millisecond {
		return errors.New("keep event: want at least 1ms, or 0 for ever")
	}
	if c.HoldTime > c.MaxHold {
		return fmt.Errorf("hold time %s is longer than max hold %s", c.HoldTime, c.MaxHold)
	}
	if c.Concurrency < 1 || c.Concurrency > 10_000 {
		return errors.New("concurrency: want 1 to 10000")
	}
	if c.MaxDeliveries < 2 {
		return errors.New("max deliveries: want at least 2")
	}
	if !domain.ValidID(c.Name) {
		return fmt.Errorf("name: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength)
	}
	for i, r := range c.Roles {
		if r != RoleArchive && r != RoleWebhooks && !slices.Contains(Roles, r) {
			return fmt.Errorf("role %q: want purchase, posting, settlement, maintenance, archive or webhooks", r)
		}
		if slices.Contains(c.Roles[:i], r) {
			return fmt.Errorf("role %q: named twice", r)
		}
	}
	return nil
}

// CallsGateway reports whether a pool with this complete Config calls the payment gateway.
func (c Config) CallsGateway() bool { return c.has(RolePurchase) || c.has(RoleSettlement) }

func (c Config) has(r Role) bool { return slices.Contains(c.Roles, r) }
