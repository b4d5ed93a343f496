package streams

import (
	"errors"
	"io"
	"testing"

	"holdfast/streams/internal/streamstest"
)

func TestLostGroups(t *testing.T) {
	for text, want := range map[string]bool{
		"NOGROUP No such key 'x' or consumer group 'y' in XREADGROUP with GROUP option": true,
		"UNBLOCKED the stream key no longer exists":                                     true,
		"ERR no such key": true,
		"WRONGTYPE Operation against a key holding the wrong kind of value": false,
		"ERR syntax error": false,
		"OOM command not allowed when used memory > 'maxmemory'.": false,
	} {
		if got := lostGroups(streamstest.RedisError(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if lostGroups(io.EOF) || lostGroups(errors.New("NOGROUP")) || lostGroups(nil) {
		t.Error("only Redis can say so")
	}
}
