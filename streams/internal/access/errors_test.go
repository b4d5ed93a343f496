package access_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/streamstest"
)

func TestClassify(t *testing.T) {
	const inScript = " script: 0123, on @user_script:7."
	for _, test := range []struct {
		err  error
		want domain.Class
	}{
		{streamstest.RedisError("NOAUTH Authentication required."), domain.ClassFatal},
		{streamstest.RedisError("WRONGPASS invalid username-password pair"), domain.ClassFatal},
		{streamstest.RedisError("NOPERM this user has no permissions to run the 'xadd' command"), domain.ClassFatal},
		{streamstest.RedisError("WRONGTYPE Operation against a key holding the wrong kind of value"), domain.ClassPoison},
		{streamstest.RedisError("WRONGTYPE Operation against a key holding the wrong kind of value" + inScript), domain.ClassPoison},
		{streamstest.RedisError("ERR user_script:12: order record is damaged: x" + inScript), domain.ClassPoison},
		{streamstest.RedisError("OOM command not allowed when used memory > 'maxmemory'." + inScript), domain.ClassRetry},
		{streamstest.RedisError("LOADING Redis is loading the dataset in memory"), domain.ClassRetry},
		{streamstest.RedisError("READONLY You can't write against a read only replica." + inScript), domain.ClassRetry},
		{streamstest.RedisError("MISCONF Redis is configured to save RDB snapshots"), domain.ClassRetry},
		{streamstest.RedisError("BUSY Redis is busy running a script."), domain.ClassRetry},
		{streamstest.RedisError("NOGROUP No such key 'x' or consumer group 'y'" + inScript), domain.ClassRetry},
		{streamstest.RedisError("NOSCRIPT No matching script."), domain.ClassRetry},
		{streamstest.RedisError("CLUSTERDOWN The cluster is down"), domain.ClassRetry},
		{io.EOF, domain.ClassRetry},
		{&net.OpError{Op: "dial", Err: io.EOF}, domain.ClassRetry},
		{context.DeadlineExceeded, domain.ClassRetry},
		{redis.ErrPoolTimeout, domain.ClassRetry},
	} {
		err := access.Classify(fmt.Errorf("doing it: %w", test.err))
		if got := domain.ClassOf(err); got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%v: class %s, want %s", test.err, got, test.want)
		}
	}
	if access.Classify(nil) != nil {
		t.Error("no error became one")
	}
}

func TestClassifyChange(t *testing.T) {
	for _, test := range []struct {
		err     error
		unknown bool
	}{
		{streamstest.RedisError("OOM command not allowed when used memory > 'maxmemory'."), false},
		{streamstest.RedisError("NOPERM this user has no permissions"), false},
		{redis.Nil, false},
		{&net.OpError{Op: "dial", Err: io.EOF}, false},
		{redis.ErrPoolTimeout, false},
		{redis.ErrClosed, false},
		{&net.OpError{Op: "read", Err: io.EOF}, true},
		{io.EOF, true},
		{context.DeadlineExceeded, true},
		{context.Canceled, true},
	} {
		err := access.ClassifyChange(fmt.Errorf("doing it: %w", test.err))
		if errors.Is(err, domain.ErrUnknownOutcome) != test.unknown || !errors.Is(err, test.err) {
			t.Errorf("%v: %v, want that it may have happened: %t", test.err, err, test.unknown)
		}
		if want := domain.ClassOf(access.Classify(test.err)); domain.ClassOf(err) != want {
			t.Errorf("%v: class %s, want %s", test.err, domain.ClassOf(err), want)
		}
	}
	if access.ClassifyChange(nil) != nil {
		t.Error("no error became one")
	}
}
