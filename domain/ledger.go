package domain

import (
	"context"
	"time"
)

// Incoming is a purchase, hold, pay, payment_update or refund request, a partial cancel or a change on its way in.
type Incoming struct {
	EntryID     string
	Request     Request
	Invalid     string   // why a purchase or hold is invalid; empty if it is not
	NoToken     bool     // it is a purchase without a payment token
	Codes       []string // CodeKeys.Hashes of its access code, if it brings one
	Trace       Trace    // of the request, if the order is to keep it
	HoldMillis  int64
	ValidMillis int64
	// Minimums are those of the gateway that will be asked; nil: none are known. All of a worker have the same pointer.
	Minimums *Minimums
}

// Command is what of it Decide decides about: a Hold, a Pay, an Update or a Change.
func (in *Incoming) Command() Command {
	entryMillis := EntryMillis(in.EntryID)
	if in.Request.Changes() {
		c := Change{Request: in.Request, EntryMillis: entryMillis, ValidMillis: in.ValidMillis}
		if in.Minimums != nil {
			c.Minimums = *in.Minimums
		}
		return c
	}
	if in.Request.Type == RequestPaymentUpdate {
		return Update{Attempt: in.Request.AttemptNumber()}
	}
	if !in.Request.Type.Opens() {
		return Pay{Attempt: in.Request.AttemptNumber(), Fingerprint: in.Request.Fingerprint, EntryMillis: entryMillis, ValidMillis: in.ValidMillis}
	}
	c := Hold{
		Request: in.Request, Invalid: in.Invalid, NoToken: in.NoToken, Codes: in.Codes, Trace: in.Trace,
		EntryMillis: entryMillis, ValidMillis: in.ValidMillis, HoldMillis: in.HoldMillis,
	}
	if in.Minimums != nil {
		c.Minimums = *in.Minimums
	}
	return c
}

// Resolution is the gateway's answer for one order, on its way in.
type Resolution struct {
	EntryID         string // empty if there is none to acknowledge
	Ref             OrderRef
	Order           Order // as it was when the gateway was asked
	Attempt         int   // about which, from 1
	Outcome         PaymentOutcome
	AuthorizationID string // if approved, or if an action is required; without a bar or a line break
	Detail          string // if mismatched: for people, without a line break

	// Dispute, if there is one, is what the gateway says of a payment that was captured, and all that it says.
	Dispute Dispute
}

// Cancellation is a cancel on its way in.
type Cancellation struct {
	EntryID string // of the request; empty if a capture was refused
	Ref     OrderRef
	// Version, if it is not empty, is that of the order whose capture was refused. One that is another since is left alone: whoever
	// has its newest fact captures it, too, and may have given back by then what this one could not capture any more.
	Version string
	Cause   Cause // of the request, for people

	NoRefund bool // of the request: what was paid is kept
}

// Owed is an order whose money waits to be settled, as the list of them has it.
type Owed struct {
	Ref         OrderRef
	FactID      string // of the log entry that asks for it; its time is since when it waits
	Attempts    int64  // of the order's own, this one included: workers that died of it, failures while others were settled
	DelayMillis int64  // between the last two attempts
	Reason      string // why the last attempt came to nothing, for people
}

// Awaited is an order that awaits what its customer does.
type Awaited struct {
	Ref   OrderRef
	Order Order
}

// Unsettled is what becomes of an order whose money did not move: it is tried again, or a person must look.
type Unsettled struct {
	Owed
	Due  time.Duration // from now; until then nobody tries it
	Dead bool          // it is a dead letter
}

// The maintenance jobs of a partition, each done by one worker at a time: Ledger.TakeTurn.
const (
	JobExpire = "expire" // end due holds
	JobTrim   = "trim"   // drop requests that are done with
	JobForget = "forget" // remove consumers that are gone
	// JobForgetUnknown forgets orders that were rejected because there was no such event.
	JobForgetUnknown = "forget_unknown"
	// JobForgetEvents forgets events that are over, and their orders.
	JobForgetEvents = "forget_events"
	JobArchive      = "archive" // write the log to durable storage
	JobTrimLog      = "trim_log"
	JobSnapshot     = "snapshot" // take a snapshot of the archive
	JobExtend       = "extend"   // extend holds of what is paused
	JobUnpark       = "unpark"   // put parked requests back in line
	JobAsk          = "ask"      // ask what became of payments whose customers had something to do
)

