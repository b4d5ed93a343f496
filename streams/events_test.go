package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/streams/inspect"
)

func TestListEvent(t *testing.T) {
	f := newFixture(t)
	want := terms(10, func(t *domain.Terms) {
		t.Name, t.MaxPerOrder, t.OnSaleMillis, t.OffSaleMillis = "Été <b> & “日本”\u2028", 6, 1_700_000_000_123, 253402300799000
	})
	branch := f.eventFields()
	f.list("e1", want)
	wantFields := map[string]string{
		"e1": "1|o|EUR|6|1700000000123|253402300799000|0", "e1#sales": "0|0|0", "e1/general": "1000|10|10|0|0", "e1/vip": "5000|4|4|0|0",
		"e1#about": `{"name":"Été \u003cb\u003e \u0026 “日本”\u2028","sections":["general","vip"],"fingerprint":"` + want.Fingerprint() + `"}`,
	}
	maps.Copy(wantFields, branch)
	if fields := f.eventFields(); !reflect.DeepEqual(fields, wantFields) {
		t.Errorf("event %v\nwant %v", fields, wantFields)
	}
	fact, raw := f.lastFact()
	if fact.Type != domain.FactCreated || fact.EventID != "e1" || fact.Terms == nil || !reflect.DeepEqual(*fact.Terms, want) || !strings.HasPrefix(raw, "listed e1|{") {
		t.Errorf("fact %s", raw)
	}
	if totals, err := f.inspector.Sales(f.Ctx, "e1"); err != nil || totals != (inspect.Totals{}) {
		t.Errorf("sales %+v, %v", totals, err)
	}
	if ids, err := f.events.IDs(f.Ctx, 0); err != nil || !slices.Equal(ids, []string{"e1"}) {
		t.Errorf("events %v, %v", ids, err)
	}
	if slots := f.slots("e1"); len(slots) != 0 {
		t.Errorf("in progress: %v", slots)
	}

	// Again: harmless with what is on sale now, a conflict with anything else; also after it was sold from, adjusted, closed and reopened.
	same := func() {
		t.Helper()
		before := f.Dump()
		if created, err := f.events.Create(f.Ctx, "e1", want); created || err != nil {
			t.Errorf("the same again: %v, %v", created, err)
		}
		f.WantSame(before)
	}
	conflict := func(terms domain.Terms, code domain.Code) {
		t.Helper()
		before := f.Dump()
		created, err := f.events.Create(f.Ctx, "e1", terms)
		if created || !errors.Is(err, domain.ErrConflict) || domain.CodeOf(err) != code {
			t.Errorf("%v, %v, want %s", created, err, code)
		}
		f.WantClass(err, domain.ClassReject)
		f.WantSame(before)
	}
	other := want
	other.Name = "Another"
	same()
	conflict(other, domain.CodeConflict)
	f.held("e1", "o1", "fred", 1, holdMillis)
	same()
	_, err := f.events.Adjust(f.Ctx, "e1", func(domain.Terms) (domain.Terms, error) { return other, nil })
	f.Must(err)
	conflict(want, domain.CodeConflict)
	want = other
	same()
	f.close("e1")
	conflict(want, domain.CodeEventClosed)
	if reopened, err := f.events.Reopen(f.Ctx, "e1", domain.Cause{}); !reopened || err != nil {
		t.Errorf("reopening: %v, %v", reopened, err)
	}
	same()
	f.Must(f.cancelEvent("e1"))
	conflict(want, domain.CodeEventClosed)

	before := f.Dump()
	_, err = f.events.Create(f.Ctx, "e2", domain.Terms{Name: "E"})
	f.WantClass(err, domain.ClassReject)
	_, err = f.events.Create(f.Ctx, "e/2", want)
	f.WantClass(err, domain.ClassReject)
	f.WantSame(before)
}

