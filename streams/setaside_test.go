package streams

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// notes is what stands beside an order, as who waits for it sees it.
func (f *fixture) notes(order string) []domain.SetAside {
	f.Helper()
	r, ok := domain.ParseOrderRef(order)
	if !ok {
		f.Fatalf("no name of an order: %q", order)
	}
	looked := f.checkout.Look(f.Ctx, []domain.OrderRef{r})[0]
	f.Must(looked.Err)
	return looked.SetAside
}

// setAside publishes requests and sets them aside in one go; it returns their entries.
func (f *fixture) setAside(reason string, requests ...[]string) (entries []string) {
	f.Helper()
	var dead []domain.DeadEntry
	for _, fields := range requests {
		id := f.Publish(fields)
		entries = append(entries, id)
		dead = append(dead, domain.DeadEntry{ID: id, Reason: reason})
	}
	f.Deliver(domain.GroupWorkers, "w1")
	f.Must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.Ctx, dead))
	return entries
}

// TestNoteNamesTheOrder: a note stands beside the one order that a request names, if it names one.
func TestNoteNamesTheOrder(t *testing.T) {
	long := strings.Repeat("x", domain.MaxIDLength)
	for _, test := range []struct {
		name   string
		fields []string
		order  string // none if empty
		kind   domain.RequestType
	}{
		{"purchase", purchase("e1", "o1", "fred", 1), "e1/o1", domain.RequestPurchase},
		{"hold", hold("e1", "o1", "fred", 1), "e1/o1", domain.RequestHold},
		{"pay", request("pay", "e1", "o1"), "e1/o1", domain.RequestPay},
		{"cancel", request("cancel", "e1", "o1"), "e1/o1", domain.RequestCancel},
		{"another version", []string{"v", "3", "type", "pay", "event_id", "e1", "order_id", "o1"}, "e1/o1", domain.RequestPay},
		{"no type", []string{"v", "1", "event_id", "e1", "order_id", "o1"}, "e1/o1", ""},
		{"another type", []string{"type", "re fund\n", "event_id", "e1", "order_id", "o1"}, "e1/o1", ""},
		{"type twice", []string{"type", "pay", "type", "pay", "event_id", "e1", "order_id", "o1"}, "e1/o1", ""},
		{"type three times", []string{"type", "pay", "type", "pay", "type", "pay", "event_id", "e1", "order_id", "o1"}, "e1/o1", ""},
		{"all characters", []string{"event_id", "AZaz09._@+-", "order_id", "-+@_.9"}, "AZaz09._@+-/-+@_.9", ""},
		{"long", []string{"event_id", long, "order_id", long}, long + "/" + long, ""},
		{"last field first", []string{"order_id", "o1", "x", "y", "event_id", "e1"}, "e1/o1", ""},
		{"too long", []string{"event_id", "e1", "order_id", long + "x"}, "", ""},
		{"no event", []string{"type", "pay", "order_id", "o1"}, "", ""},
		{"no order", []string{"type", "pay", "event_id", "e1"}, "", ""},
		{"empty", []string{"event_id", "", "order_id", "o1"}, "", ""},
		{"slash", []string{"event_id", "e1", "order_id", "o/1"}, "", ""},
		{"line break", []string{"event_id", "e1", "order_id", "o1\n0:1-1 1-1 pay x"}, "", ""},
		{"line break behind", []string{"event_id", "e1", "order_id", "o1\n"}, "", ""},
		{"nul", []string{"event_id", "e1\x00", "order_id", "o1"}, "", ""},
		{"not ASCII", []string{"event_id", "e1", "order_id", "é"}, "", ""},
		{"order twice", []string{"event_id", "e1", "order_id", "o1", "order_id", "o1"}, "", ""},
		{"event twice", []string{"event_id", "e1", "order_id", "o1", "event_id", "e2"}, "", ""},
		{"a name as a value", []string{"x", "order_id", "order_id", "o1", "event_id", "e1"}, "e1/o1", ""},
		{"no fields of ours", []string{"order", "e1/o1"}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			entry := f.setAside("why", test.fields)[0]
			letter := f.deadLetters()[0]
			if letter.Order != test.order || !slices.Equal(letter.Fields, test.fields) {
				t.Errorf("letter %+v, want it about %q", letter, test.order)
			}
			if test.order == "" {
				if n := f.Do("EXISTS", f.Keys.SetAside(0)); n != int64(0) {
					t.Error("there is a note")
				}
				return
			}
			want := []domain.SetAside{{DeadID: letter.ID(), EntryID: entry, Type: test.kind, Reason: "why"}}
			if got := f.notes(test.order); !slices.Equal(got, want) {
				t.Errorf("notes %+v, want %+v", got, want)
			}
		})
	}
}

