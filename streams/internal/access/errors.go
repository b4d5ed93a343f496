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
	err = withoutQuotes(err)
	var reply redis.Error
	if !errors.As(err, &reply) {
		return domain.WithClass(domain.ClassRetry, err) // network, timeout, a closed pool: it may have happened
	}
	message := reply.Error()
	for _, prefix := range []string{"NOAUTH", "WRONGPASS", "NOPERM"} {
		if strings.HasPrefix(message, prefix) {
			return domain.WithCode(domain.ClassFatal, domain.CodeDenied, err)
		}
	}
	// Inside a script, too: there it may have stopped half way, so nobody may go on trying.
	if strings.Contains(message, "can't run this command") || strings.Contains(message, "NOPERM") {
		return domain.WithCode(domain.ClassFatal, domain.CodeDenied, err)
	}
	// A script that stops on what it reads (a damaged record, a key of another type)
	// will stop on it again. It has not written anything.
	if strings.HasPrefix(message, "WRONGTYPE") || strings.HasPrefix(message, "ERR") && strings.Contains(message, "user_script") {
		return domain.WithClass(domain.ClassPoison, err)
	}
	return domain.WithClass(domain.ClassRetry, err) // LOADING, OOM, READONLY, MISCONF, BUSY, …
}

// ErrNotRedis says that what answers does not speak Redis's protocol.
var ErrNotRedis = errors.New("the answer is not one of Redis")

// withoutQuotes is err without what it repeats of a command or a reply: a password, or a
// payment token, may be in it. A server does so that does not know a command (AUTH is one
// to most), and the client with a reply that it does not understand.
func withoutQuotes(err error) error {
	text := err.Error()
	if before, _, cut := strings.Cut(text, ", with args beginning with"); cut {
		return Reword(before, err)
	}
	if before, _, cut := strings.Cut(text, "redis: can't parse"); cut {
		return fmt.Errorf("%s%w", before, ErrNotRedis)
	}
	return err
}

// Reword is an error with another text.
func Reword(text string, err error) error { return &reworded{text, err} }

type reworded struct {
	text string
	err  error
}

func (r *reworded) Error() string { return r.text }
func (r *reworded) Unwrap() error { return r.err }

// ClassifyChange is Classify for a command that changes something and that nobody is going to
// repeat by himself: if it may have been executed, the error wraps domain.ErrUnknownOutcome.
func ClassifyChange(err error) error {
	var reply redis.Error
	var op *net.OpError
	var unsent NotSent
	notSent := errors.As(err, &unsent) || errors.As(err, &op) && op.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrClosed)
	if err == nil || notSent || errors.As(err, &reply) {
		return Classify(err)
	}
	return domain.WithClass(domain.ClassRetry, fmt.Errorf("%w: %w", domain.ErrUnknownOutcome, withoutQuotes(err)))
}

// NotSent is an error of connecting: nothing was sent of what was to be.
type NotSent interface {
	error
	NotSent()
}

// IsNil reports whether Redis answered that there is nothing.
func IsNil(err error) bool { return errors.Is(err, redis.Nil) }

// NoGroup reports whether Redis answered that there is no such group, or no such stream.
func NoGroup(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && (strings.Contains(reply.Error(), "NOGROUP") || strings.Contains(reply.Error(), "no such key"))
}

// NoEvent is the error for an event that is not there, as it was found: it was forgotten, or there never was one.
func NoEvent(eventID string, found domain.Event) error {
	if found.Over != "" {
		return domain.EventOver(eventID)
	}
	return NotFound("event", eventID)
}

// NotFound is the error for something that is not there. It wraps domain.ErrNotFound.
func NotFound(what, id string) error {
	return domain.WithClass(domain.ClassReject, fmt.Errorf("%s %q: %w", what, id, domain.ErrNotFound))
}
