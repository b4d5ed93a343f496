package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
	"holdfast/streams/redistest"
)

// TestRedriveRequest: it comes back as a new entry, once.
func TestRedriveRequest(t *testing.T) {
	f := newFixture(t)
	fields := []string{"v", "1", "type", "purchase", "event_id", "e1", "order_id", "o1", "payment_token", "tok", "x\x00", "\xff\n"}
	old := f.Publish(fields)
	f.Deliver(domain.GroupWorkers, "w1")
	f.Must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.Ctx, []domain.DeadEntry{{ID: old, Reason: "r"}}))
	if n, _, err := f.store.Ledger().Trim(f.Ctx, 0); n != 1 || err != nil { // the old entry is gone meanwhile
		t.Fatalf("%d, %v", n, err)
	}
	id := f.deadLetters()[0].ID
	entryID, err := f.redrive(id)
	if err != nil || entryID == old {
		t.Fatalf("%s, %v", entryID, err)
	}
	if got := f.Deliver(domain.GroupWorkers, "w1"); !reflect.DeepEqual(got, []domain.Entry{{ID: entryID, Fields: fields}}) {
		t.Errorf("delivered %+v", got)
	}
	before := f.Dump()
	for name, do := range map[string]func() error{
		"redrive": func() error { _, err := f.redrive(id); return err },
		"discard": func() error { return f.inspector.Discard(f.Ctx, id)[0].Err },
		"reroute": func() error { return f.inspector.Reroute(f.Ctx, id)[0].Err },
		"show":    func() error { _, err := f.inspector.DeadLetter(f.Ctx, id); return err },
	} {
		if err := do(); !errors.Is(err, domain.ErrNotFound) || domain.ClassOf(err) != domain.ClassReject {
			t.Errorf("%s again: %v", name, err)
		}
		f.WantSame(before)
	}
}

// TestRedriveFact: an entry of the log becomes pending again, where it was, for whoever reclaims next.
func TestRedriveFact(t *testing.T) {
	f := newFixture(t)
	_, err := f.store.Events().Create(f.Ctx, "e1", domain.Terms{Name: "e1", Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 1}}})
	f.Must(err)
	fact := layout.DecodeEntries(f.Do("XRANGE", f.Keys.Log(0), "-", "+"))[0]
	for _, group := range []domain.Group{domain.GroupPosting, domain.GroupSettlement} {
		f.Deliver(group, "w1")
		f.Must(f.queue(group, "w1").DeadLetter(f.Ctx, []domain.DeadEntry{{ID: fact.ID, Reason: "refund refused"}}))
		f.WantPending(group)
	}
	letters := f.deadLetters()
	if len(letters) != 2 || letters[1].Stream != "log" || letters[1].Group != "settlement" || !strings.HasPrefix(letters[1].Fields["listed"], "e1|") {
		t.Fatalf("letters %+v", letters)
	}
	id, err := f.redrive(letters[1].ID)
	if err != nil || id != fact.ID {
		t.Fatalf("%s, %v", id, err)
	}
	f.WantPending(domain.GroupPosting)
	f.WantPending(domain.GroupSettlement, fact.ID)
	got, err := f.queue(domain.GroupSettlement, "w2").Reclaim(f.Ctx, time.Hour, 10)
	if err != nil || len(got) != 1 || got[0].ID != fact.ID || got[0].Fields[0] != "listed" {
		t.Errorf("reclaimed %+v, %v", got, err)
	}
	if n := f.Do("XLEN", f.Keys.Log(0)); n != int64(1) {
		t.Errorf("%v entries in the log, want 1", n)
	}

	// An entry that is not there any more cannot be given back: the letter stays, until it is discarded.
	f.Do("XDEL", f.Keys.Log(0), fact.ID)
	before := f.Dump()
	_, err = f.redrive(letters[0].ID)
	f.WantClass(err, domain.ClassReject)
	if errors.Is(err, domain.ErrNotFound) {
		t.Errorf("got %v: the letter is there", err)
	}
	f.WantSame(before, f.Keys.Log(0)) // but for the consumer that was to hold it
	f.WantPending(domain.GroupPosting)
	f.Must(f.inspector.Discard(f.Ctx, letters[0].ID)[0].Err)
	if left := f.deadLetters(); len(left) != 0 {
		t.Errorf("left %+v", left)
	}
}

