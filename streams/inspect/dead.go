package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// DeadLetter is an entry that was set aside.
type DeadLetter struct {
	ID         string            `json:"dead_id"` // partition:entry id
	Partition  int               `json:"partition"`
	Stream     string            `json:"stream"`
	Group      string            `json:"group"`
	EntryID    string            `json:"entry_id"`
	Reason     string            `json:"reason"`
	Deliveries int64             `json:"deliveries"`
	AtMillis   int64             `json:"at"`       // milliseconds
	OrderID    string            `json:"order_id"` // event_id/order_id, as far as the entry names one
	Fields     map[string]string `json:"fields"`   // the payment token and the access code redacted
}

// shown is a letter as people see it.
func shown(l layout.DeadLetter) DeadLetter {
	letter := DeadLetter{
		ID: l.ID(), Partition: l.Partition, Stream: l.Stream, Group: l.Group, EntryID: l.EntryID, Reason: l.Reason,
		Deliveries: l.Deliveries, AtMillis: l.AtMillis, OrderID: orderOf(l.Fields), Fields: make(map[string]string, len(l.Fields)/2),
	}
	for i := 0; i+1 < len(l.Fields); i += 2 {
		name, value := l.Fields[i], l.Fields[i+1]
		if name == wire.FieldPaymentToken || name == wire.FieldAccessCode {
			value = domain.Secret(value).String()
		}
		letter.Fields[name] = value
	}
	// A request that cannot be read says as much as it says. What is owed says nothing else.
	if event, order := letter.Fields["event_id"], letter.Fields["order_id"]; l.Stream != layout.StreamLog && event+order != "" {
		letter.OrderID = event + "/" + order
	}
	return letter
}

// parseDeadID takes "partition:id" apart.
func parseDeadID(id string, partitions int) (p int, letterID string, err error) {
	for i := range len(id) {
		if id[i] == ':' {
			p, convErr := strconv.Atoi(id[:i])
			if convErr == nil && p >= 0 && p < partitions && domain.EntryMillis(id[i+1:]) > 0 {
				return p, id[i+1:], nil
			}
		}
	}
	return 0, "", domain.WithCode(domain.ClassReject, domain.CodeInvalid, fmt.Errorf("dead letter %q: want an id as dead list prints it, such as 0:1700000000000-0", id))
}

// EachDeadLetter calls each for the dead letters of all partitions, the oldest first. What is
// set aside after the call began is not among them. Those that are damaged are left out; the first of them is the error, of ClassPoison, at the end.
func (in *Inspector) EachDeadLetter(ctx context.Context, each func(DeadLetter) error) error {
	spans := make([]span, in.ns.Keys.Partitions())
	for p := range spans {
		spans[p] = span{p: p, key: in.ns.Keys.Dead(p), from: "-", to: "+"}
	}
	if err := in.fixEnds(ctx, spans); err != nil {
		return fmt.Errorf("reading dead letters: %w", access.Classify(err))
	}
	var damage error
	err := in.merge(ctx, spans, false, func(p int, e domain.Entry) error {
		letter, err := layout.DecodeDeadLetter(p, e)
		if err != nil {
			damage = cmp.Or(damage, fmt.Errorf("dead letter %s: %w", letter.ID(), err))
			return nil
		}
		return each(shown(letter))
	})
	return cmp.Or(err, damage)
}

// CountDeadLetters is how many there are.
func (in *Inspector) CountDeadLetters(ctx context.Context) (int64, error) {
	pipe := in.ns.Client.Pipeline()
	lengths := make([]*redis.IntCmd, in.ns.Keys.Partitions())
	for p := range lengths {
		lengths[p] = pipe.XLen(ctx, in.ns.Keys.Dead(p))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("counting dead letters: %w", access.Classify(err))
	}
	var sum int64
	for _, n := range lengths {
		sum += n.Val()
	}
	return sum, nil
}

// DeadLetter reads one. Error: domain.ErrNotFound.
func (in *Inspector) DeadLetter(ctx context.Context, id string) (DeadLetter, error) {
	p, letterID, err := parseDeadID(id, in.ns.Keys.Partitions())
	if err != nil {
		return DeadLetter{}, err
	}
	found, err := in.ns.DeadLetters(ctx, p, letterID, letterID, 1)
	if err != nil {
		return DeadLetter{}, err
	}
	if len(found) == 0 {
		return DeadLetter{}, access.NotFound("dead letter", id)
	}
	return shown(found[0]), nil
}

// Handled is what became of one of the dead letters that were to be redriven, rerouted or discarded.
//
// No error: it is done, and the letter is gone. Errors: domain.ErrNotFound; ClassReject if it
// cannot be done; domain.ErrUnknownOutcome if it may be done. In all cases the letter is there,
// or what it led to is, or both: then that comes twice, which its order_id makes harmless.
type Handled struct {
	ID      string
	EntryID string // that it was redriven, or rerouted, as
	Err     error
}

// handleBatch bounds the letters of one script call: it takes Redis some milliseconds.
const handleBatch = 250

