package streamstest

import (
	"fmt"
	"strings"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

// EncodeOrder writes a record as the scripts do.
func EncodeOrder(o domain.Order) string {
	if o.State == domain.OrderNone {
		return ""
	}
	// The times of the last change are the version's.
	at := domain.EntryMillis(o.Version)
	if o.ResolvedAtMillis == at {
		o.ResolvedAtMillis = 0
	}
	if o.State == domain.OrderConfirmed && o.ConfirmedAtMillis == at {
		o.ConfirmedAtMillis = 0
	}
	if o.ChangedAtMillis == at {
		o.ChangedAtMillis = 0
	}
	values := strings.Split(layout.OrderTail(o), "|")
	if o.State == domain.OrderHeld && o.HeldAtMillis == at && o.Change == 0 && (o.Attempt == 0 || o.RequestType == domain.RequestPurchase && o.PayState == domain.PayOpen) { // nothing has changed it since
		values[7] = "" // held_at
	}
	return o.Version + "|" + strings.Join(values, "|")
}

// Netstrings writes a list as dead_letter.lua does.
func Netstrings(list []string) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "%d:%s,", len(s), s)
	}
	return b.String()
}

// RedisError is an error as a server replies it.
type RedisError string

// Error is the text.
func (e RedisError) Error() string { return string(e) }

// RedisError marks it as such.
func (RedisError) RedisError() {}
