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
	// be confirmed, and returns a result for each. It does not look into them, and
	// keeps nothing of batch. Where as many requests wait as may, the error has
	// CodeBusy, and nothing was sent.
	Append(ctx context.Context, batch []Request, confirm Confirmation) []Appended
}

// SetAside is a request that was set aside and still is: a dead letter, as whoever
// waits for its order sees it. It is no outcome: a person may redrive it, and then the
// request is handled as if it had just come.
type SetAside struct {
	DeadID  string      // what people call the letter
	EntryID string      // of the request
	Type    RequestType // of the request; empty if it says none that there is
	Reason  string      // for people
}

// Standing is what is stored about an order at one moment.
type Standing struct {
	Order    Order      // the zero Order if it was never heard of
	SetAside []SetAside // its requests that are set aside, the oldest first
	// Over reports that nothing is stored of it, and never will be: its event was forgotten.
	Over bool
}

// Looked is what a look at an order found. Err is of ClassPoison if what is stored cannot be read.
type Looked struct {
	Standing
	Err error
}

// LineState is how far a request has come on its way to a worker.
type LineState string

const (
	// LineWaiting is that of a request that no worker was given yet.
	LineWaiting LineState = "waiting"
	// LineInHand is that of a request that a worker has, or had when it died: it is not done with.
	LineInHand LineState = "in_hand"
	// LineParked is that of a request that is parked, because its event is paused: it is put back in line when somebody resumes it.
	LineParked LineState = "parked"
	// LineLeft is that of a request that is done with, set aside, or was lost with the data that it was in.
	LineLeft LineState = "left"
)

// Unknown stands for a number, or a duration, that nobody can tell.
const Unknown = -1

// InLine is where a request stands in line. What has left the line, or is in hand, has none before it; of what is parked that is Unknown.
type InLine struct {
	State LineState
	// Ahead is how many requests of its partition are to be given to workers before it, by an estimate that is off by 2 %,
	// or by what is published in a second; Unknown if what is known is not enough for that.
	Ahead int64
	// AtLeast and AtMost are what Ahead lies between for certain, also if it is Unknown, unless somebody deletes requests.
	AtLeast, AtMost int64
	// Wait is about how long it will be until it is given to a worker, at the rate of the last seconds; Unknown if Ahead is, or if
	// nothing was given out.
	Wait time.Duration
}

// OutcomeSink is told when there may be something new about orders.
type OutcomeSink interface {
	// Connected says that from now on notices come, and that some may have been
	// missed before: look at the stored orders once.
	Connected()
	// Disconnected says that no notices come until Connected is called again: look at
	// the stored orders more often meanwhile.
	Disconnected()
	// Changed names orders to look at again. What it names comes from outside, and may
	// have changed, or not.
	Changed(refs []OrderRef)
}

// Outcomes is where checkouts learn what became of their orders.
type Outcomes interface {
	// Partition is where an event's orders are.
	Partition(eventID string) int
	// Look reads what is stored about orders, in one round trip, and returns a result for each.
	Look(ctx context.Context, refs []OrderRef) []Looked
	// SeatNames are the names of an order's seats, ROW-NUMBER, by section, as they stand in their rows; nothing of counted
	// sections. Errors: ErrNotFound if there is no such event or section (any more); ClassPoison for places where no seat is.
	SeatNames(ctx context.Context, eventID string, items Items) (map[string][]string, error)
	// InLine is where a request stands among those of its partition, by its entry's id. A look may be half a second old. Errors: of ClassReject
	// for what is no id of an entry.
	InLine(ctx context.Context, partition int, entryID string) (InLine, error)
	// Watch tells sink of every order of a partition that is resolved, or held by a
	// hold request, and of every order that a request was set aside of, until ctx ends.
	// It reconnects by itself.
	Watch(ctx context.Context, partition int, sink OutcomeSink) error
}
