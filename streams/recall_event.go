package streams

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// RecalledEvent is what became of an event that was to be recalled.
type RecalledEvent struct {
	Before    bool // it is there, and was so before
	Orders    int  // that it has
	Confirmed int  // of these
	Written   int  // of these, by this call: others were back already
}

// recallPage is how many orders one script call brings back: each has a line in the log of some 400 bytes.
const recallPage = 128

// Recall brings an event back that was forgotten, as the archive tells it: closed, as it was, with all its orders, by the version that each had. So whoever asks for an
// order gets the outcome that it always had, and what is decided about one is decided once.
//
//  1. Its orders are written, a hundred at a time, each lot by a script with the fact that says what they were, and it is noted that they come, and do not go. The event
//     is forgotten still, so nobody changes any of them.
//  2. So are the places that its customers have, which follow from the orders.
//  3. One script: the event is there.
//
// A crash, a lost reply, or a failover that lost some of it leaves the rest to the next call: what is there is compared, and left. Two at the same time write the same.
// What the invoices say of its orders stays there: whoever reads them reads the order first. Errors: domain.ErrNotFound; domain.CodeUnavailable while its orders are still being
// forgotten, or nothing is archived of the partition's branch; of ClassPoison if the archive tells another event.
func (e *Events) Recall(ctx context.Context, from domain.ArchivedEvents, eventID string, progress func(orders int)) (RecalledEvent, error) {
	s, p := e.store, e.store.Partition(eventID)
	there, err := s.Inside().Event(ctx, eventID)
	switch {
	case err != nil:
		return RecalledEvent{}, err
	case there.Exists():
		return RecalledEvent{Before: true}, nil
	case there.Over == "":
		return RecalledEvent{}, access.NotFound("event", eventID)
	}
	state, err := s.Ledger().ArchiveState(ctx, p)
	if err != nil {
		return RecalledEvent{}, err
	}
	if state.Mark.Branch != state.Branch || state.Branch != there.Branch {
		return RecalledEvent{}, notNow(eventID, "nothing is archived yet of the branch that its partition has now")
	}
	archived, err := from.Event(ctx, p, state.Mark, eventID)
	if err != nil {
		return RecalledEvent{}, err
	}
	event := archived.Book.Events[eventID]
	if event.Version+1 != there.Version || !event.Closed {
		return RecalledEvent{}, domain.WithClass(domain.ClassPoison, fmt.Errorf("event %s was forgotten with version %d of its terms, and the archive has version %d before that: is it another archive?", eventID, there.Version, event.Version))
	}
	event.Version = there.Version + 1
	r := recalling{
		events: e, p: p, id: eventID, branch: there.Branch, is: event, book: archived.Book,
		terms: layout.EventTerms{Version: there.Version, Over: there.Over}.String(),
		note:  layout.ForgettingNote{Hashes: layout.OrderHashes(archived.Listed), Early: len(archived.Book.Early) > 0, Recalled: true}, progress: progress,
	}
	if err := r.orders(ctx); err != nil {
		return r.done, err
	}
	if err := r.customers(ctx); err != nil {
		return r.done, err
	}
	id, err := r.event(ctx)
	if err == nil {
		s.log.Info("an event is recalled", zap.String("event", eventID), zap.String("fact", id), zap.Int("orders", r.done.Orders))
	}
	return r.done, err
}

// notNow is the error for an event that cannot be recalled yet.
func notNow(eventID, why string) error {
	return domain.WithCode(domain.ClassRetry, domain.CodeUnavailable, fmt.Errorf("event %s is not recalled: %s; try again", eventID, why))
}

// recalling is an event that is being brought back.
type recalling struct {
	events   *Events
	p        int
	id       string
	branch   string
	terms    string // that say that it is forgotten
	note     layout.ForgettingNote
	is       domain.Event // as it will be
	book     *domain.Snapshot
	progress func(orders int)
	done     RecalledEvent
}

// field is one that comes back, with the fact about it, if there is one.
type field struct{ name, value, fact string }

