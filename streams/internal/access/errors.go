package access

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
)

// Classify gives an error of Redis its class. What is not known to be final is
// to be tried again: every script can be.
func Classify(err error) error {
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

// ClassifyChange is Classify for a command that changes something and that nobody is going to
// repeat by himself: if it may have been executed, the error wraps domain.ErrUnknownOutcome.
func ClassifyChange(err error) error {
	var reply redis.Error
	var op *net.OpError
	notSent := errors.As(err, &op) && op.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrClosed)
	if err == nil || notSent || errors.As(err, &reply) {
		return Classify(err)
	}
	return domain.WithClass(domain.ClassRetry, fmt.Errorf("%w: %w", domain.ErrUnknownOutcome, err))
}

// IsNil reports whether Redis answered that there is nothing.
func IsNil(err error) bool { return errors.Is(err, redis.Nil) }

// NotFound is the error for something that is not there. It wraps domain.ErrNotFound.
func NotFound(what, id string) error {
	return domain.WithClass(domain.ClassReject, fmt.Errorf("%s %q: %w", what, id, domain.ErrNotFound))
}
