package streams

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
)

// classify gives an error of Redis its class. What is not known to be final is
// to be tried again: every script can be.
func classify(err error) error {
	if err == nil {
		return nil
	}
	var reply redis.Error
	if !errors.As(err, &reply) {
		return domain.WithClass(domain.ClassRetry, err) // network, timeout, a closed pool: it may have happened
	}
	message := reply.Error()
	for _, prefix := range []string{"NOAUTH", "WRONGPASS", "NOPERM"} {
		if strings.HasPrefix(message, prefix) {
			return domain.WithClass(domain.ClassFatal, err)
		}
	}
	// Inside a script, too: there it may have stopped half way, so nobody may go on trying.
	if strings.Contains(message, "can't run this command") || strings.Contains(message, "NOPERM") {
		return domain.WithClass(domain.ClassFatal, err)
	}
	// A script that stops on what it reads (a damaged record, a key of another type)
	// will stop on it again. It has not written anything.
	if strings.HasPrefix(message, "WRONGTYPE") || strings.HasPrefix(message, "ERR") && strings.Contains(message, "user_script") {
		return domain.WithClass(domain.ClassPoison, err)
	}
	return domain.WithClass(domain.ClassRetry, err) // LOADING, OOM, READONLY, MISCONF, BUSY, …
}

// lostGroups reports whether an error means that streams or groups are gone.
// A key deleted under a blocked reader answers UNBLOCKED before Redis 7.2.
func lostGroups(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	s := reply.Error()
	return strings.HasPrefix(s, "NOGROUP") || strings.HasPrefix(s, "UNBLOCKED") ||
		strings.Contains(s, "NOGROUP") || strings.Contains(s, "no such key")
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
