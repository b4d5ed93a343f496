package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Explanation is where one order stands: all that is stored of it, and all that waits or is in hand about it.
type Explanation struct {
	Ref      domain.OrderRef
	AtMillis int64                // on Redis's clock
	Order    domain.Order         // domain.OrderNone: nothing is stored of it
	Requests []EntryAt            // those of it that wait or are in hand, the oldest first
	Facts    []EntryAt            // those about it that posting or settlement has not done
	Owed     *OwedOrder           // its money waits by itself; nil: it does not
	Dead     []DeadLetter         // about it, the newest first
	Alive    map[domain.Group]int // workers, in its partition
	Paused   Paused               // in all events
	Troubles []Trouble            // of workers, whichever order they met them with
	// Maintained: somebody was seen ending holds in its partition. Only looked for where the order's hold is over.
	Maintained bool

	// Searched is how many requests were looked at. With Unsearched there are more, and the order's may be among them: give
	// the id of the request's entry.
	Searched     int64
	Unsearched   bool
	UnsearchedIn int64   // dead letters of the partition that were not looked at
	Unseen       []error // what may not be looked at: permissions are missing, of class ClassFatal
}

// EntryAt is an entry that a group has not done.
type EntryAt struct {
	Group   domain.Group
	ID      string
	Request domain.Request  // of GroupWorkers: as far as it can be read
	Fact    domain.FactType // of the groups of the log
	InHand  bool            // else nobody was given it yet
	Gone    bool            // it is in hand, and its payload is deleted: whoever takes it next drops it
	Missing bool            // the group is gone; a worker makes it again

	// Of one in hand:
	Consumer    string
	Alive       bool  // it gave a sign of life within its own reclaim time
	IdleMillis  int64 // since its worker last said that it was at it
	Deliveries  int64
	SinceMillis int64 // for how long it has been with workers, as GroupStatus.OldestInHandMillis
	HandedBack  bool  // its worker gave it back, or it was redriven: the next that looks takes it
}

const (
	// searchPages bounds the search for an order's requests: no key leads from an order to them.
	searchPages = 200
	// mostRequests and mostLetters bound what is told about one order.
	mostRequests = 20
)

// Explain tells where an order stands. receipt is the id of a request's entry, as publish printed it; without it the requests
// that wait or are in hand are looked through, up to searchPages × access.ReadPage of them, from the oldest. All else takes a few
// commands, however much waits.
func (in *Inspector) Explain(ctx context.Context, ref domain.OrderRef, receipt string) (Explanation, error) {
	x := Explanation{Ref: ref, Alive: make(map[domain.Group]int)}
	orders, err := in.ns.Orders(ctx, []domain.OrderRef{ref})
	if err != nil {
		return x, err
	}
	x.Order = orders[0]
	e := explaining{in: in, Explanation: &x, p: in.ns.Keys.PartitionOf(ref.EventID), receipt: receipt}
	if err := e.lookAtPartition(ctx); err != nil {
		return x, err
	}
	for _, look := range []func(context.Context) error{e.requests, e.facts, e.owed, e.deadLetters, e.paused, e.troubles} {
		err := look(ctx)
		if err != nil && domain.ClassOf(err) == domain.ClassFatal {
			x.Unseen = append(x.Unseen, err)
		} else if err != nil {
			return x, err
		}
	}
	if x.Order.Open() && x.Order.PayableUntilMillis() <= x.AtMillis {
		s := Status{Groups: []GroupStatus{{Consumers: []ConsumerStatus{{Alive: true}}}}, Upkeep: []UpkeepStatus{{Partition: e.p}}}
		if err := in.lookForMaintenance(ctx, &s); err != nil {
			return x, err
		}
		x.Maintained = s.Upkeep[0].Maintained
	}
	return x, nil
}

// explaining is an Explanation that is being made.
type explaining struct {
	*Explanation
	in      *Inspector
	p       int
	receipt string

	aliveUntil map[string]int64
	delivered  map[string]string                 // notes of scripts/keep_alive.lua, by group
	groups     map[domain.Group]redis.XInfoGroup // those that are there
}

