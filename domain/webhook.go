package domain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of webhooks.
const (
	// MaxWebhooks is how many endpoints a namespace has at most.
	MaxWebhooks = 50
	// MaxWebhookQueue is how many messages wait for an endpoint in a partition, and those of the log entries that go beyond it.
	MaxWebhookQueue = 10_000
	// WebhookTriesKept is how many tries of an endpoint are remembered in a partition.
	WebhookTriesKept = 50
	// WebhookRotation is for how long messages are signed with the secret before, too.
	WebhookRotation = 24 * time.Hour
)

// WebhookTypes are the facts of orders that an endpoint can be told.
var WebhookTypes = []FactType{
	FactHeld, FactRejected, FactPaying, FactPaymentDeclined, FactActionRequired, FactExtended, FactConfirmed, FactDeclined, FactExpired, FactLapsed,
	FactCancelled, FactReduced, FactChanged, FactChangeRefused, FactRefundGranted, FactPaymentDisputed,
}

// ToldAs is the type by which an endpoint is told a fact: of an order that is given back what it is now, for what it had been when it was lost may never have been told.
func (f Fact) ToldAs() FactType {
	if f.Type == FactRestored && f.Restored != nil {
		return FactType(f.Restored.State.String())
	}
	return f.Type
}

// webhookPrefix makes a fact's type that of a message.
const webhookPrefix = "order."

// WebhookType is what a message about a fact is called.
func WebhookType(t FactType) string { return webhookPrefix + string(t) }

// ParseWebhookType is the inverse.
func ParseWebhookType(name string) (FactType, bool) {
	t, ok := strings.CutPrefix(name, webhookPrefix)
	return FactType(t), ok && slices.Contains(WebhookTypes, FactType(t))
}

// WebhookState is whether an endpoint is sent anything.
type WebhookState string

// The states.
const (
	WebhookEnabled  WebhookState = "enabled"
	WebhookDisabled WebhookState = "disabled" // by a person
	WebhookGivenUp  WebhookState = "given_up" // by a worker, until a person enables it
)

// WebhookStates lists them.
var WebhookStates = []WebhookState{WebhookEnabled, WebhookDisabled, WebhookGivenUp}

// Why an endpoint was given up.
const (
	WebhookGone    = "gone"    // it answered 410
	WebhookFailing = "failing" // it did not take a message for as long as it is tried
	WebhookFull    = "full"    // nothing came through for a while, and as many messages wait as may
	WebhookLost    = "lost"    // what comes next for it is not in the log any more
)

// Webhook is an endpoint of somebody else that is told of orders. Its secrets are not in it.
type Webhook struct {
	ID           string
	URL          string
	Types        []FactType
	AllowPrivate bool // it may be in a private network, or on this machine, and need not be https
	State        WebhookState
	Why          string // given up: why
	SinceMillis  int64  // of the state
	// FromMillis is when it was added: it is told what happened since.
	FromMillis int64
	By         string // who asked for it, for people
}

// Validate returns the first thing that is wrong but for the URL, of ClassReject.
func (w Webhook) Validate() error { return WithCode(ClassReject, CodeInvalid, w.validate()) }

func (w Webhook) validate() error {
	if len(w.Types) == 0 {
		return errors.New("events: want at least one")
	}
	for i, t := range w.Types {
		if !slices.Contains(WebhookTypes, t) {
			return fmt.Errorf("events: there is no %q", WebhookType(t))
		}
		if slices.Contains(w.Types[:i], t) {
			return fmt.Errorf("events: %s is named twice", WebhookType(t))
		}
	}
	return Cause{By: w.By}.Validate()
}

// WebhookSecrets sign what an endpoint is sent.
type WebhookSecrets struct {
	Current             []byte
	Previous            []byte // that before; signs, too, until
	PreviousUntilMillis int64
}

// Signing are the secrets that sign at a time, the current one first.
func (s WebhookSecrets) Signing(nowMillis int64) [][]byte {
	if len(s.Previous) > 0 && nowMillis < s.PreviousUntilMillis {
		return [][]byte{s.Current, s.Previous}
	}
	return [][]byte{s.Current}
}

// WebhookMessage is what waits to be sent: a reference to a fact, by which it is known. What the order is, is read when it is sent.
type WebhookMessage struct {
	Fact        string // its name, entry-id#line
	Type        FactType
	Ref         OrderRef
	Attempts    int64 // tries, this one included
	FirstMillis int64 // when it was tried first
}

// WebhookTry is how a message was tried.
type WebhookTry struct {
	AtMillis   int64
	Fact       string
	Type       FactType
	Ref        OrderRef
	Attempt    int64
	Status     int    // of HTTP; 0: there was no answer
	Why        string // what went wrong; empty: it was taken
	TookMillis int64
}

// WebhookTurn is what a sender was given to do for an endpoint in a partition.
type WebhookTurn struct {
	Mine     bool // nobody else sends to it in that partition
	Messages []WebhookMessage
	Waiting  int64         // messages, those in hand included
	Next     time.Duration // until the next one is due, if it is there; negative: none is
}

// WebhookQueues is what a sender needs of the world: the endpoints, and for each of them and each partition a bounded queue of
// messages, which are copied from the log as there is room. Nothing of it keeps the log, or anybody who reads it, waiting.
type WebhookQueues interface {
	// Webhooks are the endpoints, the oldest first.
	Webhooks(ctx context.Context) ([]Webhook, error)
	// Secrets of one. Error: ErrNotFound.
	Secrets(ctx context.Context, id string) (WebhookSecrets, error)
	// GiveUp stops an endpoint, if it is still as it was read.
	GiveUp(ctx context.Context, w Webhook, why string) error
	// Copy puts messages into an endpoint's queue of a partition, and moves the endpoint's mark in the log behind them, in one step; more
	// reports that there may be more at once. Doing it again, or twice at the same time, is harmless. lost says since when facts
	// are missing in the log that the endpoint was not sent; it is said until Lost is acknowledged.
	Copy(ctx context.Context, partition int, w Webhook) (more bool, lost string, err error)
	// ForgetLost acknowledges that.
	ForgetLost(ctx context.Context, partition int, id string) error
	// Take makes a sender the only one of an endpoint in a partition for the lease, unless another one is, and gives it messages that are
	// due, of each order the oldest. They are due again after hold, if nothing is heard of them. A lease of 0 gives it up.
	Take(ctx context.Context, partition int, id, sender string, most int, lease, hold time.Duration) (WebhookTurn, error)
	// Sweep forgets what is left in a partition of endpoints that were removed.
	Sweep(ctx context.Context, partition int) error
	// Settle says what became of a message: it was taken, or is to be tried again after a while. Nothing changes if it was given out
	// again since. The next one of its order is due once it was taken, and not before.
	Settle(ctx context.Context, partition int, id string, m WebhookMessage, try WebhookTry, again time.Duration) error
}