// orders brings them back, hash by hash.
func (r *recalling) orders(ctx context.Context) error {
	k := r.events.store.keys
	byHash := make(map[string][]field)
	for ref, o := range r.book.Orders {
		hash := k.HashOf(ref, r.note.Hashes)
		if r.book.Early[ref] {
			hash = k.SharedHash(r.id)
		}
		key := k.Orders(r.p, hash)
		fact := domain.Fact{Type: domain.FactOrderRecalled, EventID: ref.EventID, OrderID: ref.OrderID, Recalled: &domain.Recalled{Order: o, Early: r.book.Early[ref]}}
		byHash[key] = append(byHash[key], field{ref.String(), layout.EncodeOrder(o), wire.FactLine(fact)})
		if r.done.Orders++; o.State == domain.OrderConfirmed {
			r.done.Confirmed++
		}
	}
	return r.write(ctx, byHash, k.Orders(r.p, k.SharedHash(r.id)), func(written, of int) {
		r.done.Written += written
		if r.progress != nil {
			r.progress(of)
		}
	})
}

// customers brings back how many places they have, of an event that counts them.
func (r *recalling) customers(ctx context.Context) error {
	k := r.events.store.keys
	byHash := make(map[string][]field)
	for customer, places := range r.book.Places[r.id] {
		key := k.Customers(r.p, k.HashOfCustomer(r.id, customer, r.note.Hashes))
		byHash[key] = append(byHash[key], field{r.id + "/" + customer, fmt.Sprint(places), ""})
	}
	return r.write(ctx, byHash, "", func(int, int) {})
}

// write brings back what is not there. A restore has put what was there into another hash, if any is named.
func (r *recalling) write(ctx context.Context, byHash map[string][]field, restored string, each func(written, of int)) error {
	s := r.events.store
	for key, fields := range byHash {
		slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
		for chunk := range slices.Chunk(fields, recallPage) {
			args := []any{r.branch, r.id, r.terms, r.note.String()}
			for _, f := range chunk {
				args = append(args, f.name, f.value, f.fact)
			}
			reply, err := s.run(ctx, scriptRecallOrders, []string{s.keys.Log(r.p), s.keys.Events(r.p), s.keys.Forgetting(r.p), key, cmp.Or(restored, key)}, args...).Slice()
			if err != nil {
				return fmt.Errorf("script recall_orders: %w", access.ClassifyChange(err))
			}
			switch said := layout.AsString(reply[0]); said {
			case "stale", "going":
				return r.refused(said)
			case "differs":
				return domain.WithClass(domain.ClassPoison, fmt.Errorf("%s in %s is not what the archive says that it was", layout.AsString(reply[1]), key))
			}
			each(int(layout.AsInt(reply[0])), len(chunk))
		}
	}
	return nil
}

// refused is the error for what a script found to be otherwise.
func (r *recalling) refused(said string) error {
	if said == "going" {
		return notNow(r.id, "its orders are still being forgotten")
	}
	return notNow(r.id, "somebody has recalled it meanwhile, or the data is other data")
}

// event brings it back itself.
func (r *recalling) event(ctx context.Context) (id string, err error) {
	s := r.events.store
	fact := domain.Fact{Type: domain.FactEventRecalled, EventID: r.id, Recalled: &domain.Recalled{Event: r.is, OrderHashes: r.note.Hashes, Refused: r.book.Refused}}
	fields := layout.EncodeEvent(r.id, r.is, r.note.Hashes)
	var totals layout.Totals
	for ref, o := range r.book.Orders {
		if o.State == domain.OrderConfirmed && !totals.Add(o) {
			return "", domain.WithClass(domain.ClassPoison, fmt.Errorf("order %s: the revenue of its event is more than 2^63-1", ref))
		}
	}
	fields[layout.SalesField(r.id)] = totals.String()
	for what, places := range r.book.Refused {
		fields[layout.RefusedField(what)] = fmt.Sprint(places)
	}
	if n := len(r.book.Early); n > 0 {
		fields[layout.EarlyField(r.id)] = fmt.Sprint(n)
	}
	args := []any{r.branch, r.id, r.terms, r.note.String(), wire.FactLine(fact), len(fields)}
	for _, of := range []map[string]string{fields, layout.EncodePlaces(r.id, r.is)} {
		for name, value := range of {
			args = append(args, name, value)
		}
	}
	id, err = s.run(ctx, scriptRecallEvent, []string{s.keys.Log(r.p), s.keys.Events(r.p), s.keys.Places(r.p), s.keys.Forgetting(r.p)}, args...).Text()
	if err != nil {
		return "", fmt.Errorf("script recall_event: %w", access.ClassifyChange(err))
	}
	if id == "stale" || id == "going" {
		return "", r.refused(id)
	}
	return id, nil
}
