package domain

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"
)

// PaymentStatus is what a gateway says about one order's payment.
type PaymentStatus string

// The statuses of the gateway contract.
const (
	PaymentStatusAuthorized PaymentStatus = "authorized"
	PaymentStatusDeclined   PaymentStatus = "declined"
	PaymentStatusCaptured   PaymentStatus = "captured"
	PaymentStatusVoided     PaymentStatus = "voided"
	PaymentStatusRefunded   PaymentStatus = "refunded"
)

// Payment is one order's payment, as the gateway tells it.
type Payment struct {
	AuthorizationID string
	Status          PaymentStatus
	Amount          int64 // minor units
}

// PaymentRequest asks for an authorization.
type PaymentRequest struct {
	Ref        OrderRef // the idempotency key
	Amount     int64    // minor units
	Currency   string
	CustomerID string
	Token      Secret
}

// ErrRefused is a definite "no" of the gateway to a capture or a refund. Its class is ClassReject.
var ErrRefused = WithClass(ClassReject, errors.New("refused by the payment gateway"))

// PaymentGateway is where money is. Every call is idempotent, because the order
// names the resource: whoever repeats one, from whichever worker, gets what the
// first one got. Calls honour ctx.
//
// An error is ErrNotFound, ErrRefused, or else of ClassRetry and wraps
// ErrUnknownOutcome: the call may have taken effect, and may still do so later.
type PaymentGateway interface {
	// Authorize reserves the amount. The status is authorized (or captured, if that
	// has happened since), declined, or voided or refunded: that came first, so there
	// is and will be no money.
	Authorize(ctx context.Context, r PaymentRequest) (Payment, error)
	// Lookup tells what the gateway knows; ErrNotFound if it knows nothing.
	Lookup(ctx context.Context, ref OrderRef) (Payment, error)
	// Capture collects what was authorized. ErrRefused or ErrNotFound: it never will be.
	Capture(ctx context.Context, ref OrderRef) (Payment, error)
	// Void releases an authorization, and forbids one that has not come yet. The
	// status is voided, declined or refunded: no money is reserved or taken; or
	// captured: too late, refund it.
	Void(ctx context.Context, ref OrderRef) (Payment, error)
	// Refund gives back what was captured.
	Refund(ctx context.Context, ref OrderRef) (Payment, error)
}

// LedgerLine is all that a gateway ever did for one order, for those who audit it.
type LedgerLine struct {
	EventID         string        `json:"event_id"`
	OrderID         string        `json:"order_id"`
	CustomerID      string        `json:"customer_id"`
	AuthorizationID string        `json:"authorization_id"`
	Status          PaymentStatus `json:"status"`
	Currency        string        `json:"currency"`
	Authorized      int64         `json:"authorized"`     // minor units ever authorized
	Captured        int64         `json:"captured"`       // minor units ever captured
	Voided          int64         `json:"voided"`         // minor units ever released
	Refunded        int64         `json:"refunded"`       // minor units ever given back
	Authorizations  int           `json:"authorizations"` // times an authorization took effect: 1 at most, or the gateway is broken
	Captures        int           `json:"captures"`       // times a capture took effect
	Voids           int           `json:"voids"`          // times a void took effect
	Refunds         int           `json:"refunds"`        // times a refund took effect
	Calls           int           `json:"calls"`          // calls of any kind that reached the gateway
}

// Group is a consumer group. It names its stream, too.
type Group string

// The three groups: the first reads the requests, the others the log.
const (
	GroupWorkers    Group = "workers"
	GroupPosting    Group = "posting"
	GroupSettlement Group = "settlement"
)

// Entry is one stream entry as it was delivered.
type Entry struct {
	ID         string
	Fields     []string // field, value, field, value …; nil if the payload is gone
	Deliveries int64    // how often it has been delivered, this time included; 0 if not known (a first delivery)
}