// handle calls do for the letters of one partition after the other, at most handleBatch at
// a time; do sets the results of those at the given places in handled.
func (in *Inspector) handle(ids []string, do func(p int, letterIDs []string, at []int, handled []Handled)) []Handled {
	handled := make([]Handled, len(ids))
	places := make([][]int, in.ns.Keys.Partitions())
	letterIDs := make([]string, len(ids))
	badCause := in.cause.Validate()
	for i, id := range ids {
		handled[i].ID = id
		p, letterID, err := parseDeadID(id, len(places))
		if err = cmp.Or(badCause, err); err != nil {
			handled[i].Err = err
			continue
		}
		letterIDs[i], places[p] = letterID, append(places[p], i)
	}
	for p, all := range places {
		for at := range slices.Chunk(all, handleBatch) {
			chunk := make([]string, len(at))
			for j, i := range at {
				chunk[j] = letterIDs[i]
			}
			do(p, chunk, at, handled)
		}
	}
	return handled
}

// Redrive gives dead letters back to their groups, to be handled as if they had just
// come (a request is a new entry, so its time in line starts again), and removes
// them. It returns what became of each.
func (in *Inspector) Redrive(ctx context.Context, ids ...string) []Handled {
	return in.handle(ids, func(p int, letterIDs []string, at []int, handled []Handled) {
		var reply []string
		args, err := in.why()
		if err == nil {
			keys := []string{in.ns.Keys.Requests(p), in.ns.Keys.Log(p), in.ns.Keys.Dead(p), in.ns.Keys.SetAside(p), in.ns.Keys.Owed(p), in.ns.Keys.OwedNotes(p), in.ns.Keys.Handled(p)}
			reply, err = in.ns.Redrive.Run(ctx, in.ns.Client, keys, append(args, anys(letterIDs)...)...).StringSlice()
		}
		if err == nil && len(reply) != len(at) {
			err = fmt.Errorf("%d values for %d letters", len(reply), len(at))
		}
		for j, i := range at {
			switch h := &handled[i]; {
			case err != nil:
				h.Err = fmt.Errorf("script redrive: %w", access.ClassifyChange(err))
			case reply[j] == "":
				h.Err = access.NotFound("dead letter", h.ID)
			case domain.EntryMillis(reply[j]) > 0:
				h.EntryID = reply[j]
			default:
				h.Err = cannot(h.ID, "%s: discard it", reply[j])
			}
		}
	})
}

// why is who has letters handled, and why, as the scripts take it.
func (in *Inspector) why() (args []any, err error) {
	for _, text := range []string{in.cause.Reason, in.cause.By} {
		said, err := json.Marshal(text)
		if err != nil {
			return nil, fmt.Errorf("noting why: %w", err)
		}
		args = append(args, string(said))
	}
	return args, nil
}

// Discard removes dead letters for good. It returns what became of each.
func (in *Inspector) Discard(ctx context.Context, ids ...string) []Handled {
	return in.handle(ids, func(p int, letterIDs []string, at []int, handled []Handled) {
		removed, err := in.discard(ctx, p, ActDiscarded, letterIDs, make([]string, len(letterIDs)))
		for j, i := range at {
			switch h := &handled[i]; {
			case err != nil:
				h.Err = err
			case !removed[j]:
				h.Err = access.NotFound("dead letter", h.ID)
			}
		}
	})
}

// discard removes letters, of which entryIDs tells what they were published as.
func (in *Inspector) discard(ctx context.Context, p int, act string, letterIDs, entryIDs []string) (removed []bool, err error) {
	why, err := in.why()
	if err != nil {
		return nil, err
	}
	args := append([]any{act}, why...)
	for i, id := range letterIDs {
		args = append(args, id, entryIDs[i])
	}
	removed, err = in.ns.Discard.Run(ctx, in.ns.Client, []string{in.ns.Keys.Dead(p), in.ns.Keys.SetAside(p), in.ns.Keys.Handled(p)}, args...).BoolSlice()
	if err == nil && len(removed) != len(letterIDs) {
		err = fmt.Errorf("%d values for %d letters", len(removed), len(letterIDs))
	}
	if err != nil {
		return nil, fmt.Errorf("script discard: %w", access.ClassifyChange(err))
	}
	return removed, nil
}

// Reroute publishes requests that came in a partition other than their event's in the right
// one, and then removes their letters. The two are in different slots: a crash in between,
// or two who do it at the same time, publish a request twice, and the second finds
// its order. It returns what became of each.
func (in *Inspector) Reroute(ctx context.Context, ids ...string) []Handled {
	return in.handle(ids, func(p int, letterIDs []string, at []int, handled []Handled) {
		in.reroute(ctx, p, letterIDs, at, handled)
	})
}