// lookAtPartition reads what says who lives, and how far the groups are.
func (e *explaining) lookAtPartition(ctx context.Context) error {
	pipe := e.in.ns.Client.Pipeline()
	now := pipe.Time(ctx)
	alive := pipe.ZRangeWithScores(ctx, e.in.ns.Keys.Consumers(e.p), 0, -1)
	// By group, as every user may that may look: there is nothing else in it.
	notes := make(map[domain.Group]*redis.StringCmd)
	infos := make(map[domain.Group]*redis.XInfoGroupsCmd)
	for _, group := range layout.Groups {
		stream, _ := e.in.ns.Keys.StreamOf(e.p, group)
		notes[group] = pipe.HGet(ctx, e.in.ns.Keys.Delivered(e.p), string(group))
		infos[group] = pipe.XInfoGroups(ctx, stream)
	}
	_, _ = pipe.Exec(ctx) // its error is that of a command
	if err := now.Err(); err != nil {
		return fmt.Errorf("asking Redis for the time: %w", access.Classify(err))
	}
	e.AtMillis = now.Val().UnixMilli()
	var err error
	if e.aliveUntil, err = access.ScoresByName(alive); err != nil {
		return err
	}
	for name, until := range e.aliveUntil {
		if group, _, _ := strings.Cut(name, "/"); until > e.AtMillis {
			e.Alive[domain.Group(group)]++
		}
	}
	e.delivered, e.groups = make(map[string]string), make(map[domain.Group]redis.XInfoGroup)
	for _, group := range layout.Groups {
		if err := infos[group].Err(); err != nil && !access.NoGroup(err) {
			return fmt.Errorf("looking at group %s: %w", group, access.Classify(err))
		}
		e.delivered[string(group)] = notes[group].Val() // without, it is told by how long it is idle
		for _, info := range infos[group].Val() {
			if info.Name == string(group) {
				e.groups[group] = info
			}
		}
	}
	return nil
}

// requests finds those of the order that are not done.
func (e *explaining) requests(ctx context.Context) error {
	key := e.in.ns.Keys.Requests(e.p)
	var found []domain.Entry
	if e.receipt != "" {
		reply, err := e.in.ns.Client.Do(ctx, "XRANGE", key, e.receipt, e.receipt).Result()
		if err != nil {
			return fmt.Errorf("reading the request: %w", access.Classify(err))
		}
		if found = layout.DecodeEntries(reply); len(found) == 0 { // in hand without its payload, or done
			found = []domain.Entry{{ID: e.receipt}}
		}
		if len(found[0].Fields) > 0 && !isOf(found[0].Fields, e.Ref) {
			return domain.WithClass(domain.ClassReject, fmt.Errorf("entry %s is no request of order %s", e.receipt, e.Ref))
		}
	} else {
		s := search{in: e.in, key: key, wanted: func(fields []string) bool { return isOf(fields, e.Ref) }}
		err := s.run(ctx)
		e.Searched, e.Unsearched = s.searched, s.more
		if err != nil {
			return fmt.Errorf("looking through the requests: %w", err)
		}
		found = s.found
	}
	for _, entry := range found {
		at := EntryAt{Group: domain.GroupWorkers, ID: entry.ID}
		at.Request, _ = wire.ParseRequest(entry.Fields) // what cannot be read of it, nobody can
		open, err := e.stands(ctx, &at)
		if err != nil {
			return err
		}
		if open && (at.InHand || len(entry.Fields) > 0) { // what waited and is deleted comes to nobody
			at.Gone = at.InHand && len(entry.Fields) == 0
			e.Requests = append(e.Requests, at)
		}
	}
	return nil
}

// isOf reports whether the fields of a request name an order; with an empty event id, of any event.
func isOf(fields []string, ref domain.OrderRef) bool {
	event, order := "", ""
	for i := 0; i+1 < len(fields); i += 2 {
		switch fields[i] {
		case "event_id":
			event = fields[i+1]
		case "order_id":
			order = fields[i+1]
		}
	}
	return order == ref.OrderID && (event == ref.EventID || ref.EventID == "")
}

// search looks through a stream of requests from its start. What is done has been trimmed, or soon is.
type search struct {
	in     *Inspector
	key    string
	wanted func(fields []string) bool

	found    []domain.Entry
	searched int64
	more     bool // there are more entries than were looked at
}