// EntryMillis is the time part of a stream entry's id, 0 if id is not one.
func EntryMillis(id string) int64 {
	millis, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(millis, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// DeadEntry is an entry to be set aside, and why. The reason is for people.
type DeadEntry struct {
	ID     string
	Reason string
}

// Queue is one consumer's end of one group in one partition.
type Queue interface {
	// Read waits up to a second or two for entries nobody had yet, at most max.
	Read(ctx context.Context, max int) ([]Entry, error)
	// Own lists entries that were delivered to this consumer and not acknowledged,
	// with ids above after: those whose delivery got lost, and those of an earlier
	// process of the same name. That is no delivery and no sign of life: however often
	// the list gets lost, nothing is set aside for it, and others may reclaim. It is
	// both with inherit, for a process that starts: an earlier one may have died of them.
	Own(ctx context.Context, after string, max int, inherit bool) ([]Entry, error)
	// Reclaim takes over entries that no consumer kept alive for idle. It may
	// return none because another worker is at it.
	Reclaim(ctx context.Context, idle time.Duration, max int) ([]Entry, error)
	// KeepAlive marks the entries as being worked on and this consumer as alive for
	// aliveFor. It returns those that are not this consumer's any more.
	KeepAlive(ctx context.Context, ids []string, aliveFor time.Duration) (lost []string, err error)
	// HandBack lets any consumer reclaim the entries at once.
	HandBack(ctx context.Context, ids []string) error
	// Leave removes this consumer from the group, unless it still has entries.
	Leave(ctx context.Context) error
	// Ack acknowledges entries whose outcome is recorded already.
	Ack(ctx context.Context, ids []string) error
	// DeadLetter sets entries aside, whole, and acknowledges them.
	DeadLetter(ctx context.Context, dead []DeadEntry) error
}

// Admission is a purchase, hold or pay request on its way in.
type Admission struct {
	EntryID     string
	Request     Request
	Invalid     string // why a purchase or hold is invalid; empty if it is not
	HoldMillis  int64
	ValidMillis int64
}

// Resolution is the gateway's answer for one order, on its way in.
type Resolution struct {
	EntryID         string
	Ref             OrderRef
	Outcome         PaymentOutcome
	AuthorizationID string
}

// Cancellation is a cancel on its way in; EntryID is in the requests, or in the
// log if a capture was refused.
type Cancellation struct {
	EntryID string
	Ref     OrderRef
}

// Reply is what became of one entry: its verdict, and the order as it is now.
type Reply struct {
	Verdict Verdict
	Order   Order
}

// Ledger is the store of orders and events. Each call is one atomic step on one
// partition, decides as Decide does and acknowledges the entries whose verdict is
// VerdictDone in the same step, so a caller that does not know whether a call
// took effect repeats it.
type Ledger interface {
	// Partition is where an event's orders are.
	Partition(eventID string) int
	// Admit takes purchases, holds and pays.
	Admit(ctx context.Context, partition int, batch []Admission) (replies []Reply, nowMillis int64, err error)
	// Resolve is the commit point of a purchase.
	Resolve(ctx context.Context, partition int, batch []Resolution) (replies []Reply, nowMillis int64, err error)
	// Cancel gives orders up because their customers asked for it.
	Cancel(ctx context.Context, partition int, batch []Cancellation) error
	// CaptureFailed gives confirmed orders up because their money was refused.
	CaptureFailed(ctx context.Context, partition int, batch []Cancellation) error
	// Expire ends at most max holds whose deadline has passed; it returns how many.
	Expire(ctx context.Context, partition int, max int) (int, error)
	// Post writes confirmed orders to invoices and sales, and takes cancelled ones
	// out again; the entries are acknowledged with it. Any order of the facts, and
	// any repetition, gives the same books.
	Post(ctx context.Context, partition int, facts []Fact) error
	// Trim drops requests that every group is done with; it returns how many.
	Trim(ctx context.Context, partition int) (int64, error)
	// TakeTurn reports whether a worker does a maintenance job of the partition now,
	// so that one at a time does each.
	TakeTurn(ctx context.Context, partition int, job, who string, every time.Duration) (bool, error)
	// Verify compares what is stored with what this ledger has seen of it: at the first
	// call, and since. If it is other data the error wraps ErrDataReplaced, and any
	// other call may fail with such an error, too.
	Verify(ctx context.Context) error
	// Accept takes what is stored now as it is, and makes again what is missing to work on it.
	Accept(ctx context.Context) error
	// ForgetConsumers removes consumers that are gone and hold nothing; it returns their names.
	ForgetConsumers(ctx context.Context, partition int) ([]string, error)
}

// Appended is what became of one request that was to be published.
//
// No error: it is in the stream. An error that wraps ErrUnknownOutcome: it may
// be. Any other: it is not.
type Appended struct {
	EntryID string
	// Replicas is how many replicas had confirmed the entry when its publisher was
	// told; 0 if nobody asked. It says what was so then, and promises nothing: the
	// replica that a failover makes the master may be another one.
	Replicas int
	Err      error
}

// Confirmation says for how many replicas a publisher waits. The zero value: for none.
type Confirmation struct {
	Replicas int
	Timeout  time.Duration // fewer may have confirmed by then: that is told, and no error
}

// Requests is where checkouts publish.
type Requests interface {
	// Append publishes requests, in one round trip per server, waits for what is to
	// be confirmed, and returns a result for each. It does not look into them.
	Append(ctx context.Context, batch []Request, confirm Confirmation) []Appended
}

// OutcomeSink is told what happens to orders.
type OutcomeSink interface {
	// Connected says that from now on notices come, and that some may have been
	// missed before: look at the stored orders once.
	Connected()
	// Changed says what an order is now.
	Changed(ref OrderRef, o Order)
}

// Outcomes is where checkouts learn what became of their orders.
type Outcomes interface {
	// Partition is where an event's orders are.
	Partition(eventID string) int
	// Orders reads stored orders; one never heard of is the zero Order.
	Orders(ctx context.Context, refs []OrderRef) ([]Order, error)
	// Watch tells sink of every order of a partition that is resolved, or held by a
	// hold request, until ctx ends. It reconnects by itself.
	Watch(ctx context.Context, partition int, sink OutcomeSink) error
}
