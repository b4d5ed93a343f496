package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

type pendingExplainCommand struct {
	orderArgs
	Receipt string `placeholder:"ENTRY_ID" help:"The entry_id that publish has printed for a request of it: it is looked at without a search."`
}

// Help is shown by --help.
func (c *pendingExplainCommand) Help() string {
	return `
Where an order stands, in words: who has it, since when, what happens next, and what you can do.

  holdfast pending explain jazz-night/cart-4711
  holdfast pending explain cart-4711 --event jazz-night --receipt 1795387623220-0

No key leads from an order to its requests: those that wait or are in hand are looked through, 200,000 of a partition at
most. If there are more, it says so; with --receipt it need not look.
`
}

func (c *pendingExplainCommand) Run(ctx context.Context, e *environment) error {
	_, complete, err := c.ref()
	if err != nil {
		return err
	}
	if c.Receipt != "" && !complete {
		return badUsage("--receipt goes with --event, or EVENT_ID/ORDER_ID")
	}
	if c.Receipt != "" && domain.EntryMillis(c.Receipt) == 0 {
		return badUsage("--receipt: want the id of an entry, such as 1795387623220-0, but got %q", c.Receipt)
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		ref, err := c.findPending(ctx, store)
		if err != nil {
			return err
		}
		x, err := inspect.New(store).Explain(ctx, ref, c.Receipt)
		if err != nil {
			return about(ref, err)
		}
		w := wording{environment: e, x: x, checkout: store.Checkout(), partition: store.Partition(ref.EventID)}
		if err := w.say(ctx, store); err != nil {
			return about(ref, err)
		}
		return w.write()
	})
}

// findPending is find without a look through the log.
func (c *pendingExplainCommand) findPending(ctx context.Context, store *streams.Store) (domain.OrderRef, error) {
	ref, complete, err := c.ref()
	if err != nil || complete {
		return ref, err
	}
	found, unsearched, err := inspect.New(store).Candidates(ctx, ref.OrderID)
	if err != nil {
		return ref, err
	}
	if len(found) == 0 {
		more := ""
		if unsearched {
			more = ", nor among the requests that were looked through; there are more"
		}
		return ref, about(ref, fmt.Errorf("order %s: %w in any event%s: say which with --event", ref.OrderID, domain.ErrNotFound, more))
	}
	return oneOf(ref, found)
}

// standing is one word for where an order stands.
type standing string

// The standings, the one that tells most first: of several the first is told.
const (
	standsDead      standing = "dead_letter"
	standsOwed      standing = "owed"
	standsPaused    standing = "paused"
	standsInHand    standing = "in_hand"
	standsWaiting   standing = "waiting"
	standsHeld      standing = "held"
	standsUnsettled standing = "unsettled"
	standsDone      standing = "done"
	standsUnknown   standing = "unknown"
)

var standings = [...]standing{standsDead, standsOwed, standsPaused, standsInHand, standsWaiting, standsHeld, standsUnsettled, standsDone, standsUnknown}

// finding is one thing that is to be said of an order.
type finding struct {
	Stands standing `json:"stands"`
	Text   string   `json:"text"`
	Next   string   `json:"next"` // what happens if nobody does anything
	Do     []string `json:"do"`   // what one can do: commands to type, or what else helps

	Group      string `json:"group,omitempty"`
	EntryID    string `json:"entry_id,omitempty"`
	Request    string `json:"request,omitempty"` // its type
	Consumer   string `json:"consumer,omitempty"`
	Alive      *bool  `json:"alive,omitempty"`
	Deliveries int64  `json:"deliveries,omitempty"`
	SinceMs    int64  `json:"since_ms,omitempty"` // for how long it has been so
	IdleMs     int64  `json:"idle_ms,omitempty"`
	DueMs      int64  `json:"due_ms,omitempty"` // until something happens by itself
	DeadID     string `json:"dead_id,omitempty"`

	Place *requestView `json:"place,omitempty"`
}

// wording says in words where an order stands.
type wording struct {
	*environment
	x         inspect.Explanation
	checkout  domain.Outcomes
	partition int
	found     []finding
}

// typed is a command as it is to be typed here.
func (e *environment) typed(command string) string {
	if e.namespace == streams.DefaultNamespace {
		return "holdfast " + command
	}
	return "holdfast " + command + " --namespace " + e.namespace
}