func (s *search) run(ctx context.Context) error {
	from := "-"
	for range searchPages {
		reply, err := s.in.ns.Client.Do(ctx, "XRANGE", s.key, from, "+", "COUNT", access.ReadPage).Result()
		if err != nil {
			return access.Classify(err)
		}
		page := layout.DecodeEntries(reply)
		for _, entry := range page {
			if s.wanted(entry.Fields) {
				s.found = append(s.found, entry)
			}
		}
		s.searched += int64(len(page))
		if len(page) < access.ReadPage || len(s.found) >= mostRequests {
			s.more = len(page) == access.ReadPage
			return nil
		}
		from = "(" + page[len(page)-1].ID
	}
	s.more = true
	return nil
}

// stands finds out whether a group still has an entry to do, and who is at it.
func (e *explaining) stands(ctx context.Context, at *EntryAt) (open bool, err error) {
	group, there := e.groups[at.Group]
	if !there {
		at.Missing = true
		return true, nil
	}
	if layout.ParseLogID(at.ID).After(layout.ParseLogID(group.LastDeliveredID)) {
		return true, nil
	}
	stream, _ := e.in.ns.Keys.StreamOf(e.p, at.Group)
	pending, err := e.in.ns.Client.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: stream, Group: string(at.Group), Start: at.ID, End: at.ID, Count: 1}).Result()
	if err != nil {
		return false, fmt.Errorf("looking who has entry %s: %w", at.ID, access.Classify(err))
	}
	if len(pending) == 0 {
		return false, nil
	}
	is := pending[0]
	at.InHand, at.Consumer, at.Deliveries, at.IdleMillis = true, is.Consumer, is.RetryCount, is.Idle.Milliseconds()
	at.Alive = e.aliveUntil[string(at.Group)+"/"+is.Consumer] > e.AtMillis
	if at.HandedBack = at.IdleMillis >= handedBackIdleMillis; at.HandedBack {
		at.IdleMillis -= handedBackIdleMillis
	}
	at.SinceMillis = max(at.IdleMillis, e.AtMillis-layout.DeliveredBy(e.delivered[string(at.Group)], at.ID, e.AtMillis))
	return true, nil
}

// concerned is which groups have to do with a fact about an order.
func concerned(t domain.FactType) []domain.Group {
	switch t {
	case domain.FactConfirmed, domain.FactRestored:
		return []domain.Group{domain.GroupPosting, domain.GroupSettlement}
	case domain.FactExpired, domain.FactCancelled, domain.FactReduced, domain.FactChanged, domain.FactChangeRefused, domain.FactRefundGranted, domain.FactPaymentDisputed:
		return []domain.Group{domain.GroupSettlement}
	case domain.FactHeld, domain.FactLapsed, domain.FactRejected, domain.FactPaying, domain.FactPaymentDeclined, domain.FactActionRequired, domain.FactExtended, domain.FactDeclined, domain.FactForgotten, domain.FactOrderRecalled,
		domain.FactCreated, domain.FactAdjusted, domain.FactClosed, domain.FactReopened, domain.FactEventCancelled, domain.FactEventForgotten, domain.FactEventRecalled:
	}
	return nil
}

// facts finds those about the order that are not posted, or not settled.
func (e *explaining) facts(ctx context.Context) error {
	history, err := e.in.History(ctx, e.Ref, e.Order)
	if err != nil && domain.CodeOf(err) != domain.CodeLogTrimmed { // what was trimmed is posted and settled
		return err
	}
	for _, f := range history {
		for _, group := range concerned(f.Type) {
			at := EntryAt{Group: group, ID: f.ID, Fact: f.Type}
			open, err := e.stands(ctx, &at)
			if err != nil {
				return err
			}
			if open {
				e.Facts = append(e.Facts, at)
			}
		}
	}
	return nil
}

func (e *explaining) owed(ctx context.Context) error {
	pipe := e.in.ns.Client.Pipeline()
	due, note := pipe.ZScore(ctx, e.in.ns.Keys.Owed(e.p), e.Ref.String()), pipe.HMGet(ctx, e.in.ns.Keys.OwedNotes(e.p), e.Ref.String())
	_, _ = pipe.Exec(ctx) // its error is that of a command
	if access.IsNil(due.Err()) {
		return nil
	}
	if err := due.Err(); err != nil {
		return fmt.Errorf("looking whether its money waits: %w", access.Classify(err))
	}
	if err := note.Err(); err != nil {
		return fmt.Errorf("looking why its money waits: %w", access.Classify(err))
	}
	e.Owed = &OwedOrder{OrderID: e.Ref.String(), DueMillis: int64(due.Val()) - e.AtMillis}
	if o, err := layout.DecodeOwed(e.Ref.String(), layout.AsString(note.Val()[0])); err == nil { // else the audit says so
		e.Owed.AgeMillis, e.Owed.Attempts, e.Owed.Reason = max(0, e.AtMillis-domain.EntryMillis(o.FactID)), o.Attempts, o.Reason
	}
	return nil
}

