package domain

import (
	"context"
	"time"
)

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
	// Disconnected says that no notices come until Connected is called again: look at
	// the stored orders more often meanwhile.
	Disconnected()
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