func (w *wording) add(f finding) {
	if f.Do == nil {
		f.Do = []string{}
	}
	w.found = append(w.found, f)
}

func (w *wording) ref() string { return w.x.Ref.String() }

func (w *wording) say(ctx context.Context, store *streams.Store) error {
	for _, r := range w.x.Requests {
		w.request(ctx, r)
	}
	w.hold()
	for _, f := range w.x.Facts {
		w.fact(f)
	}
	w.owed()
	for _, l := range w.x.Dead {
		w.deadLetter(l)
	}
	if w.x.Order.State == domain.OrderNone || w.x.Order.State == domain.OrderHeld {
		w.paused()
	}
	if len(w.found) > 0 {
		return nil
	}
	if w.x.Order.State != domain.OrderNone {
		w.done()
		return nil
	}
	return w.unknown(ctx, store)
}

// starts is what to type where nobody works.
func (w *wording) starts(role string) string {
	if role == "maintenance" || role == "posting" {
		return w.typed("worker --roles " + role)
	}
	return w.typed("worker --gateway URL --roles " + role)
}

func roleOf(group domain.Group) string {
	for _, r := range groupRoles {
		if r.group == group {
			return r.role
		}
	}
	return string(group)
}

// request is about one that waits or is in hand.
func (w *wording) request(ctx context.Context, at inspect.EntryAt) {
	kind := cmp.Or(string(at.Request.Type), "request")
	f := finding{Stands: standsWaiting, EntryID: at.ID, Group: string(at.Group), Request: string(at.Request.Type)}
	if at.InHand {
		w.inHand(at, fmt.Sprintf("its %s (entry %s) is", kind, at.ID), &f)
		if at.Alive && !at.HandedBack {
			f.Next = w.working(at)
		}
		w.add(f)
		return
	}
	f.SinceMs = max(0, w.x.AtMillis-domain.EntryMillis(at.ID))
	f.Text = fmt.Sprintf("its %s (entry %s) has been waiting in line for %s", kind, at.ID, age(f.SinceMs))
	if in, err := w.checkout.InLine(ctx, w.partition, at.ID); err == nil && in.State == domain.LineWaiting {
		f.Place = viewRequest(at.ID, in)
		f.Text += ": " + f.Place.inWords()
	} else if err != nil {
		w.x.Unseen = append(w.x.Unseen, err)
	}
	switch {
	case at.Missing:
		f.Next, f.Do = "nothing: the group purchase is gone; a worker makes it again, and then takes it", []string{w.starts("purchase")}
	case w.x.Alive[at.Group] == 0:
		f.Next, f.Do = fmt.Sprintf("nothing: no worker with role purchase is alive in partition %d", w.partition), []string{w.starts("purchase")}
	default:
		f.Next = fmt.Sprintf("one of %s takes it when its turn comes", plural(int64(w.x.Alive[at.Group]), "worker", "workers"))
		f.Do = []string{"if that is too slow, start more workers: " + w.typed("worker --gateway URL")}
	}
	if at.Request.Type.Opens() || at.Request.Type == domain.RequestPay {
		f.Next += "; " + w.validity(at)
	}
	f.Do = append(f.Do, w.cancel())
	w.add(f)
}

// validity says until when a request in line is of use.
func (w *wording) validity(at inspect.EntryAt) string {
	if at.Request.ValidSeconds == 0 {
		return "it is too_late once it has waited for the workers' --valid-time (15m, if they do not say)"
	}
	until := domain.EntryMillis(at.ID) + at.Request.ValidSeconds*1000
	if until <= w.x.AtMillis {
		return "its time is over since " + when(until) + ": whoever takes it finds it too_late"
	}
	return fmt.Sprintf("it is too_late from %s on (in %s)", when(until), age(until-w.x.AtMillis))
}

