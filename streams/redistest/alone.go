package redistest

import (
	"fmt"
	"os"
	"slices"
	"testing"
)

// StartAlone is Start where there is no test: for an Example, or for all the tests of a
// binary. What it returns stops the server.
func StartAlone(args ...string) (s *Server, stop func()) {
	a := new(alone)
	return Start(a, args...), func() {
		for _, f := range slices.Backward(a.cleanups) {
			f()
		}
	}
}

// alone is the testing.TB of things that no test owns.
type alone struct {
	testing.TB
	cleanups []func()
}

func (a *alone) Helper()                           {}
func (a *alone) Cleanup(f func())                  { a.cleanups = append(a.cleanups, f) }
func (a *alone) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (a *alone) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (a *alone) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