// TestListEventLargest: as many sections as there may be, with the longest names and the largest numbers.
func TestListEventLargest(t *testing.T) {
	f := newFixture(t)
	want := domain.Terms{Name: strings.Repeat("n", domain.MaxNameLength), Currency: "EUR", MaxPerOrder: domain.MaxQuantity}
	for i := range domain.MaxSections {
		want.Sections = append(want.Sections, domain.SectionTerms{
			Name: fmt.Sprintf("%0*d", domain.MaxIDLength, i), Price: domain.MaxAmount / domain.MaxCapacity / domain.MaxSections, Capacity: domain.MaxCapacity,
		})
	}
	f.list("e1", want)
	e, err := f.events.Get(f.Ctx, "e1")
	f.Must(err)
	f.Must(e.CheckConservation())
	if !reflect.DeepEqual(e.Terms(), want) {
		t.Error("the event is not what was listed")
	}
	want.Sections[199].Capacity--
	slices.Reverse(want.Sections)
	if changed, err := f.events.Adjust(f.Ctx, "e1", func(domain.Terms) (domain.Terms, error) { return want, nil }); !changed || err != nil {
		t.Fatalf("adjusting: %v, %v", changed, err)
	}
	f.wantLogFolds()
}

func TestAdjustEvent(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10, func(t *domain.Terms) { t.MaxPerOrder = 9 }))
	f.confirmed("e1", "o1", "fred", 2)
	f.held("e1", "o2", "mary", 3, holdMillis)
	before, err := f.events.Get(f.Ctx, "e1")
	f.Must(err)
	adjust := func(change func(*domain.Terms)) (bool, error) {
		return f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) {
			change(&t)
			return t, nil
		})
	}

	changed, err := adjust(func(t *domain.Terms) {
		t.Name, t.MaxPerOrder, t.OnSaleMillis, t.OffSaleMillis = "Another", 0, 5, 99
		t.Sections[0].Price, t.Sections[0].Capacity = 1100, 6
		t.Sections = append([]domain.SectionTerms{{Name: "balcony", Price: 700, Capacity: 3}}, t.Sections...)
	})
	if !changed || err != nil {
		t.Fatalf("%v, %v", changed, err)
	}
	want := domain.Event{
		Name: "Another", Currency: "EUR", OnSaleMillis: 5, OffSaleMillis: 99, Fingerprint: before.Fingerprint, Version: 2,
		Sections: []domain.Section{
			{Name: "balcony", Price: 700, Capacity: 3, Available: 3},
			{Name: "general", Price: 1100, Capacity: 6, Available: 1, Held: 3, Sold: 2},
			{Name: "vip", Price: 5000, Capacity: 4, Available: 4},
		},
	}
	if got, err := f.events.Get(f.Ctx, "e1"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	if o := f.order("e1", "o2"); o.Items.UnitPrice() != 1000 {
		t.Errorf("the held order costs %d each now", o.Items.UnitPrice())
	}
	f.wantLogFolds()

	// Nothing to do, and what cannot be done.
	all := f.Dump()
	if changed, err := adjust(func(*domain.Terms) {}); changed || err != nil {
		t.Errorf("the same again: %v, %v", changed, err)
	}
	stop := errors.New("stop")
	if _, err := f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) { return t, stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	for name, change := range map[string]func(*domain.Terms){
		"below what is held and sold": func(t *domain.Terms) { t.Sections[1].Capacity = 4 },
		"another currency":            func(t *domain.Terms) { t.Currency = "USD" },
		"a section less":              func(t *domain.Terms) { t.Sections = t.Sections[1:] },
		"bad terms":                   func(t *domain.Terms) { t.Sections[0].Price = -1 },
	} {
		changed, err := adjust(change)
		if changed || err == nil || domain.ClassOf(err) != domain.ClassReject {
			t.Errorf("%s: %v, %v", name, changed, err)
		}
	}
	_, err = f.events.Adjust(f.Ctx, "e9", func(t domain.Terms) (domain.Terms, error) { return t, nil })
	if !errors.Is(err, domain.ErrNotFound) || domain.ClassOf(err) != domain.ClassReject {
		t.Errorf("an unlisted event: %v", err)
	}
	f.WantSame(all)

	if changed, err := adjust(func(t *domain.Terms) { t.Sections[1].Capacity = 5 }); !changed || err != nil {
		t.Errorf("just what is held and sold: %v, %v", changed, err)
	}
	if got := f.section("e1", "general"); got != [3]int64{0, 3, 2} {
		t.Errorf("available, held, sold: %v", got)
	}
}