// Reply is what became of one entry: its verdict, and the order as it is now.
type Reply struct {
	Verdict Verdict
	Order   Order
}

// Trouble is something that a worker cannot mend and that people should know of.
type Trouble struct {
	What         string // what it is about; a worker has one of each at most
	Code         Code
	Text         string // for people
	LastedMillis int64  // so far
}

// Ledger is the store of orders and events. What a call changes of an order it changes in one atomic step, as
// Decide decides, together with the acknowledgement of the entry if the verdict is VerdictDone. So a caller that does
// not know whether a call took effect repeats it.
type Ledger interface {
	// Partition is where an event's orders are.
	Partition(eventID string) int
	// Orders reads stored orders; one never heard of is the zero Order.
	Orders(ctx context.Context, refs []OrderRef) ([]Order, error)
	// Hold takes purchases, holds, pays and payment updates.
	Hold(ctx context.Context, partition int, batch []Incoming) (replies []Reply, nowMillis int64, err error)
	// Resolve is the commit point of a purchase.
	Resolve(ctx context.Context, partition int, batch []Resolution) (replies []Reply, nowMillis int64, err error)
	// Cancel gives orders up because their customers asked for it.
	Cancel(ctx context.Context, partition int, batch []Cancellation) error
	// CaptureFailed gives confirmed orders up because their money was refused.
	CaptureFailed(ctx context.Context, partition int, batch []Cancellation) error
	// TakeAwaited gives out at most max orders whose customers have something to do at their bank, and of which it is time to ask the
	// gateway; it is again after a while, a second at first and up to half a minute later. awaited reports whether there are any, due or not; a max of 0
	// only asks that.
	TakeAwaited(ctx context.Context, partition int, max int) (orders []Awaited, awaited bool, err error)
	// UntilDue is how long it is until the first hold's deadline, 0 if that has passed; held is false if there is none.
	UntilDue(ctx context.Context, partition int) (wait time.Duration, held bool, err error)
	// Extend has holds that end within a short while, end later, where a pause says so. It returns how many.
	Extend(ctx context.Context, partition int, pauses Pauses) (int, error)
	// Expire ends at most max holds whose deadline has passed, and lapsed orders whose payment can be approved no more. It returns how many
	// orders are expired by that, and how many have lapsed.
	Expire(ctx context.Context, partition int, max int) (expired, lapsed int, err error)
	// Post puts confirmed orders on their customers' invoices, and then acknowledges entries of the log: those that the
	// facts stand in, with all their facts, and others in which nothing is to be posted. Any repetition gives the same books.
	Post(ctx context.Context, partition int, entryIDs []string, facts []Fact) error
	// Owe acknowledges a log entry in settlement, and keeps in the same step which of its orders are not settled: on the
	// list of what is owed, or as dead letters. If somebody else has dealt with the entry, nothing changes. What is owed
	// for a newer fact about an order stays as it is.
	Owe(ctx context.Context, partition int, entryID string, orders []Unsettled) error
	// TakeOwed gives out at most max orders whose money is owed and due, for as long as lease: if nothing is said of
	// them by then, they are due again. So they are if the reply is lost. Those in hand are kept for as long again.
	TakeOwed(ctx context.Context, partition int, inHand []OrderRef, max int, lease time.Duration) ([]Owed, error)
	// OwedSettled takes an order off the list, unless it was taken, or owed, once more since it was taken.
	OwedSettled(ctx context.Context, partition int, taken Owed) error
	// OweAgain says that the money of an order did not move, under the same condition.
	OweAgain(ctx context.Context, partition int, taken Owed, u Unsettled) error
	// Pauses are what is paused, and what was of late.
	Pauses(ctx context.Context) (Pauses, error)
	// Park takes entries of requests of a paused event out of the line, whole and in the order in which they were published, and acknowledges
	// them. It returns those that are pending still, because they cannot be parked: as many are as may be, or they are unreadable.
	Park(ctx context.Context, partition int, eventID string, entryIDs []string) (left []string, err error)
	// Parked are the events that have parked requests.
	Parked(ctx context.Context, partition int) (eventIDs []string, err error)
	// Unpark puts at most max parked requests of an event back in line, in their order; it returns how many, and how many are left.
	Unpark(ctx context.Context, partition int, eventID string, max int) (n, left int64, err error)
	// UntilForgettable is how long it is until there is something to Forget, 0 if there is; any is false if nothing is known
	// that ever will be.
	UntilForgettable(ctx context.Context, partition int, age time.Duration) (wait time.Duration, any bool, err error)
	// Forget makes orders unknown again that were rejected because there was no such event, with a fact that says so, once
	// their requests have not been valid for age: no request that was published before an order was rejected can
	// then open it anew. It takes at most so many log entries that rejected some; more reports whether there may be more.
	Forget(ctx context.Context, partition int, age time.Duration, max int) (forgotten int, more bool, err error)
	// ForgetEvents forgets events that were closed, and all of whose orders have ended, for keep, if all of that is posted, settled and archived: first
	// that there is such an event, with a fact that says so, and then its orders, once their lines on the invoices say what they were. It takes at
	// most one event, or so many of its orders; more reports whether there may be more to be done at once. A crash at any point
	// leaves the rest to the next call.
	ForgetEvents(ctx context.Context, partition int, keep time.Duration, max int) (events, orders int, more bool, err error)
	// Trim drops requests that every group is done with, and notes how fast they come and go, for Outcomes.InLine. It returns how
	// many it dropped, and whether any are left.
	Trim(ctx context.Context, partition int) (dropped int64, left bool, err error)
	// TakeTurn reports whether a worker does a maintenance job of the partition now,
	// so that one at a time does each.
	TakeTurn(ctx context.Context, partition int, job, who string, every time.Duration) (bool, error)
	// Report says what troubles a worker has now, all of them: what it said before is
	// forgotten. They are to be said again at least every 30 seconds, or are taken to be over.
	Report(ctx context.Context, worker string, troubles []Trouble) error
	// SignIn says that a worker is there, what it does, and for how long it has been there, for people who ask who works. It is
	// to be said again every few seconds. With sweep, those that have said nothing for an hour are forgotten.
	SignIn(ctx context.Context, worker string, sign WorkerSign, there time.Duration, sweep bool) error
	// SignOut says that a worker is there no more.
	SignOut(ctx context.Context, worker string) error
	// ServeWith says, before anything else, which kind of gateway the worker of this ledger
	// calls. The first worker's is noted; if another kind is, the error is of ClassFatal, with
	// CodeOtherGateway: beside workers that take money, one with a simulator would give tickets
	// away. Verify and Accept look at it from then on.
	ServeWith(ctx context.Context, kind GatewayKind) error
	// Verify compares what is stored with what this ledger has seen of it: at the first
	// call, and since. If it is other data the error wraps ErrDataReplaced, and any
	// other call may fail with such an error, too.
	Verify(ctx context.Context) error
	// Accept takes what is stored now as it is, and makes again what is missing to work on it. If it is other data
	// than was seen, nobody who has seen what is not any more can change it from then on.
	Accept(ctx context.Context, worker string) error
	// NoteReplaced keeps, for people, that a worker noticed just now that the data is other
	// data, and by what.
	NoteReplaced(ctx context.Context, worker string, cause error) error
	// ForgetConsumers removes consumers that are gone and hold nothing; it returns their names.
	ForgetConsumers(ctx context.Context, partition int) ([]string, error)
}

// WorkerSign is what a worker says of itself.
type WorkerSign struct {
	Version            string   `json:"version"` // of the program
	Roles              []string `json:"roles"`
	ReclaimAfterMillis int64    `json:"reclaim_after_ms"`    // how long it may be silent until others take over, and waits until it does
	RequestsPerSecond  float64  `json:"requests_per_second"` // that it was done with since it said so last
	FactsPerSecond     float64  `json:"facts_per_second"`    // that it posted or settled since
	Paused             bool     `json:"paused"`              // it takes no requests, because everything is paused
}
