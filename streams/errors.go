package streams

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/streams/internal/access"
)

// lostGroups reports whether an error means that streams or groups are gone.
// A key deleted under a blocked reader answers UNBLOCKED before Redis 7.2.
func lostGroups(err error) bool {
	var reply redis.Error
	return access.NoGroup(err) || errors.As(err, &reply) && strings.HasPrefix(reply.Error(), "UNBLOCKED")
}

// answered reports whether Redis itself answered with an error, so that the
// command was not executed.
func answered(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// redirected reports whether a node of a cluster answered that another one has the slot.
func redirected(err error) bool {
	_, moved := redis.IsMovedError(err)
	_, ask := redis.IsAskError(err)
	return moved || ask
}

// outOfMemory reports whether Redis refused a write because its memory is full.
func outOfMemory(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && strings.HasPrefix(reply.Error(), "OOM")
}