// inHand is about an entry that a worker has, or had.
func (w *wording) inHand(at inspect.EntryAt, subject string, f *finding) {
	alive := at.Alive
	f.Stands, f.Consumer, f.Alive, f.Deliveries, f.SinceMs, f.IdleMs = standsInHand, at.Consumer, &alive, at.Deliveries, at.SinceMillis, at.IdleMillis
	role := roleOf(at.Group)
	life := map[bool]string{true: "alive", false: "not alive"}[at.Alive]
	f.Text = fmt.Sprintf("%s in hand for %s: with worker %s, which is %s; last sign of life of it %s ago; %s", subject, age(at.SinceMillis), at.Consumer, life,
		age(at.IdleMillis), plural(at.Deliveries, "delivery", "deliveries"))
	if at.Gone {
		f.Text += "; its payload was deleted"
	}
	switch others := w.x.Alive[at.Group]; {
	case at.HandedBack && others > 0:
		f.Next = "it was handed back: the next worker that looks takes it, within about 2s"
	case at.Alive:
		f.Next = "its worker is at it"
	case others > 0:
		f.Next = "another worker takes it over, once it is without a sign of life for that one's --reclaim-after (15s, if it does not say)"
		f.Do = append(f.Do, "at once: "+w.typed(fmt.Sprintf("pending claim --consumer %s --reason TEXT", at.Consumer)))
	default:
		f.Next = fmt.Sprintf("nothing: no worker with role %s is alive in partition %d", role, w.partition)
		f.Do = append(f.Do, w.starts(role))
	}
	if at.Deliveries >= 5 {
		f.Do = append(f.Do, fmt.Sprintf("its workers ended %d times with it in hand: look at their exit statuses and last lines", at.Deliveries-1))
	}
}

// working is what the worker does that has a request.
func (w *wording) working(at inspect.EntryAt) string {
	next := "its worker is at it"
	switch o := w.x.Order; {
	case at.Request.Type == domain.RequestPay && o.State == domain.OrderNone:
		return next + ": a pay waits for its hold, for --pay-wait (four times --reclaim-after, if the worker does not say); then it is set aside"
	case o.Open() && at.Request.Type.Pays():
		next += ": it asks the payment gateway"
		if left := o.DeadlineMillis - w.x.AtMillis; left > 0 {
			next += fmt.Sprintf(" until %s (for %s more), when the hold ends", when(o.DeadlineMillis), age(left))
		}
	}
	return next + w.trouble(at.Consumer)
}

// trouble is what a worker has said for the longest that it is wrong; empty if it says nothing.
func (w *wording) trouble(worker string) (said string) {
	since := w.x.AtMillis + 1
	for _, t := range w.x.Troubles {
		if t.Worker == worker && t.SinceMillis < since {
			since = t.SinceMillis
			said = fmt.Sprintf("; it says, for %s: %s", age(max(0, w.x.AtMillis-t.SinceMillis)), inOneLine(t.Text))
		}
	}
	return said
}

func (w *wording) cancel() string {
	return "give it up: " + w.typed("orders cancel "+w.ref()+" --reason TEXT")
}

// hold is about an order that is held.
func (w *wording) hold() {
	o := w.x.Order
	if o.State == domain.OrderLapsed {
		w.lapsed()
	}
	if o.State != domain.OrderHeld {
		return
	}
	left := o.DeadlineMillis - w.x.AtMillis
	f := finding{Stands: standsHeld, SinceMs: max(0, w.x.AtMillis-o.HeldAtMillis), DueMs: max(0, left), Do: []string{w.cancel()}}
	f.Text = fmt.Sprintf("it holds %s until %s (for %s more)", plural(o.Items.Quantity(), "place", "places"), when(o.DeadlineMillis), age(left))
	f.Next = "its hold expires then, unless it is paid before"
	switch {
	case left <= 0 && w.x.Maintained:
		f.Text = fmt.Sprintf("its hold was over %s ago, and has not ended", age(-left))
		f.Next = "a worker with role maintenance ends it within a second or so"
	case left <= 0:
		f.Text = fmt.Sprintf("its hold was over %s ago, and has not ended", age(-left))
		f.Next = fmt.Sprintf("nothing: nobody is seen at maintenance in partition %d", w.partition)
		f.Do = []string{w.starts("maintenance")}
	case o.AwaitsAction():
		f.Text += fmt.Sprintf("; attempt %d to pay for it waits for the customer at their bank", o.Attempt)
		f.Next = "the gateway is asked every half a minute or more often what the customer did; without that its hold expires then"
		f.Do = append([]string{
			"what the customer must do: " + w.typed(fmt.Sprintf("orders next-step %s --gateway URL|stripe", w.x.Ref)),
			"ask at once: " + w.typed(fmt.Sprintf("publish --type payment_update --event %s --order %s --attempt %d", w.x.Ref.EventID, w.x.Ref.OrderID, o.Attempt)),
		}, f.Do...)
	case o.RequestType == domain.RequestHold && len(w.x.Requests) == 0 && !w.x.Unsearched:
		f.Next = "its hold expires then, unless a pay comes before: none is in line or in hand"
		pay := fmt.Sprintf("publish --type pay --event %s --order %s", w.x.Ref.EventID, w.x.Ref.OrderID)
		if o.PayState == domain.PayDeclined {
			f.Text += fmt.Sprintf("; its payment was declined, attempt %d", o.Attempt)
			pay += fmt.Sprintf(" --attempt %d", o.Attempt+1)
		}
		if o.PayState != domain.PayDeclined || o.Attempt < domain.MaxAttempts {
			f.Do = append([]string{"pay for it: HOLDFAST_TOKEN=… " + w.typed(pay)}, f.Do...)
		}
	case o.RequestType == domain.RequestPurchase && len(w.x.Requests) == 0 && !w.x.Unsearched && w.seesRequests():
		f.Next = "its hold expires then: its request is neither in line nor in hand; whoever publishes it again has it paid"
	}
	w.add(f)
}

