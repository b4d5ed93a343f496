// Package streamstest is what the tests of streams and of the packages below it share:
// a Redis for all tests of a binary, a look at what is in it, and what scripts write.
package streamstest

import (
	"sync"
	"testing"

	"holdfast/streams/redistest"
)

var shared struct {
	mu     sync.Mutex
	server *redistest.Server
	stop   func()
}

// Run runs the tests of a binary, and stops their server.
func Run(m *testing.M) int {
	defer func() {
		if shared.server != nil {
			shared.stop()
		}
	}()
	return m.Run()
}

// Server is one empty redis-server for all tests that do not change its settings.
func Server() *redistest.Server {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil {
		shared.server, shared.stop = redistest.StartAlone()
	}
	shared.server.Flush()
	return shared.server
}
