package webhooks

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"holdfast/domain"
)

// payload is what an endpoint is sent.
type payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"` // of the fact
	Data      data      `json:"data"`
}

type data struct {
	Fact     string `json:"fact,omitempty"`     // its name in the log of its partition
	Revision string `json:"revision,omitempty"` // of the order as it is told here: it grows
	Order    any    `json:"order,omitempty"`
}

// encode is the body of a message about an order as it is now.
func encode(m domain.WebhookMessage, o domain.Order, view any) ([]byte, error) {
	body, err := json.Marshal(payload{
		Type: domain.WebhookType(m.Type), Timestamp: time.UnixMilli(domain.EntryMillis(entryOf(m))).UTC(), Data: data{m.Fact, o.Version, view},
	})
	if err != nil {
		return nil, fmt.Errorf("order %s: %w", m.Ref, err)
	}
	return body, nil
}

// entryOf is the log entry that a message's fact stands in.
func entryOf(m domain.WebhookMessage) string {
	entry, _, _ := strings.Cut(m.Fact, "#")
	return entry
}

// gone reports whether nothing is known any more of what a message is about: the order was forgotten, or Redis has lost the fact.
func gone(m domain.WebhookMessage, o domain.Order) bool {
	return o.State == domain.OrderNone || domain.EntryMillis(o.Version) < domain.EntryMillis(entryOf(m))
}

// TestMessage is a message that is about nothing.
func TestMessage(now time.Time) (id string, body []byte, err error) {
	body, err = json.Marshal(payload{Type: "test", Timestamp: now.UTC()})
	return "msg_test_" + NewID()[len("wh_"):], body, err
}