// seesRequests reports whether the requests could be looked through.
func (w *wording) seesRequests() bool { return w.x.Searched > 0 || len(w.x.Unseen) == 0 }

// fact is about an outcome that is not posted, or not settled.
func (w *wording) fact(at inspect.EntryAt) {
	what := map[domain.Group]string{
		domain.GroupPosting: "it is not on its customer's invoices yet", domain.GroupSettlement: "its money is not settled yet",
	}[at.Group]
	f := finding{Stands: standsUnsettled, Group: string(at.Group), EntryID: at.ID}
	subject := fmt.Sprintf("%s: that it was %s (log entry %s) ", what, at.Fact, at.ID)
	role := roleOf(at.Group)
	if at.InHand {
		w.inHand(at, subject+"is", &f)
		f.Stands = standsUnsettled
	} else {
		f.SinceMs = max(0, w.x.AtMillis-domain.EntryMillis(at.ID))
		f.Text = fmt.Sprintf("%shas been waiting for %s for %s", subject, at.Group, age(f.SinceMs))
		f.Next = fmt.Sprintf("one of %s takes it when its turn comes", plural(int64(w.x.Alive[at.Group]), "worker", "workers"))
		if w.x.Alive[at.Group] == 0 {
			f.Next, f.Do = fmt.Sprintf("nothing: no worker with role %s is alive in partition %d", role, w.partition), []string{w.starts(role)}
		}
	}
	w.add(f)
}

func (w *wording) owed() {
	o := w.x.Owed
	if o == nil {
		return
	}
	f := finding{Stands: standsOwed, Group: string(domain.GroupSettlement), SinceMs: o.AgeMillis, DueMs: max(0, o.DueMillis)}
	f.Text = fmt.Sprintf("its money has been waiting by itself for %s", age(o.AgeMillis))
	if o.Reason != "" {
		f.Text += fmt.Sprintf(": the last try came to nothing: %s (%s that count against it)", inOneLine(o.Reason), plural(o.Attempts, "try", "tries"))
	}
	f.Next = fmt.Sprintf("a worker with role settlement tries again in %s; after --max-deliveries tries that count against it, it is a dead letter", age(max(0, o.DueMillis)))
	f.Do = []string{"see what the payment gateway has against it; nothing else waits for this"}
	if w.x.Alive[domain.GroupSettlement] == 0 {
		f.Next = fmt.Sprintf("nothing: no worker with role settlement is alive in partition %d", w.partition)
		f.Do = []string{w.starts("settlement")}
	}
	w.add(f)
}

