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
	return layout.EncodeOrder(o)
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