// deadLetters are found among the newest of the partition: those of the log have no note beside the order.
func (e *explaining) deadLetters(ctx context.Context) error {
	pipe := e.in.ns.Client.Pipeline()
	length := pipe.XLen(ctx, e.in.ns.Keys.Dead(e.p))
	newest := pipe.Do(ctx, "XREVRANGE", e.in.ns.Keys.Dead(e.p), "+", "-", "COUNT", access.ReadPage)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("looking for its dead letters: %w", access.Classify(err))
	}
	entries := layout.DecodeEntries(newest.Val())
	e.UnsearchedIn = max(0, length.Val()-int64(len(entries)))
	name := e.Ref.String()
	for _, entry := range entries {
		letter, err := layout.DecodeDeadLetter(e.p, entry)
		if err != nil {
			continue // it names no order
		}
		if isShown := shown(letter); isShown.OrderID == name || letter.Stream == layout.StreamLog && mentions(letter.Fields, name) {
			e.Dead = append(e.Dead, isShown)
		}
	}
	if e.UnsearchedIn == 0 {
		return nil
	}
	return e.notedLetters(ctx)
}

// mentions reports whether one of the facts of a log entry is about an order.
func mentions(fields []string, name string) bool {
	if len(fields) != 2 {
		return false
	}
	for line := range strings.SplitSeq(fields[1], "\n") {
		if subject, _, _ := strings.Cut(line, "|"); subject == name {
			return true
		}
	}
	return false
}

// notedLetters are those beside the order: its requests that are dead letters, however old.
func (e *explaining) notedLetters(ctx context.Context) error {
	values, err := e.in.ns.Client.HMGet(ctx, e.in.ns.Keys.SetAside(e.p), e.Ref.String()).Result()
	if err != nil {
		return fmt.Errorf("looking for its older dead letters: %w", access.Classify(err))
	}
	notes, _, err := layout.DecodeNotes(layout.AsString(values[0]))
	if err != nil {
		return err
	}
	for _, note := range slices.Backward(notes) {
		if slices.ContainsFunc(e.Dead, func(l DeadLetter) bool { return l.ID == note.DeadID }) {
			continue
		}
		letter, err := e.in.DeadLetter(ctx, note.DeadID)
		if err != nil {
			return err
		}
		e.Dead = append(e.Dead, letter)
	}
	return nil
}

func (e *explaining) troubles(ctx context.Context) (err error) {
	e.Troubles, err = e.in.Troubles(ctx, e.AtMillis)
	return err
}

// Candidates are the orders of this name that are known of without a look through the log: those of listed events, and
// those whose requests wait or are in hand. unsearched says that there are more requests than were looked through.
func (in *Inspector) Candidates(ctx context.Context, orderID string) (found []domain.OrderRef, unsearched bool, err error) {
	if found, err = in.findAmongEvents(ctx, orderID); err != nil || len(found) > 0 {
		return found, false, err
	}
	for p := range in.ns.Keys.Partitions() {
		s := search{in: in, key: in.ns.Keys.Requests(p), wanted: func(fields []string) bool { return isOf(fields, domain.OrderRef{OrderID: orderID}) }}
		if err := s.run(ctx); err != nil {
			return nil, false, fmt.Errorf("looking through the requests: %w", err)
		}
		unsearched = unsearched || s.more
		for _, entry := range s.found {
			request, _ := wire.ParseRequest(entry.Fields)
			if ref := request.Ref(); ref.EventID != "" && !slices.Contains(found, ref) {
				found = append(found, ref)
			}
		}
	}
	return found, unsearched, nil
}

func (e *explaining) paused(ctx context.Context) (err error) {
	e.Paused, err = e.in.Paused(ctx)
	return err
}