func (w *wording) deadLetter(l inspect.DeadLetter) {
	what := map[string]string{"requests": "a request of it", "log": "a fact about it", "owed": "its money"}[l.Stream]
	w.add(finding{
		Stands: standsDead, Group: l.Group, EntryID: l.EntryID, DeadID: l.ID, Deliveries: l.Deliveries, Request: l.Fields["type"],
		SinceMs: max(0, w.x.AtMillis-l.AtMillis),
		Text:    fmt.Sprintf("%s is dead letter %s since %s: %s", cmp.Or(what, "something of it"), l.ID, when(l.AtMillis), inOneLine(l.Reason)),
		Next:    "nothing, until a person has seen to it",
		Do: []string{
			"look at it: " + w.typed("dead show "+l.ID),
			"when what caused it is mended, have it handled again: " + w.typed("dead redrive "+l.ID),
			"or remove it for good: " + w.typed("dead discard "+l.ID),
		},
	})
}

// lapsed is about an order whose hold has run out, and whose payment may still be approved.
func (w *wording) lapsed() {
	o := w.x.Order
	left := o.PayableUntilMillis() - w.x.AtMillis
	f := finding{Stands: standsHeld, SinceMs: max(0, w.x.AtMillis-o.DeadlineMillis), DueMs: max(0, left), Do: []string{w.cancel()}}
	f.Text = fmt.Sprintf("its hold ran out at %s, and its places are free for others", when(o.DeadlineMillis))
	f.Next = fmt.Sprintf("if its payment is approved until %s (for %s more), it gets its places again, if they are free; else it expires", when(o.PayableUntilMillis()), age(left))
	switch {
	case left <= 0 && w.x.Maintained:
		f.Next = "a worker with role maintenance ends it within a second or so"
	case left <= 0:
		f.Next = fmt.Sprintf("nothing: nobody is seen at maintenance in partition %d", w.partition)
		f.Do = []string{w.starts("maintenance")}
	case o.Awaited():
		f.Text += fmt.Sprintf("; attempt %d to pay for it has no answer yet", o.Attempt)
		f.Do = append([]string{"ask at once: " + w.typed(fmt.Sprintf("publish --type payment_update --event %s --order %s --attempt %d", w.x.Ref.EventID, w.x.Ref.OrderID, o.Attempt))}, f.Do...)
	}
	w.add(f)
}

// done is about an order of which nothing waits.
func (w *wording) done() {
	o := w.x.Order
	f := finding{Stands: standsDone, Next: "nothing more happens by itself", Do: []string{"its history: " + w.typed("orders show "+w.ref())}}
	f.Text = "nothing of it waits, or is in hand"
	switch o.State {
	case domain.OrderConfirmed:
		f.Text = "it is sold, posted and settled: " + f.Text
		f.Do = append(f.Do, "undo it, and give the money back: "+w.typed("orders cancel "+w.ref()+" --reason TEXT"))
	case domain.OrderRejected, domain.OrderDeclined, domain.OrderExpired, domain.OrderCancelled:
		f.Do = append(f.Do, "the customer may try again under another order_id")
	case domain.OrderNone, domain.OrderHeld, domain.OrderLapsed: // said otherwise
	}
	if d := o.Dispute; d != (domain.Dispute{}) {
		f.Text += "; its payment is disputed: " + disputeText(d, o.Currency)
		f.Do = append(f.Do, "hear how that stands: "+w.typed(fmt.Sprintf("publish --type payment_update --event %s --order %s --attempt %d", w.x.Ref.EventID, w.x.Ref.OrderID, o.LastAttempt())))
		if d.State == domain.DisputeOpen && o.RefundTotal() > 0 {
			f.Next = "its refund waits until the gateway says how the dispute ended"
		}
	}
	w.add(f)
}

func (w *wording) unknown(ctx context.Context, store *streams.Store) error {
	f := finding{Stands: standsUnknown, Next: "nothing", Do: []string{
		"publish it again, under the same order_id: if it is known after all, nothing happens twice",
	}}
	f.Text = "nothing is known of it: it was never published, it was lost with Redis's data, or it was refused long ago because there was no such event"
	_, err := store.Events().Get(ctx, w.x.Ref.EventID)
	switch {
	case errors.Is(err, domain.ErrNotFound):
		f.Text += "; there is no event " + w.x.Ref.EventID
		f.Do = append([]string{"is it the right name? " + w.typed("events list")}, f.Do...)
	case err != nil:
		return err
	}
	if w.x.Unsearched {
		f.Text += "; or its request is behind those that were looked through"
	}
	w.add(f)
	return nil
}

