package streams

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/streamstest"
)

// TestAppendError: an error that wraps ErrUnknownOutcome may be published; any other is not.
func TestAppendError(t *testing.T) {
	for _, test := range []struct {
		err     error
		unknown bool
	}{
		{&net.OpError{Op: "dial", Err: io.EOF}, false},
		{redis.ErrPoolTimeout, false},
		{redis.ErrClosed, false},
		{streamstest.RedisError("OOM command not allowed"), false},
		{streamstest.RedisError("WRONGTYPE x"), false},
		{&net.OpError{Op: "write", Err: io.EOF}, true},
		{&net.OpError{Op: "read", Err: io.EOF}, true},
		{io.EOF, true},
		{context.DeadlineExceeded, true},
		{context.Canceled, true},
	} {
		err := appendError(test.err)
		if got := errors.Is(err, domain.ErrUnknownOutcome); got != test.unknown || !errors.Is(err, test.err) {
			t.Errorf("%v: unknown %v, want %v", test.err, got, test.unknown)
		}
	}
	if appendError(nil) != nil {
		t.Error("no error became one")
	}
}