// TestNoteOfAFact: a fact that is set aside is nothing that a request waits for.
func TestNoteOfAFact(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(3))
	f.confirmed("e1", "o1", "fred", 1)
	f.Deliver(domain.GroupSettlement, "w1")
	f.Must(f.queue(domain.GroupSettlement, "w1").DeadLetter(f.Ctx, []domain.DeadEntry{{ID: f.factOf("confirmed", "e1", "o1").ID, Reason: "r"}}))
	// Not even one that is made to look like a request.
	id := f.Do("XADD", f.Keys.Log(0), "*", "event_id", "e1", "order_id", "o1").(string)
	f.Deliver(domain.GroupSettlement, "w1")
	f.Must(f.queue(domain.GroupSettlement, "w1").DeadLetter(f.Ctx, []domain.DeadEntry{{ID: id, Reason: "r"}}))
	if letters := f.deadLetters(); len(letters) != 2 || letters[0].Order != "" || letters[1].Order != "" {
		t.Errorf("letters %+v", letters)
	}
	if notes := f.notes("e1/o1"); len(notes) != 0 {
		t.Errorf("notes %+v", notes)
	}
}

// TestNoteIsShort: a note repeats a reason on one line, and not more of it than fits.
func TestNoteIsShort(t *testing.T) {
	for reason, want := range map[string]string{
		"":                                   "",
		"plain":                              "plain",
		"a\nb\r\nc\x00d":                     "a b  c d",
		strings.Repeat("x", 200):             strings.Repeat("x", 200),
		strings.Repeat("x", 201):             strings.Repeat("x", 200) + "…",
		strings.Repeat("x", 199) + "é" + "y": strings.Repeat("x", 199) + "…",
		strings.Repeat("x", 197) + "🎟y":      strings.Repeat("x", 197) + "…",
		strings.Repeat("é", 100):             strings.Repeat("é", 100),
		"0:1-1 1-1 pay\n" + strings.Repeat("line\n", 1000): "0:1-1 1-1 pay " + strings.Repeat("line ", 1000)[:186] + "…",
	} {
		f := newFixture(t)
		f.setAside(reason, request("pay", "e1", "o1"))
		notes := f.notes("e1/o1")
		if len(notes) != 1 || notes[0].Reason != want || !utf8.ValidString(notes[0].Reason) {
			t.Errorf("of %.30q…: notes %+v, want %q", reason, notes, want)
		}
		if letter := f.deadLetters()[0]; letter.Reason != reason {
			t.Errorf("the letter's reason is %q, want all of it", letter.Reason)
		}
	}
}

// TestNotesOfOneOrder: each letter has its line, in order; what is redriven or discarded loses
// its own and no other. There is a bound, beyond which the newest displaces the oldest: who waits
// now is told. A letter that lost its note is redriven and discarded like any other.
func TestNotesOfOneOrder(t *testing.T) {
	const most = 32
	f := newFixture(t)
	f.setAside("other", request("pay", "e1", "other"))
	var entries []string
	entries = append(entries, f.setAside("r", request("pay", "e1", "o1"), request("pay", "e1", "o2"), request("cancel", "e1", "o1"))...)
	entries = slices.Delete(entries, 1, 2)
	for len(entries) < most-1 {
		entries = append(entries, f.setAside("r", request("pay", "e1", "o1"))...)
	}
	entries = append(entries, f.setAside("r", request("pay", "e1", "o1"), request("pay", "e1", "o1"), request("pay", "e1", "o1"))...)
	displaced := entries[:len(entries)-most]
	entries = entries[len(displaced):]
	check := func() {
		t.Helper()
		var got []string
		byID := make(map[string]layout.DeadLetter)
		for _, l := range f.deadLetters() {
			byID[l.ID()] = l
		}
		for _, note := range f.notes("e1/o1") {
			got = append(got, note.EntryID)
			if letter := byID[note.DeadID]; letter.EntryID != note.EntryID || letter.Order != "e1/o1" {
				t.Errorf("note %+v of letter %+v", note, letter)
			}
		}
		if !slices.Equal(got, entries) {
			t.Fatalf("notes of %v, want %v", got, entries)
		}
		if len(f.notes("e1/o2")) != 1 || len(f.notes("e1/other")) != 1 {
			t.Error("the notes of other orders are not what they were")
		}
	}
	check()
	letterOf := func(entry string) string {
		t.Helper()
		for _, l := range f.deadLetters() {
			if l.EntryID == entry {
				return l.ID()
			}
		}
		t.Fatalf("no letter of %s", entry)
		return ""
	}
	_, err := f.redriveLetter(letterOf(entries[most-1]))
	f.Must(err)
	entries = entries[:most-1]
	check()
	_, err = f.redriveLetter(letterOf(displaced[0]))
	f.Must(err)
	check()
	f.Must(f.inspector.Discard(f.Ctx, letterOf(entries[5]))[0].Err)
	entries = slices.Delete(entries, 5, 6)
	check()
	// The letters that were redriven are back at once, and there is room for both.
	var dead []domain.DeadEntry
	for _, e := range f.Deliver(domain.GroupWorkers, "w1") {
		dead, entries = append(dead, domain.DeadEntry{ID: e.ID, Reason: "again"}), append(entries, e.ID)
	}
	f.Must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.Ctx, dead))
	check()
	for len(entries) > 1 {
		f.Must(f.inspector.Discard(f.Ctx, letterOf(entries[0]))[0].Err)
		entries = entries[1:]
		check()
	}
	// One was displaced and is still there: that is known as long as it is.
	f.Must(f.inspector.Discard(f.Ctx, letterOf(entries[0]))[0].Err)
	entries = nil
	check()
	if note := f.Do("HGET", f.Keys.SetAside(0), "e1/o1"); note != "displaced 1" {
		t.Errorf("the note is %q", note)
	}
	f.Must(f.inspector.Discard(f.Ctx, letterOf(displaced[1]))[0].Err)
	check()
	if n := f.Do("HEXISTS", f.Keys.SetAside(0), "e1/o1"); n != int64(0) {
		t.Error("an empty note is left")
	}
}