func (in *Inspector) reroute(ctx context.Context, p int, letterIDs []string, at []int, handled []Handled) {
	read := in.ns.Client.Pipeline()
	found := make([]*redis.Cmd, len(at))
	for j, id := range letterIDs {
		found[j] = read.Do(ctx, "XRANGE", in.ns.Keys.Dead(p), id, id)
	}
	_, _ = read.Exec(ctx) // its error is that of a command
	publish := in.ns.Client.Pipeline()
	added := make(map[int]*redis.StringCmd, len(at)) // by place in letterIDs
	for j, i := range at {
		letter, err := oneLetter(p, handled[i].ID, found[j])
		as := shown(letter)
		if err == nil {
			err = in.misplaced(as)
		}
		if err != nil {
			handled[i].Err = err
			continue
		}
		right := in.ns.Keys.PartitionOf(as.Fields["event_id"])
		added[j] = publish.XAdd(ctx, &redis.XAddArgs{Stream: in.ns.Keys.Requests(right), Values: letter.Fields})
	}
	if len(added) == 0 {
		return
	}
	_, execErr := publish.Exec(ctx)
	var done, as []string
	for j, i := range at {
		add := added[j]
		if add == nil {
			continue
		}
		id, err := add.Result()
		if err == nil && id == "" {
			err = execErr // the pipeline ended before this command
		}
		if err != nil {
			handled[i].Err = fmt.Errorf("publishing: %w", access.ClassifyChange(err))
			continue
		}
		handled[i].EntryID = id
		done, as = append(done, letterIDs[j]), append(as, id)
	}
	if len(done) == 0 {
		return
	}
	// One that is not there any more was removed by somebody else meanwhile: that it is gone is what is wanted.
	if _, err := in.discard(ctx, p, ActRerouted, done, as); err != nil {
		for _, i := range at {
			if h := &handled[i]; h.Err == nil {
				h.Err = fmt.Errorf("published as %s, but its letter may still be there: %w", h.EntryID, err)
			}
		}
	}
}

// What people do with dead letters.
const (
	ActRedriven  = "redriven"
	ActRerouted  = "rerouted"
	ActDiscarded = "discarded"
)

// HandledLetter is a dead letter that a person has had handled.
type HandledLetter struct {
	AtMillis int64  `json:"at"` // milliseconds
	Act      string `json:"act"`
	DeadID   string `json:"dead_id"`
	OrderID  string `json:"order_id"` // event_id/order_id, if the letter was noted beside an order, or was about an order's money
	EntryID  string `json:"entry_id"` // that it came back as; empty if it did not
	Reason   string `json:"reason"`   // why, and by whom it was asked for
	By       string `json:"by"`
}

// HandledLetters are the newest of each partition, the newest first.
func (in *Inspector) HandledLetters(ctx context.Context) ([]HandledLetter, error) {
	pipe := in.ns.Client.Pipeline()
	lists := make([]*redis.StringSliceCmd, in.ns.Keys.Partitions())
	for p := range lists {
		lists[p] = pipe.LRange(ctx, in.ns.Keys.Handled(p), 0, -1)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("reading who handled dead letters: %w", access.Classify(err))
	}
	handled := []HandledLetter{}
	for p, list := range lists {
		for _, value := range list.Val() {
			var noted struct {
				HandledLetter
				Letter string `json:"letter"`
			}
			if err := json.Unmarshal([]byte(value), &noted); err != nil {
				return nil, domain.WithClass(domain.ClassPoison, fmt.Errorf("what is noted of a dead letter that was handled in partition %d is damaged: %q", p, value))
			}
			noted.DeadID = layout.DeadLetter{Partition: p, LetterID: noted.Letter}.ID()
			handled = append(handled, noted.HandledLetter)
		}
	}
	slices.SortStableFunc(handled, func(a, b HandledLetter) int { return cmp.Compare(b.AtMillis, a.AtMillis) })
	return handled, nil
}

// oneLetter is the letter in a reply to XRANGE.
func oneLetter(p int, id string, reply *redis.Cmd) (layout.DeadLetter, error) {
	if err := reply.Err(); err != nil {
		return layout.DeadLetter{}, fmt.Errorf("reading dead letters: %w", access.Classify(err))
	}
	entries := layout.DecodeEntries(reply.Val())
	if len(entries) == 0 {
		return layout.DeadLetter{}, access.NotFound("dead letter", id)
	}
	return layout.DecodeDeadLetter(p, entries[0])
}

// misplaced is why a letter is not that of a request in a wrong partition; nil if it is.
func (in *Inspector) misplaced(l DeadLetter) error {
	event := l.Fields["event_id"]
	switch {
	case l.Stream != layout.StreamRequests:
		return cannot(l.ID, "it is no request, but of the %s: redrive it without rerouting", l.Stream)
	case !domain.ValidID(event):
		return cannot(l.ID, "it does not say of which event it is: discard it")
	case in.ns.Keys.PartitionOf(event) == l.Partition:
		return cannot(l.ID, "it is in the partition of its event: redrive it without rerouting")
	}
	return nil
}

// Misplaced reports whether Reroute is for this letter.
func (in *Inspector) Misplaced(l DeadLetter) bool { return in.misplaced(l) == nil }

// cannot says that a letter stays what it is.
func cannot(id, format string, args ...any) error {
	return domain.WithClass(domain.ClassReject, fmt.Errorf("dead letter %s: "+format, append([]any{id}, args...)...))
}

func anys(list []string) []any {
	all := make([]any, len(list))
	for i, s := range list {
		all[i] = s
	}
	return all
}