// TestAdjustEventRaces: the script looks again at what the caller has read.
func TestAdjustEventRaces(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.held("e1", "o1", "fred", 3, holdMillis)

	t.Run("the script", func(t *testing.T) {
		run := func(branch string, version int, capacity int64) []string {
			t.Helper()
			reply, err := f.store.run(f.Ctx, scriptAdjustEvent, f.events.keys(0),
				"e1", branch, version, "e1|{}", "terms", "about", 2, 0, "e1/general", 1000, capacity, "counted", 0, "", "", "e1/vip", 5000, 4, "counted", 0, "", "").StringSlice()
			f.Must(err)
			return reply
		}
		before := f.Dump()
		branch := f.branch()
		for _, test := range []struct {
			branch   string
			version  int
			capacity int64
			want     []string
		}{
			{branch, 2, 20, []string{"stale"}},
			{branch, 0, 20, []string{"stale"}},
			{"another", 1, 20, []string{"stale"}},
			{"", 1, 20, []string{"stale"}},
			{branch, 1, 2, []string{"below", "e1/general", "3", "0"}},
		} {
			if got := run(test.branch, test.version, test.capacity); !slices.Equal(got, test.want) {
				t.Errorf("branch %q, version %d, capacity %d: %v, want %v", test.branch, test.version, test.capacity, got, test.want)
			}
		}
		f.WantSame(before)
	})

	// Somebody else adjusts it between the reading and the writing: it starts again from what is there then.
	calls := 0
	changed, err := f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) {
		if calls++; calls == 1 {
			_, err := f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) {
				t.Name = "By another"
				return t, nil
			})
			f.Must(err)
		}
		t.Sections[0].Capacity = 30
		return t, nil
	})
	if !changed || err != nil || calls != 2 {
		t.Errorf("%v, %v after %d calls", changed, err, calls)
	}
	e, err := f.events.Get(f.Ctx, "e1")
	if err != nil || e.Name != "By another" || e.Sections[0].Capacity != 30 || e.Version != 3 {
		t.Errorf("got %+v, %v", e, err)
	}

	// Somebody buys in between: refused by what is held then.
	_, err = f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) {
		if f.order("e1", "o2").State == domain.OrderNone {
			f.held("e1", "o2", "mary", 1, holdMillis)
		}
		t.Sections[0].Capacity = 3
		return t, nil
	})
	f.WantClass(err, domain.ClassReject)
	if got := f.section("e1", "general"); got != [3]int64{26, 4, 0} {
		t.Errorf("available, held, sold: %v", got)
	}

	// Others are faster every time.
	n := 0
	_, err = f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) {
		n++
		f.Do("HSET", f.Keys.Events(0), "e1", strconv.Itoa(10+n)+"|o|EUR|0|0|0|0")
		t.Name = "Never"
		return t, nil
	})
	f.WantClass(err, domain.ClassRetry)
	if n != adjustAttempts {
		t.Errorf("it tried %d times, want %d", n, adjustAttempts)
	}
}