// paused is about what keeps requests of it from being taken.
func (w *wording) paused() {
	for _, p := range w.x.Paused.Lasting {
		if p.EventID != "" && p.EventID != w.x.Ref.EventID {
			continue
		}
		next := "requests of it wait in line until somebody resumes; they stay valid as long as they would have been"
		if p.EventID != "" {
			next = "requests of it are parked until somebody resumes, and then put back in line; they stay valid as long as they would have been"
		}
		w.add(finding{
			Stands: standsPaused, Text: pausedText(p, w.x.Paused.Parked[p.EventID], w.x.AtMillis), Next: next,
			Do: []string{resumeAdvice(p.EventID)}, SinceMs: max(0, w.x.AtMillis-p.AtMillis),
		})
	}
}

// inWords is a place in line.
func (v *requestView) inWords() string {
	text := fmt.Sprintf("between %d and %d are ahead of it", v.AtLeast, v.AtMost)
	if v.Ahead != nil {
		text = fmt.Sprintf("about %d are ahead of it", *v.Ahead)
	}
	if v.WaitMillis != nil {
		text += ", for about " + (time.Duration(*v.WaitMillis) * time.Millisecond).Round(time.Second).String()
	}
	return text
}

// state is how the order is, in a few words.
func (w *wording) state() string {
	o := w.x.Order
	if o.State == domain.OrderNone {
		return "not known yet"
	}
	text := o.State.String()
	if o.Reason != "" {
		text += " (" + o.Reason + ")"
	}
	return text
}

// traceID is the trace that the order keeps; before it is opened, that of a request of it, which may not be kept; empty for none.
func (w *wording) traceID() string {
	id := w.x.Order.Trace.ID()
	if w.x.Order.State == domain.OrderNone {
		for _, at := range w.x.Requests {
			id = cmp.Or(id, at.Request.TraceID())
		}
	}
	return id
}

func (w *wording) write() error {
	stands := standsUnknown
	for _, s := range standings {
		if has(w.found, s) {
			stands = s
			break
		}
	}
	unseen := []string{}
	for _, err := range w.x.Unseen {
		unseen = append(unseen, oneLine(err))
	}
	if w.x.Unsearched {
		unseen = append(unseen, fmt.Sprintf("requests behind the first %d were not looked at: name the order's with --receipt", w.x.Searched))
	}
	if w.x.UnsearchedIn > 0 {
		unseen = append(unseen, plural(w.x.UnsearchedIn, "older dead letter of its partition was", "older dead letters of its partition were")+" not looked at, but for those that are noted beside the order")
	}
	out := w.printer()
	if w.json {
		out.row(struct {
			EventID   string    `json:"event_id"`
			OrderID   string    `json:"order_id"`
			Partition int       `json:"partition"`
			AtMillis  int64     `json:"at"` // milliseconds, on Redis's clock
			State     string    `json:"state"`
			Reason    string    `json:"reason"`
			TraceID   string    `json:"trace_id,omitempty"` // of the request that opened it, or, before that, of one that is on its way
			Stands    standing  `json:"stands"`
			Findings  []finding `json:"findings"`
			NotKnown  []string  `json:"not_known"`
		}{w.x.Ref.EventID, w.x.Ref.OrderID, w.partition, w.x.AtMillis, w.x.Order.State.String(), w.x.Order.Reason, w.traceID(), stands, w.found, unseen})
		return out.flush()
	}
	out.note(printableLine(fmt.Sprintf("order %s, in partition %d, is %s", w.ref(), w.partition, w.state())))
	if id := w.traceID(); id != "" {
		out.note(printableLine("trace_id " + id))
	}
	for _, f := range w.found {
		out.note(printableLine(strings.ToUpper(f.Text[:1]) + f.Text[1:] + "."))
		out.note(printableLine("  next: " + f.Next))
		for _, do := range f.Do {
			out.note(printableLine("  do:   " + do))
		}
	}
	for _, text := range unseen {
		out.note(printableLine("not known: " + text))
	}
	return out.flush()
}

func has(found []finding, s standing) bool {
	for _, f := range found {
		if f.Stands == s {
			return true
		}
	}
	return false
}