// TestLettersWithoutANote: workers of an older program write letters that have none, and so
// does a hand that takes a note away. They are redriven and discarded like any other.
func TestLettersWithoutANote(t *testing.T) {
	for name, do := range map[string]func(f *fixture, id string) error{
		"redrive": func(f *fixture, id string) error { _, err := f.redriveLetter(id); return err },
		"discard": func(f *fixture, id string) error { return f.inspector.Discard(f.Ctx, id)[0].Err },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.setAside("r", request("pay", "e1", "o1"))
			old := f.Do("XADD", f.Keys.Dead(0), "*", "stream", "requests", "group", "purchase", "entry_id", "1-1", "reason", "r",
				"deliveries", "1", "at", "1", "fields", "1:v,1:1,8:event_id,2:e1,8:order_id,2:o1,").(string)
			f.Must(do(f, "0:"+old))
			if notes := f.notes("e1/o1"); len(notes) != 1 {
				t.Errorf("notes %+v, want the other letter's", notes)
			}
			f.Do("DEL", f.Keys.SetAside(0))
			f.Must(do(f, f.deadLetters()[0].ID()))
			if left := f.deadLetters(); len(left) != 0 {
				t.Errorf("left %+v", left)
			}
			if n := f.Do("EXISTS", f.Keys.SetAside(0)); n != int64(0) {
				t.Error("there is a note")
			}
		})
	}
}

// TestLook: what is stored of each order, in the order they were asked for, however many and in however many partitions.
func TestLook(t *testing.T) {
	f := newFixture(t)
	many := openPartitions(t, f, 7)
	var refs []domain.OrderRef
	want := make(map[domain.OrderRef]domain.Standing)
	for i := range 3*access.MaxBatch + 11 {
		r := ref("e"+strconv.Itoa(i%40), "o"+strconv.Itoa(i))
		refs = append(refs, r)
		p := many.store.Partition(r.EventID)
		switch i % 5 {
		case 0:
			version := strconv.Itoa(i+1) + "-7"
			many.setRecord(r.EventID, r.OrderID, version+"|x2|||||||||||requested||")
			want[r] = domain.Standing{Order: domain.Order{State: domain.OrderCancelled, Version: version, ResolvedAtMillis: int64(i + 1), Reason: "requested"}}
		case 1:
			many.Do("HSET", many.Keys.SetAside(p), r.String(), fmt.Sprintf("%d:5-5 %d-0 pay because of it", p, i+1))
			want[r] = domain.Standing{SetAside: []domain.SetAside{
				{DeadID: fmt.Sprintf("%d:5-5", p), EntryID: fmt.Sprintf("%d-0", i+1), Type: domain.RequestPay, Reason: "because of it"},
			}}
		}
	}
	for i, looked := range many.checkout.Look(many.Ctx, refs) {
		if looked.Err != nil || !reflect.DeepEqual(looked.Standing, want[refs[i]]) {
			t.Fatalf("%s: %+v, want %+v", refs[i], looked, want[refs[i]])
		}
	}
	if looked := many.checkout.Look(many.Ctx, nil); len(looked) != 0 {
		t.Errorf("a look at nothing: %v", looked)
	}

	// What is damaged is its own order's trouble.
	many.setRecord(refs[0].EventID, refs[0].OrderID, "c|damaged")
	for _, damaged := range []string{"x", "0:1-1", "0:1-1 1-1 pay", "0:1-1  pay r", " 1-1 pay r", "0:1-1 1-1 pay r\n"} {
		p := many.store.Partition(refs[1].EventID)
		many.Do("HSET", many.Keys.SetAside(p), refs[1].String(), damaged)
		looked := many.checkout.Look(many.Ctx, refs[:10])
		for i, l := range looked {
			if i < 2 {
				many.WantClass(l.Err, domain.ClassPoison)
			} else if l.Err != nil || !reflect.DeepEqual(l.Standing, want[refs[i]]) {
				t.Errorf("%s: %+v", refs[i], l)
			}
		}
	}
	// A key of another type is the trouble of its partition.
	p := many.store.Partition(refs[1].EventID)
	many.BreakKey(many.Keys.SetAside(p))
	for i, l := range many.checkout.Look(many.Ctx, refs[:40]) {
		if broken := many.store.Partition(refs[i].EventID) == p; broken != (domain.ClassOf(l.Err) == domain.ClassPoison && l.Err != nil) && i > 0 {
			t.Errorf("%s: %v", refs[i], l.Err)
		}
	}
	over, cancel := context.WithCancel(many.Ctx)
	cancel()
	for _, l := range many.checkout.Look(over, refs) {
		if !errors.Is(l.Err, context.Canceled) {
			t.Fatalf("a look whose time is over: %+v", l)
		}
	}
}