// TestManyAtOnce: letters of several partitions, more than one script call takes; what stands against
// one is told of that one.
func TestManyAtOnce(t *testing.T) {
	f := openFixtureOf(t, streamstest.Server().URL(), 3)
	const n = 2*handleBatch + 50
	redrive, discard := make([]string, n), make([]string, n)
	for i := range redrive {
		p := i % 3
		redrive[i] = f.letter(p, "requests", "purchase", "v", "1", "order_id", strconv.Itoa(i))
		discard[i] = f.letter(p, "requests", "purchase", "v", "1")
	}
	f.Do("XADD", f.Keys.Log(1), "7-7", "closed", "e|{}")
	fact := f.letterOf(1, "log", "posting", "7-7", "closed", "e|{}")
	bad := map[string]string{
		"nonsense":                          "want an id",
		"9:1-1":                             "want an id",
		"0:1-1":                             "not found",
		fact:                                "",
		f.letter(0, "requests", "purchase"): "no fields",
		f.letterOf(1, "log", "posting", "8-8", "closed", "e|{}"):                                      "not in the log any more",
		f.letterOf(1, "log", "no such group", "7-7", "closed", "e|{}"):                                "NOGROUP",
		f.letter(2, "elsewhere", "workers", "v", "1"):                                                 "damaged",
		f.letter(2, "requests", "purchase", "v"):                                                      "damaged",
		"2:" + f.Do("XADD", f.Keys.Dead(2), "*", "stream", "requests", "fields", "3:ab,").(string):    "damaged",
		"2:" + f.Do("XADD", f.Keys.Dead(2), "*", "stream", "requests", "fields", "9999:ab,").(string): "damaged",
	}
	ids := slices.Clone(redrive)
	for id := range bad {
		ids = append(ids, id)
	}
	before := f.letters()
	handled := f.inspector.Redrive(f.Ctx, ids...)
	if len(handled) != len(ids) {
		t.Fatalf("%d results", len(handled))
	}
	for i, h := range handled {
		want := bad[ids[i]]
		switch {
		case h.ID != ids[i]:
			t.Fatalf("result %d is of %s, want %s", i, h.ID, ids[i])
		case want == "" && (h.Err != nil || h.EntryID == ""):
			t.Errorf("%s: %+v", h.ID, h)
		case want != "" && (h.Err == nil || h.EntryID != "" || !strings.Contains(h.Err.Error(), want) || domain.ClassOf(h.Err) != domain.ClassReject):
			t.Errorf("%s: %+v, want %q", h.ID, h, want)
		}
		if i < n {
			p := i % 3
			if got := layout.DecodeEntries(f.Do("XRANGE", f.Keys.Requests(p), h.EntryID, h.EntryID)); len(got) != 1 || !slices.Equal(got[0].Fields, []string{"v", "1", "order_id", strconv.Itoa(i)}) {
				t.Fatalf("%s is %+v", h.EntryID, got)
			}
		}
	}
	if after := f.letters(); after != before-n-1 {
		t.Errorf("%d letters were %d", after, before)
	}
	// Twice in one call is once.
	twice := f.letter(0, "requests", "purchase", "v", "1")
	if handled = f.inspector.Redrive(f.Ctx, twice, twice); handled[0].Err != nil || !errors.Is(handled[1].Err, domain.ErrNotFound) {
		t.Errorf("twice: %+v", handled)
	}
	before = f.letters()
	for i, h := range f.inspector.Discard(f.Ctx, append(discard, "0:1-1", "nonsense")...) {
		if (h.Err == nil) != (i < n) || i == n && !errors.Is(h.Err, domain.ErrNotFound) {
			t.Errorf("discarding %d: %+v", i, h)
		}
	}
	if after := f.letters(); after != before-n {
		t.Errorf("%d letters were %d", after, before)
	}
}

func (f *fixture) letters() int64 {
	f.Helper()
	n, err := f.inspector.CountDeadLetters(f.Ctx)
	f.Must(err)
	return n
}

