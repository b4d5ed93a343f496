package streams

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
)

// FuzzRequestEntry publishes an entry of these fields (their strings separated by
// the unit separator) and does with it what a worker does. Whatever is in the entry: it is read back as it was written, what the
// scripts make of it is what package domain decides, nothing else changes, and
// the payment token is nowhere but in the requests and in the dead letters.
func FuzzRequestEntry(f *testing.F) {
	const separator = "\x1f"
	for prior := range uint8(4) {
		for _, fields := range [][]string{
			purchase("e1", "o1", "fred", 1), hold("e1", "o1", "fred", 1), request("pay", "e1", "o1"), request("cancel", "e1", "o1"),
			purchase("e1", "o2", "mary", 2, "unit_price", "1000", "section", "vip"), hold("e1", "o1", "fred", 0), purchase("e2", "o1", "fred", 9),
			{"v", "1"},
			{"", ""},
			request("pay", "e1", "o|1"), purchase("e1", "o1", "a|b", 1), hold("e1", "o1", "#", 1, "hold_seconds", "1", "valid_seconds", "1"),
		} {
			f.Add(prior, strings.Join(fields, separator))
		}
	}
	ctx := context.Background()
	store, err := Open(ctx, streamstest.Server().URL(), Options{Create: true, Partitions: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := store.Close(); err != nil {
			f.Errorf("closing: %v", err)
		}
	})
	f.Fuzz(func(t *testing.T, prior uint8, data string) {
		fields := strings.Split(data, separator)
		fields = fields[:len(fields)&^1]
		if len(fields) == 0 {
			return // Redis takes no such entry
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		x := fixtureOf(ctx, t, store)
		x.Do("FLUSHALL")
		x.Must(x.ledger.Accept(ctx, "w1"))
		x.list("e1", terms(3))
		switch prior % 4 {
		case 1:
			x.held("e1", "o1", "fred", 1, holdMillis)
		case 2:
			x.confirmed("e1", "o1", "fred", 1)
		case 3:
			x.confirmed("e1", "o1", "fred", 1)
			x.cancel("e1", "o1")
		}
		x.handle(fields)
	})
}

// wantNote fails the test unless there is one note, of the letter, beside the one order that
// the fields name; and none if they name none, or several.
func (f *fixture) wantNote(letter layout.DeadLetter, fields []string) {
	f.Helper()
	var events, orders []string
	for pair := range slices.Chunk(fields, 2) {
		switch pair[0] {
		case "event_id":
			events = append(events, pair[1])
		case "order_id":
			orders = append(orders, pair[1])
		}
	}
	want := ""
	if len(events) == 1 && len(orders) == 1 && domain.ValidID(events[0]) && domain.ValidID(orders[0]) {
		want = events[0] + "/" + orders[0]
	}
	if letter.Order != want {
		f.Fatalf("the letter of %q stands beside %q, want %q", fields, letter.Order, want)
	}
	notes := f.Do("HLEN", f.Keys.SetAside(0))
	if want == "" {
		if notes != int64(0) {
			f.Errorf("%v notes of %q", notes, fields)
		}
		return
	}
	if got := f.notes(want); notes != int64(1) || len(got) != 1 || got[0].DeadID != letter.ID() || got[0].EntryID != letter.EntryID {
		f.Errorf("notes %+v of %+v", got, letter)
	}
}

// handle publishes one entry, does with it what a worker does, and judges it.
func (f *fixture) handle(fields []string) {
	f.Helper()
	earlier := f.Pending(domain.GroupWorkers)
	id := f.Publish(fields)
	got := f.Deliver(domain.GroupWorkers, "w1")
	if len(got) != 1 || got[0].ID != id || !slices.Equal(got[0].Fields, fields) {
		f.Fatalf("published %q, delivered %+v", fields, got)
	}
	before, book := f.Dump(), f.fold()
	req, err := wire.ParseRequest(got[0].Fields)
	if domain.ClassOf(err) == domain.ClassPoison && err != nil {
		f.Must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.Ctx, []domain.DeadEntry{{ID: id, Reason: err.Error()}}))
		letters := f.deadLetters()
		if len(letters) != 1 || !slices.Equal(letters[0].Fields, fields) || letters[0].Reason != err.Error() {
			f.Errorf("the dead letter of %q is %+v", fields, letters)
		}
		f.WantPending(domain.GroupWorkers, earlier...)
		f.wantNote(letters[0], fields)
		f.WantSame(before, f.Keys.Requests(0), f.Keys.Dead(0), f.Keys.SetAside(0))
		return
	}
	a := domain.Incoming{EntryID: id, Request: req, HoldMillis: holdMillis, ValidMillis: validMillis}
	if err != nil {
		a.Invalid = err.Error()
	}
	a.NoToken = err == nil && req.Type == domain.RequestPurchase && req.PaymentToken == ""
	ref := req.Ref()
	entryMillis := domain.EntryMillis(id)
	var now int64
	var replies []domain.Reply
	var command domain.Command
	switch req.Type {
	case domain.RequestCancel:
		command = domain.Cancel{Reason: domain.ReasonRequested}
		f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{EntryID: id, Ref: ref}}))
	case domain.RequestPay:
		command = domain.Pay{Attempt: req.AttemptNumber(), Fingerprint: req.Fingerprint, EntryMillis: entryMillis, ValidMillis: validMillis}
	case domain.RequestPurchase, domain.RequestHold:
		command = domain.Hold{Request: req, Invalid: a.Invalid, NoToken: a.NoToken, EntryMillis: entryMillis, ValidMillis: validMillis, HoldMillis: holdMillis}
	}
	if req.Type != domain.RequestCancel {
		replies, now = f.holdBatch(a)
	}
	fact, verdict := domain.Decide(book.View(ref, req.CustomerID), ref, now, command)
	changed := []string{f.Keys.Requests(0)} // who has what is there
	if fact != nil {
		facts, _ := f.facts()
		if newest := facts[len(facts)-1]; newest.Type == fact.Type && newest.Ref() == ref {
			fact.ID, fact.AtMillis = newest.ID, newest.AtMillis
		}
		f.Must(book.Fold(*fact))
		changed = append(changed, f.Keys.Log(0), f.Keys.Holds(0), f.Keys.Orders(0, f.Keys.SharedHash(ref.EventID)), f.Keys.Events(0), f.Keys.InProgress(0), f.Keys.Unknown(0))
	}
	if folded := f.fold(); !reflect.DeepEqual(folded.Events, book.Events) || !maps.Equal(folded.Orders, book.Orders) || !reflect.DeepEqual(folded.InProgress, book.InProgress) {
		f.Errorf("the log folds to\n%+v\ndomain says\n%+v", folded, book)
	}
	f.wantLogFolds()
	f.WantSame(before, changed...)
	if len(replies) > 0 && (replies[0].Verdict != verdict || replies[0].Order != book.Orders[ref]) {
		f.Errorf("%s\n%+v\ndomain says %s\n%+v", replies[0].Verdict, replies[0].Order, verdict, book.Orders[ref])
	}
	if verdict != domain.VerdictDone {
		earlier = append(earlier, id)
	}
	f.WantPending(domain.GroupWorkers, earlier...)
	const tellable = 12 // bytes: a shorter token may be part of anything
	for key, content := range f.Dump() {
		if token := string(req.PaymentToken); len(token) >= tellable && key != f.Keys.Requests(0) && !strings.Contains(before[key], token) &&
			!slices.Contains([]string{req.CustomerID, req.OrderID, req.EventID, req.Section}, token) && strings.Contains(content, token) {
			f.Errorf("the payment token is in %s", key)
		}
	}
}
