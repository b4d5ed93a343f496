// Package streamstest is what the tests of streams and of the packages below it share:
// a Redis for all tests of a binary, a look at what is in it, and what scripts write.
package streamstest

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"holdfast/streams/redistest"
)

// binary is the testing.TB of things that live as long as the test binary.
type binary struct {
	testing.TB
	mu       sync.Mutex
	server   *redistest.Server
	cleanups []func()
}

// Run runs the tests of a binary, and stops their server.
func Run(m *testing.M) int {
	defer shared.stop()
	return m.Run()
}

var shared binary

func (b *binary) Helper()                           {}
func (b *binary) Cleanup(f func())                  { b.cleanups = append(b.cleanups, f) }
func (b *binary) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (b *binary) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (b *binary) stop() {
	for _, f := range slices.Backward(b.cleanups) {
		f()
	}
}

// Server is one empty redis-server for all tests that do not change its settings.
func Server() *redistest.Server {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil {
		shared.server = redistest.Start(&shared)
	}
	shared.server.Flush()
	return shared.server
}