// TestDeadLettersWhenMemoryIsFull: what is moved or removed needs no room. What is published elsewhere does: its
// letter stays.
func TestDeadLettersWhenMemoryIsFull(t *testing.T) {
	f := openFixtureOf(t, redistest.Start(t).URL(), 2)
	f.Do("XADD", f.Keys.Log(0), "7-7", "closed", "e|{}")
	ids := []string{f.letterOf(0, "log", "posting", "7-7", "closed", "e|{}"), f.letter(0, "requests", "purchase", "v", "1"), f.letter(0, "requests", "purchase", "v", "1")}
	rerouted := f.letter(0, "requests", "purchase", "v", "1", "event_id", f.eventIn(1))
	discarded := f.letter(0, "requests", "purchase", "v", "1")
	f.Do("CONFIG", "SET", "maxmemory", "1")
	for _, h := range slices.Concat(f.inspector.Redrive(f.Ctx, ids...), f.inspector.Discard(f.Ctx, discarded)) {
		if h.Err != nil {
			t.Errorf("%+v", h)
		}
	}
	h := f.inspector.Reroute(f.Ctx, rerouted)[0]
	f.WantClass(h.Err, domain.ClassRetry)
	if errors.Is(h.Err, domain.ErrUnknownOutcome) || f.letters() != 1 {
		t.Errorf("it is known that nothing happened: %v, %d letters", h.Err, f.letters())
	}
}

// TestNotesGoWithTheirLetters: of many in one call, each takes its own note along.
func TestNotesGoWithTheirLetters(t *testing.T) {
	f := newFixture(t)
	var entries []domain.DeadEntry
	for i := range 6 {
		entries = append(entries, domain.DeadEntry{ID: f.Publish([]string{"v", "1", "type", "pay", "event_id", "e", "order_id", "o" + strconv.Itoa(i%2)}), Reason: "r"})
	}
	f.Deliver(domain.GroupWorkers, "w1")
	f.Must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.Ctx, entries))
	letters := f.deadLetters()
	notes := func() string { return fmt.Sprint(f.Do("HGETALL", f.Keys.SetAside(0))) }
	for i, l := range letters {
		if !strings.Contains(notes(), l.ID) {
			t.Fatalf("no note of letter %d: %s", i, notes())
		}
	}
	for _, h := range slices.Concat(f.inspector.Redrive(f.Ctx, letters[0].ID, letters[1].ID), f.inspector.Discard(f.Ctx, letters[2].ID, letters[3].ID)) {
		f.Must(h.Err)
	}
	for i, l := range letters {
		if strings.Contains(notes(), l.ID) != (i >= 4) {
			t.Errorf("letter %d: %s", i, notes())
		}
	}
}