// openPartitions is a namespace of several partitions beside the fixture's own.
func openPartitions(t *testing.T, f *fixture, partitions int) *fixture {
	t.Helper()
	store, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Namespace: "several", Create: true, Partitions: partitions})
	f.Must(err)
	t.Cleanup(func() { _ = store.Close() })
	return fixtureOf(f.Ctx, t, store)
}

// sink notes what it is told.
type sink struct {
	mu        sync.Mutex
	connected int
	changed   []string
}

func (s *sink) Connected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected++
}

func (s *sink) Disconnected() {}

func (s *sink) Changed(refs []domain.OrderRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range refs {
		s.changed = append(s.changed, r.String())
	}
}

func (s *sink) told() (connected int, changed []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connected, slices.Clone(s.changed)
}

// watch watches the outcomes of partition 0 until the test ends.
func (f *fixture) watch(t *testing.T) *sink {
	t.Helper()
	s := new(sink)
	ctx, cancel := context.WithCancel(f.Ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := f.checkout.Watch(ctx, 0, s); !errors.Is(err, context.Canceled) {
			t.Errorf("watching ended: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		watching.Wait()
	})
	return s
}

func (f *fixture) listeners(channel string) int64 {
	f.Helper()
	n, err := f.Client.PubSubNumSub(f.Ctx, channel).Result()
	f.Must(err)
	return n[channel]
}

// TestWatchFollowsTheData: when the data is other data, its outcomes are told elsewhere. Who
// listens goes there by itself, and is told that something may have been missed.
func TestWatchFollowsTheData(t *testing.T) {
	f := newFixture(t)
	s := f.watch(t)
	f.Eventually("it listens", func() bool { n, _ := s.told(); return n == 1 })
	before := f.store.outcomes(0)
	for _, replace := range []func(){
		func() { f.Do("FLUSHALL"); f.Must(f.ledger.Accept(f.Ctx, "w1")) },
		func() { f.Do("HSET", "holdfast:meta", "epoch", "x"); f.Must(f.ledger.Accept(f.Ctx, "w1")) },
	} {
		connected, _ := s.told()
		replace()
		after := f.store.outcomes(0)
		if after == before {
			t.Fatal("the channel is the same")
		}
		f.Eventually("it listens to what is there now", func() bool { n, _ := s.told(); return n > connected && f.listeners(after) == 1 })
		f.Eventually("and not to what was there", func() bool { return f.listeners(before) == 0 })
		f.Do("PUBLISH", before, "e1/past")
		f.setAside("r", request("pay", "e1", "present"))
		f.Eventually("it is told", func() bool { _, told := s.told(); return slices.Contains(told, "e1/present") })
		if _, told := s.told(); slices.Contains(told, "e1/past") {
			t.Errorf("told %q", told)
		}
		before = after
	}
}

// TestWatchOfAnOldStore: a store may have been opened before the data was replaced.
func TestWatchOfAnOldStore(t *testing.T) {
	f := newFixture(t)
	f.Do("HSET", "holdfast:meta", "epoch", "y")
	s := f.watch(t)
	channel := f.Keys.Outcomes(0, "y")
	f.Eventually("it listens to what is there now", func() bool { n, _ := s.told(); return n > 0 && f.listeners(channel) == 1 })
	f.Do("PUBLISH", channel, "e1/o1\nrubbish\n/\ne1/o2 c|purchase\ne1/o3")
	f.Eventually("it is told", func() bool { _, told := s.told(); return slices.Equal(told, []string{"e1/o1", "e1/o3"}) })
}