func TestCloseAndReopenEvent(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	a := f.held("e1", "o1", "fred", 1, holdMillis)
	cause := domain.Cause{Reason: "the roof | leaks", By: "ann"}
	if closed, err := f.events.Close(f.Ctx, "e1", cause); !closed || err != nil {
		t.Fatalf("%v, %v", closed, err)
	}
	if _, raw := f.lastFact(); raw != `closed e1|{"reason":"the roof | leaks","by":"ann"}` {
		t.Errorf("fact %s", raw)
	}
	if e, err := f.events.Get(f.Ctx, "e1"); err != nil || !e.Closed || e.Cancelled || e.Cause != cause || e.Version != 2 {
		t.Errorf("got %+v, %v", e, err)
	}
	f.wantLogFolds()
	before := f.Dump()
	if closed, err := f.events.Close(f.Ctx, "e1", domain.Cause{By: "bob"}); closed || err != nil {
		t.Errorf("again: %v, %v", closed, err)
	}
	for name, do := range map[string]func(context.Context, string, domain.Cause) (bool, error){"close": f.events.Close, "reopen": f.events.Reopen} {
		for _, id := range []string{"e9", "", "e/1"} {
			if changed, err := do(f.Ctx, id, domain.Cause{}); changed || !errors.Is(err, domain.ErrNotFound) || domain.ClassOf(err) != domain.ClassReject {
				t.Errorf("%s %q: %v, %v", name, id, changed, err)
			}
		}
		if changed, err := do(f.Ctx, "e1", domain.Cause{By: "a\nb"}); changed || domain.CodeOf(err) != domain.CodeInvalid {
			t.Errorf("%s with a bad cause: %v, %v", name, changed, err)
		}
	}
	f.WantSame(before)
	// What is held can still be paid; nothing new is held.
	if replies, _ := f.resolve(approve(a.EntryID, "e1", "o1")); replies[0].Order.State != domain.OrderConfirmed {
		t.Errorf("got %+v", replies[0])
	}
	if replies, _ := f.holdBatch(f.arrive(purchase("e1", "o2", "fred", 1))...); replies[0].Order.Reason != domain.ReasonNotOnSale {
		t.Errorf("got %+v", replies[0])
	}

	// Reopened, it is what it was, and is sold from.
	if reopened, err := f.events.Reopen(f.Ctx, "e1", domain.Cause{By: "bob"}); !reopened || err != nil {
		t.Fatalf("%v, %v", reopened, err)
	}
	raw, err := json.Marshal(terms(10))
	f.Must(err)
	if _, got := f.lastFact(); got != "reopened e1|"+strings.TrimSuffix(string(raw), "}")+`,"by":"bob"}` {
		t.Errorf("fact %s", got)
	}
	if e, err := f.events.Get(f.Ctx, "e1"); err != nil || e.Closed || e.Cause != (domain.Cause{}) || e.Version != 3 {
		t.Errorf("got %+v, %v", e, err)
	}
	f.wantLogFolds()
	before = f.Dump()
	if reopened, err := f.events.Reopen(f.Ctx, "e1", domain.Cause{}); reopened || err != nil {
		t.Errorf("again: %v, %v", reopened, err)
	}
	f.WantSame(before)
	f.held("e1", "o3", "fred", 1, holdMillis)
	f.wantLogFolds()
}

// TestReopenEventRaces: what is reopened is what its fact says, however often somebody adjusts it in between.
func TestReopenEventRaces(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.close("e1")
	stale, err := f.events.Get(f.Ctx, "e1")
	f.Must(err)
	_, err = f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) {
		t.Name = "Another"
		return t, nil
	})
	f.Must(err)
	before := f.Dump()
	for _, is := range []struct {
		branch  string
		version int64
	}{{f.branch(), stale.Version}, {"another", stale.Version + 1}, {"", stale.Version + 1}} {
		reply, err := f.store.run(f.Ctx, scriptChangeEvent, []string{f.Keys.Events(0), f.Keys.Log(0)},
			"e1", is.branch, is.version, "reopened", "e1|{}", "terms", "about").Int()
		if err != nil || reply != 0 {
			t.Errorf("an old branch or version %+v: %d, %v", is, reply, err)
		}
	}
	f.WantSame(before)
	if reopened, err := f.events.Reopen(f.Ctx, "e1", domain.Cause{}); !reopened || err != nil {
		t.Errorf("%v, %v", reopened, err)
	}
	f.wantLogFolds()
}

func TestEventNotFound(t *testing.T) {
	f := newFixture(t)
	for _, id := range []string{"e9", "", "e/1", "e\x00"} {
		if _, err := f.events.Get(f.Ctx, id); !errors.Is(err, domain.ErrNotFound) || domain.ClassOf(err) != domain.ClassReject {
			t.Errorf("event %q: %v", id, err)
		}
		if _, err := f.inspector.Sales(f.Ctx, id); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("sales of %q: %v", id, err)
		}
	}
}