// TestWhoHandledLetters: who had a letter handled is noted in the step that takes it away, with what it was about and what came of it; of what was not done nothing is
// noted. The newest 1,000 of a partition stay. A full memory does not stand in the way.
func TestWhoHandledLetters(t *testing.T) {
	f := openFixtureOf(t, redistest.Start(t).URL(), 2)
	right := f.eventIn(1)
	f.Do("XADD", f.Keys.Log(0), "7-7", "closed", "e|{}")
	f.Do("ZADD", f.Keys.Owed(0), 1, "e/o9")
	request := f.letter(0, "requests", "purchase", "v", "1")
	fact := f.letterOf(0, "log", "posting", "7-7", "closed", "e|{}")
	owed := f.letterOf(0, "owed", "settlement", "7-7", "event_id", "e", "order_id", "o9")
	misplaced := f.letter(0, "requests", "purchase", "v", "1", "event_id", right)
	noted := "0:" + f.Do("XADD", f.Keys.Dead(0), "*", "stream", "requests", "fields", "1:v,1:1,", "order", "e/o1").(string)
	damaged := f.letter(0, "elsewhere", "workers", "v", "1")
	want := map[string]HandledLetter{}
	did := func(by, reason, act, order string, handled ...Handled) {
		for _, h := range handled {
			f.Must(h.Err)
			want[h.ID] = HandledLetter{Act: act, DeadID: h.ID, OrderID: order, EntryID: h.EntryID, Reason: reason, By: by}
		}
	}
	ann := f.inspector.By(domain.Cause{Reason: `"mended" %d\`, By: "ann"})
	f.Do("CONFIG", "SET", "maxmemory", "1")
	did("ann", `"mended" %d\`, ActRedriven, "", ann.Redrive(f.Ctx, request, fact)...)
	did("ann", `"mended" %d\`, ActRedriven, "e/o9", ann.Redrive(f.Ctx, owed)...)
	did("", "", ActDiscarded, "e/o1", f.inspector.Discard(f.Ctx, noted)...)
	f.Do("CONFIG", "SET", "maxmemory", "0")
	did("bob", "", ActRerouted, "", f.inspector.By(domain.Cause{By: "bob"}).Reroute(f.Ctx, misplaced)...)
	before := f.Dump()
	for _, h := range slices.Concat(ann.Redrive(f.Ctx, damaged, request), ann.Discard(f.Ctx, request), ann.Reroute(f.Ctx, damaged),
		f.inspector.By(domain.Cause{Reason: "a\nb"}).Discard(f.Ctx, damaged), f.inspector.By(domain.Cause{Reason: "a\nb"}).Redrive(f.Ctx, damaged)) {
		f.WantClass(h.Err, domain.ClassReject)
	}
	f.WantSame(before)
	noteds, err := f.inspector.HandledLetters(f.Ctx)
	f.Must(err)
	for i, h := range noteds {
		if h.AtMillis == 0 || i > 0 && h.AtMillis > noteds[i-1].AtMillis {
			t.Errorf("not the newest first: %+v", noteds)
		}
		h.AtMillis = 0
		if h != want[h.DeadID] {
			t.Errorf("noted %+v, want %+v", h, want[h.DeadID])
		}
		delete(want, h.DeadID)
	}
	if len(want) > 0 {
		t.Errorf("not noted: %+v", want)
	}

	var many []string
	for range 1002 {
		many = append(many, f.letter(0, "requests", "purchase", "v", "1"))
	}
	for _, h := range ann.Discard(f.Ctx, many...) {
		f.Must(h.Err)
	}
	if n := f.Do("LLEN", f.Keys.Handled(0)); n != int64(1000) {
		t.Errorf("%v are noted", n)
	}
}

// deadHook makes a script fail: before Redis has it, or in such a way that nobody knows.
type deadHook struct {
	script string
	lose   bool // the reply only
}

func (h *deadHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *deadHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); h.script == "" || len(args) < 2 || args[0] != "evalsha" || streams.ScriptName(args[1].(string)) != h.script {
			return next(ctx, cmd)
		}
		if h.lose {
			_ = next(ctx, cmd)
		}
		cmd.SetErr(io.ErrUnexpectedEOF)
		return io.ErrUnexpectedEOF
	}
}

func (h *deadHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestReroute: a request in a wrong partition is published in the right one; whatever fails in
// between, either it is there or its letter is, or both.
func TestReroute(t *testing.T) {
	hook := new(deadHook)
	url := streamstest.Server().URL()
	f := openFixtureOf(t, url, 3)
	store, err := streams.Open(f.Ctx, url, streams.Options{Hook: hook})
	f.Must(err)
	defer func() { f.Must(store.Close()) }()
	in := New(store)
	request := func(p int) []string {
		return []string{"v", "1", "type", "purchase", "event_id", f.eventIn(p), "order_id", "o", "payment_token", "tok", "x", "\xff", "x", "twice"}
	}
	f.Do("XADD", f.Keys.Log(0), "7-7", "closed", "e|{}")
	misplaced := f.letter(2, "requests", "purchase", request(0)...)
	for id, why := range map[string]string{
		f.letter(1, "requests", "purchase", request(1)...):                       "in the partition of its event",
		f.letter(1, "requests", "purchase", "v", "1", "event_id", "no such id!"): "of which event",
		f.letterOf(0, "log", "posting", "7-7", "closed", f.eventIn(1)+"|{}"):     "no request",
		"0:1-1":    "not found",
		"nonsense": "want an id",
	} {
		if h := in.Reroute(f.Ctx, id)[0]; h.Err == nil || !strings.Contains(h.Err.Error(), why) || domain.ClassOf(h.Err) != domain.ClassReject {
			t.Errorf("%s: %+v, want %q", id, h, why)
		}
		if letter, err := in.DeadLetter(f.Ctx, id); err == nil && in.Misplaced(letter) {
			t.Errorf("%s counts as misplaced", id)
		}
	}
	letter, err := in.DeadLetter(f.Ctx, misplaced)
	f.Must(err)
	if !in.Misplaced(letter) {
		t.Errorf("not misplaced: %+v", letter)
	}
	// It is published, and whether the letter is gone is not known: it is told so, and the letter may be rerouted again.
	for _, lose := range []bool{false, true} {
		*hook = deadHook{"discard", lose}
		if h := in.Reroute(f.Ctx, misplaced)[0]; !errors.Is(h.Err, domain.ErrUnknownOutcome) || h.EntryID == "" || !strings.Contains(h.Err.Error(), h.EntryID) {
			t.Errorf("lost %t: %+v", lose, h)
		}
		*hook = deadHook{}
	}
	if _, err := in.DeadLetter(f.Ctx, misplaced); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("the letter is still there: %v", err)
	}
	entries := layout.DecodeEntries(f.Do("XRANGE", f.Keys.Requests(0), "-", "+"))
	if len(entries) != 2 || !slices.Equal(entries[0].Fields, request(0)) || !slices.Equal(entries[1].Fields, request(0)) {
		t.Errorf("published: %+v", entries)
	}
	// Where publishing is refused, the letter stays.
	again := f.letter(2, "requests", "purchase", request(0)...)
	f.Do("RENAME", f.Keys.Requests(0), f.Keys.Requests(0)+"2")
	f.BreakKey(f.Keys.Requests(0))
	h := in.Reroute(f.Ctx, again)[0]
	f.WantClass(h.Err, domain.ClassPoison)
	if _, err := in.DeadLetter(f.Ctx, again); err != nil {
		t.Errorf("the letter: %v", err)
	}
}

// TestOrderOfALetter: of a fact, too; if there are several about one order, of that; else of none.
func TestOrderOfALetter(t *testing.T) {
	f := newFixture(t)
	for _, test := range []struct {
		stream string
		fields []string
		want   string
	}{
		{"requests", []string{"v", "1", "type", "purchase", "event_id", "e", "order_id", "o"}, "e/o"},
		{"requests", []string{"event_id", "e", "order_id", "no id!"}, "e/no id!"},
		{"requests", []string{"order_id", "o"}, "/o"},
		{"requests", []string{"x", "y"}, ""},
		{"log", []string{"confirmed", "e/o|c|general:1:1|EUR|a"}, "e/o"},
		{"log", []string{"expired", "e/o"}, "e/o"},
		{"log", []string{"expired", "e/o\ne/o"}, "e/o"},
		{"log", []string{"expired", "e/o\ne/o2"}, ""},
		{"log", []string{"declined", "e/o|payment_mismatch|a\ne/o2"}, ""},
		{"log", []string{"closed", "e|{}"}, ""},
		{"log", []string{"rumour", "\n"}, ""},
		{"log", nil, ""},
	} {
		letter, err := f.inspector.DeadLetter(f.Ctx, f.letter(0, test.stream, "g", test.fields...))
		if err != nil || letter.OrderID != test.want {
			t.Errorf("%v: %q, %v, want %q", test.fields, letter.OrderID, err, test.want)
		}
	}
}

// TestDeadLettersByTime: of all partitions, the oldest first, those that were there when the look began.
func TestDeadLettersByTime(t *testing.T) {
	f := openFixtureOf(t, streamstest.Server().URL(), 3)
	var want, got []string
	for i := range 300 {
		p := []int{0, 2}[i/7%2]
		want = append(want, strconv.Itoa(p)+":"+f.Do("XADD", f.Keys.Dead(p), fmt.Sprintf("%d-1", 1000+i), "reason", "r").(string))
	}
	f.Must(f.inspector.EachDeadLetter(f.Ctx, func(l DeadLetter) error {
		got = append(got, l.ID)
		f.Do("XADD", f.Keys.Dead(l.Partition), "*", "reason", "set aside again")
		f.Do("XADD", f.Keys.Dead(1), "*", "reason", "the first here")
		return nil
	}))
	if !slices.Equal(got, want) {
		t.Errorf("%d letters, want %d", len(got), len(want))
	}
}

func TestDeadLettersPaged(t *testing.T) {
	f := newFixture(t)
	pipe := f.Client.Pipeline()
	for i := range access.ReadPage + 7 {
		pipe.XAdd(f.Ctx, &redis.XAddArgs{Stream: f.Keys.Dead(0), Values: []string{"stream", "requests", "reason", strconv.Itoa(i), "deliveries", "1", "at", "2", "fields", ""}})
	}
	_, err := pipe.Exec(f.Ctx)
	f.Must(err)
	for i, letter := range f.deadLetters() {
		if letter.Reason != strconv.Itoa(i) {
			t.Fatalf("letter %d has reason %s", i, letter.Reason)
		}
	}
	if n := len(f.deadLetters()); n != access.ReadPage+7 {
		t.Errorf("%d letters", n)
	}
	stop := errors.New("stop")
	if err := f.inspector.EachDeadLetter(f.Ctx, func(DeadLetter) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	for _, damaged := range []string{"deliveries", "at", "fields"} {
		f.Do("DEL", f.Keys.Dead(0))
		f.Do("XADD", f.Keys.Dead(0), "*", damaged, "tok-visa-4242")
		err := f.inspector.EachDeadLetter(f.Ctx, func(DeadLetter) error { return nil })
		f.WantClass(err, domain.ClassPoison)
		if damaged == "fields" && strings.Contains(fmt.Sprint(err), "4242") {
			t.Errorf("the error repeats what may be a token: %v", err)
		}
	}
}

// FuzzDecodeDeadLetter reads a letter whose entry had these fields, and one that is made of them.
func FuzzDecodeDeadLetter(f *testing.F) {
	const separator, secret = "\x1f", "tok-visa-4242"
	f.Add(strings.Join([]string{"stream", "requests", "group", "purchase", "entry_id", "1-1", "reason", "r", "deliveries", "3", "at", "1", "fields", "1:a,1:b,"}, separator))
	f.Add(strings.Join([]string{"v", "1", "type", "pay", wire.FieldPaymentToken, secret}, separator))
	f.Add(strings.Join([]string{"fields", "13:payment_token,13:tok-visa-4242,", "at", "x"}, separator))
	f.Add("")
	f.Fuzz(func(t *testing.T, data string) {
		fields := strings.Split(data, separator)
		fields = fields[:len(fields)&^1]
		wrapped := []string{"stream", "requests", "group", "purchase", "fields", streamstest.Netstrings(fields)}
		letter, err := layout.DecodeDeadLetter(0, domain.Entry{ID: "1-1", Fields: wrapped})
		if err != nil || !slices.Equal(letter.Fields, fields) {
			t.Fatalf("the fields %q come back as %q, %v", fields, letter.Fields, err)
		}
		for _, fields := range [][]string{wrapped, fields} {
			letter, err := layout.DecodeDeadLetter(0, domain.Entry{ID: "1-1", Fields: fields})
			if err != nil && domain.ClassOf(err) != domain.ClassPoison {
				t.Errorf("class %s", domain.ClassOf(err))
			}
			if shown, there := shown(letter).Fields[wire.FieldPaymentToken]; there && shown != domain.Secret("").String() {
				t.Errorf("the token is shown: %q", shown)
			}
		}
	})
}

func FuzzParseDeadID(f *testing.F) {
	for _, id := range []string{"", "0:1-1", "3:1700000000000-0", "4:1-1", "-1:1-1", "0:x", "00:1-", ":"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		p, letter, err := parseDeadID(id, 4)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassReject {
				t.Errorf("class %s", domain.ClassOf(err))
			}
			return
		}
		if p < 0 || p >= 4 || domain.EntryMillis(letter) <= 0 || !strings.HasSuffix(id, ":"+letter) {
			t.Errorf("%q is letter %q of partition %d", id, letter, p)
		}
	})
}

func TestParseDeadID(t *testing.T) {
	if p, id, err := parseDeadID("3:1700000000000-7", 4); err != nil || p != 3 || id != "1700000000000-7" {
		t.Errorf("got %d, %s, %v", p, id, err)
	}
	for _, id := range []string{"", ":", "3", "3:", "1700000000000-0", "4:1700000000000-0", "-1:1700000000000-0", "x:1700000000000-0", "0:x", "0:-1-0", "0:0-0"} {
		if _, _, err := parseDeadID(id, 4); err == nil || domain.ClassOf(err) != domain.ClassReject {
			t.Errorf("%q: %v, want it rejected", id, err)
		}
	}
}

// A dead letter that cannot be read is told of, and keeps no other one from being listed.
func TestDeadLettersBesideADamagedOne(t *testing.T) {
	f := newFixture(t)
	var want []string
	for _, fields := range []string{"", "damaged", ""} {
		id := f.Do("XADD", f.Keys.Dead(0), "*", "stream", "log", "group", "posting", "entry_id", "1-1", "reason", "no", "deliveries", "1", "at", "1", "fields", fields).(string)
		want = append(want, "0:"+id)
	}
	var got []string
	err := f.inspector.EachDeadLetter(f.Ctx, func(l DeadLetter) error { got = append(got, l.ID); return nil })
	f.WantClass(err, domain.ClassPoison)
	if !slices.Equal(got, []string{want[0], want[2]}) || !strings.Contains(err.Error(), want[1]) {
		t.Errorf("listed %v of %v, %v", got, want, err)
	}
}
