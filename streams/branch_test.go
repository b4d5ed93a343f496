package streams

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/audit"
	"holdfast/streams/internal/layout"
	"holdfast/streams/redistest"
)

// branches are those of the only partition, the newest first.
func (f *fixture) branches() []layout.Branch {
	f.Helper()
	listed, err := layout.DecodeBranches(f.Client.HGet(f.Ctx, f.Keys.Events(0), layout.BranchesField).Val())
	f.Must(err)
	f.Must(layout.CheckBranches(f.branch(), listed))
	return listed
}

// copyOf is a copy of all that is stored.
func (f *fixture) copyOf() map[string]string {
	f.Helper()
	keys, err := f.Client.Keys(f.Ctx, "*").Result()
	f.Must(err)
	all := make(map[string]string, len(keys))
	for _, key := range keys {
		value, err := f.Client.Dump(f.Ctx, key).Result()
		f.Must(err)
		all[key] = value
	}
	return all
}

// restore puts a copy in the place of all that is stored.
func (f *fixture) restore(all map[string]string) {
	f.Helper()
	f.Do("FLUSHALL")
	for key, value := range all {
		f.Do("RESTORE", key, 0, value)
	}
}

// newest is the id of the newest log entry.
func (f *fixture) newest() string {
	f.Helper()
	entries := layout.DecodeEntries(f.Do("XREVRANGE", f.Keys.Log(0), "+", "-", "COUNT", 1))
	if len(entries) == 0 {
		f.Fatal("the log is empty")
	}
	return entries[0].ID
}

func (f *fixture) wantAudited() {
	f.Helper()
	report, err := audit.Run(f.Ctx, f.store, audit.Options{})
	f.Must(err)
	if !report.OK {
		f.Errorf("the audit found %v", report.Violations)
	}
}

// TestFirstBranch: a partition has one from the beginning, made once, whoever comes.
func TestFirstBranch(t *testing.T) {
	f := newFixture(t)
	first := f.branches()
	if len(first) != 1 || first[0].AtMillis == 0 || first[0] != (layout.Branch{ID: f.store.history.branch(0), AtMillis: first[0].AtMillis}) {
		t.Errorf("branches %+v", first)
	}
	f.wantAudited()
	// A namespace that was made when there were no branches gets one. Of many who come at once, one makes it.
	f.list("e1", terms(10))
	f.Do("HDEL", f.Keys.Events(0), layout.BranchField, layout.BranchesField)
	stores := make([]*Store, 8)
	var opening sync.WaitGroup
	for i := range stores {
		opening.Go(func() {
			var err error
			if stores[i], err = Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true}); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	now := f.branches()
	if len(now) != 1 || now[0].ID == first[0].ID || now[0].End != f.newest() {
		t.Errorf("branches %+v", now)
	}
	for _, s := range stores {
		if is := s.history.branch(0); is != now[0].ID {
			t.Errorf("one takes it to be %s, it is %s", is, now[0].ID)
		}
		f.Must(s.Close())
	}
	f.wantAudited()
}

// TestNewBranch: whoever finds that the data was replaced begins a branch, and says up to where the logs are the same.
func TestNewBranch(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.held("e1", "o1", "fred", 1, holdMillis)
	older, common := f.copyOf(), f.newest()
	f.Must(f.ledger.Verify(f.Ctx))
	f.held("e1", "o2", "mary", 1, holdMillis)
	f.Must(f.ledger.Verify(f.Ctx))
	was := f.branch()
	f.restore(older)
	f.wantReplaced(f.ledger.Verify(f.Ctx))
	f.Must(f.ledger.Accept(f.Ctx, "w|1\nx"))
	is := f.branches()
	want := layout.Branch{ID: is[0].ID, Parent: was, Knew: was, Common: common, End: common, AtMillis: is[0].AtMillis, By: "w|1 x"}
	if len(is) != 2 || is[0] != want || is[1].ID != was || is[0].AtMillis < domain.EntryMillis(common) {
		t.Errorf("branches %+v, want %+v", is, want)
	}
	// What is as it is known is accepted as it is.
	f.Must(f.ledger.Accept(f.Ctx, "w1"))
	f.held("e1", "o3", "mary", 1, holdMillis)
	if again := f.branches(); !slices.Equal(again, is) {
		t.Errorf("branches %+v, were %+v", again, is)
	}
	f.wantAudited()
}

// TestCommonPosition: what was seen is compared byte for byte, since ids come again; and what is older than
// anything that was seen is not known.
func TestCommonPosition(t *testing.T) {
	for name, test := range map[string]struct {
		lose func(f *fixture, log []domain.Entry)
		want func(log []domain.Entry) string
	}{
		"another entry under the same id": {
			func(f *fixture, log []domain.Entry) {
				f.Do("XTRIM", f.Keys.Log(0), "MAXLEN", 0)
				f.Do("DEL", f.Keys.Log(0))
				for i, e := range log {
					if i == len(log)-2 {
						e.Fields = []string{"closed", "another|{}"}
					}
					f.Do("XADD", f.Keys.Log(0), e.ID, e.Fields[0], e.Fields[1])
				}
			},
			func(log []domain.Entry) string { return log[len(log)-1].ID }, // the newest is there: nothing is known to be lost
		},
		"another newest entry under the same id": {
			func(f *fixture, log []domain.Entry) {
				last := log[len(log)-1]
				f.Do("DEL", f.Keys.Log(0))
				for _, e := range log[:len(log)-1] {
					f.Do("XADD", f.Keys.Log(0), e.ID, e.Fields[0], e.Fields[1])
				}
				f.Do("XADD", f.Keys.Log(0), last.ID, last.Fields[0], last.Fields[1]+"x")
			},
			func(log []domain.Entry) string { return log[len(log)-2].ID },
		},
		"most is lost": {
			func(f *fixture, log []domain.Entry) {
				f.Do("DEL", f.Keys.Log(0))
				for _, e := range log[:3] {
					f.Do("XADD", f.Keys.Log(0), e.ID, e.Fields[0], e.Fields[1])
				}
			},
			func(log []domain.Entry) string { return log[2].ID },
		},
		"all is lost": {
			func(f *fixture, _ []domain.Entry) { f.Do("XTRIM", f.Keys.Log(0), "MAXLEN", 0) },
			func([]domain.Entry) string { return "" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", terms(100))
			for i := range 30 {
				f.confirmed("e1", "o"+strconv.Itoa(i), "fred", 1)
			}
			if _, err := f.queue(domain.GroupPosting, "w1").Read(f.Ctx, 100, 0); err != nil {
				t.Fatal(err)
			}
			log := layout.DecodeEntries(f.Do("XRANGE", f.Keys.Log(0), "-", "+"))
			was := f.branch()
			test.lose(f, log)
			replaced := f.ledger.Verify(f.Ctx)
			f.Must(f.ledger.Accept(f.Ctx, "w1"))
			if replaced == nil {
				if test.want(log) != log[len(log)-1].ID || f.branch() != was {
					t.Errorf("nothing was noticed; branches %+v", f.branches())
				}
				return
			}
			f.wantReplaced(replaced)
			if is := f.branches(); is[0].Parent != was || is[0].Common != test.want(log) {
				t.Errorf("branches %+v, want one that has all up to %q in common", is, test.want(log))
			}
		})
	}
}

// TestFindersRace: of those who find it at the same time one begins the branch, and all go on with it.
func TestFindersRace(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	older := f.copyOf()
	finders := []*fixture{f}
	for range 4 {
		other, _ := f.another(t)
		finders = append(finders, other)
	}
	f.held("e1", "o1", "fred", 1, holdMillis)
	for _, finder := range finders {
		finder.Must(finder.ledger.Verify(f.Ctx))
	}
	for round := range 20 {
		f.restore(older)
		was := len(f.branches())
		var finding sync.WaitGroup
		for _, finder := range finders {
			finding.Go(func() {
				if err := finder.ledger.Accept(f.Ctx, "w1"); err != nil {
					t.Error(err)
				}
			})
		}
		finding.Wait()
		is := f.branches()
		if len(is) != was+1 {
			t.Fatalf("round %d: branches %+v", round, is)
		}
		for _, finder := range finders {
			if believed := finder.store.history.branch(0); believed != is[0].ID {
				t.Fatalf("round %d: one goes on with %s, branches are %+v", round, believed, is)
			}
			finder.Must(finder.ledger.Verify(f.Ctx))
		}
		// From the second round on the copy is of a branch before the one that they had worked on.
		if round > 0 && (is[0].Knew == is[0].Parent || is[0].Parent != is[1].ID) {
			t.Fatalf("round %d: branches %+v", round, is)
		}
		f.held("e1", "o2", "mary", 1, holdMillis)
		for _, finder := range finders {
			finder.Must(finder.ledger.Verify(f.Ctx))
		}
	}
	f.wantLogFolds()
}

// TestBranchAfterFlushAll: the namespace is made again, and who made it says what was there before.
func TestBranchAfterFlushAll(t *testing.T) {
	f := newFixture(t)
	other, _ := f.another(t)
	f.list("e1", terms(10))
	f.Must(f.ledger.Verify(f.Ctx))
	was := f.branch()
	f.Do("FLUSHALL")
	f.Must(f.ledger.Accept(f.Ctx, "w1"))
	is := f.branches()
	if len(is) != 1 || is[0] != (layout.Branch{ID: is[0].ID, Knew: was, AtMillis: is[0].AtMillis, By: "w1"}) {
		t.Errorf("branches %+v, was %s", is, was)
	}
	f.Must(other.ledger.Accept(f.Ctx, "w2"))
	if again := f.branches(); !slices.Equal(again, is) {
		t.Errorf("branches %+v, were %+v", again, is)
	}
	// Somebody who knew of nothing makes it: then it is another branch for who did.
	f.Must(f.ledger.Verify(f.Ctx))
	f.Do("FLUSHALL")
	fresh, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true, Partitions: 1})
	f.Must(err)
	f.wantReplaced(f.ledger.Verify(f.Ctx))
	f.Must(f.ledger.Accept(f.Ctx, "w1"))
	if now := f.branches(); len(now) != 2 || now[0].Knew != is[0].ID || now[0].Parent != fresh.history.branch(0) {
		t.Errorf("branches %+v", now)
	}
	f.Must(fresh.Close())
}

// TestZombie: who works on another branch changes nothing, whatever he does, until he has accepted the data.
func TestZombie(t *testing.T) {
	f := newFixture(t)
	zombie, _ := f.another(t)
	f.list("e1", terms(10))
	f.held("e1", "due", "due", 1, 0)
	f.held("e1", "held", "fred", 1, holdMillis)
	f.confirmed("e1", "sold", "mary", 1)
	older := f.copyOf()
	f.Must(f.ledger.Verify(f.Ctx))
	f.held("e1", "lost", "jane", 1, holdMillis)
	f.Must(f.ledger.Verify(f.Ctx))
	orders := []domain.Order{f.order("e1", "held"), f.order("e1", "sold")}
	f.restore(older)
	f.Must(f.ledger.Accept(f.Ctx, "w1"))
	entries := f.arrive(purchase("e1", "new", "amy", 1), purchase("e9", "refused", "amy", 1), request("cancel", "e1", "held"))
	invalid := entries[0]
	invalid.Invalid = "quantity"
	facts := f.factOf("confirmed", "e1", "sold")
	before := f.Dump()
	for name, do := range map[string]func() error{
		"hold":   func() error { _, _, err := zombie.ledger.Hold(f.Ctx, 0, entries[:1]); return err },
		"refuse": func() error { _, _, err := zombie.ledger.Hold(f.Ctx, 0, entries[1:2]); return err },
		"invalid": func() error {
			_, _, err := zombie.ledger.Hold(f.Ctx, 0, []domain.Incoming{invalid})
			return err
		},
		"confirm": func() error {
			_, _, err := zombie.ledger.Resolve(f.Ctx, 0, []domain.Resolution{{Attempt: 1, EntryID: entries[0].EntryID, Ref: ref("e1", "held"), Order: orders[0], Outcome: domain.PaymentApproved}})
			return err
		},
		"decline": func() error {
			_, _, err := zombie.ledger.Resolve(f.Ctx, 0, []domain.Resolution{{Attempt: 1, EntryID: entries[0].EntryID, Ref: ref("e1", "held"), Order: orders[0], Outcome: domain.PaymentDeclined}})
			return err
		},
		"cancel": func() error {
			return zombie.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{EntryID: entries[2].EntryID, Ref: ref("e1", "held")}})
		},
		"cancel what was never seen": func() error {
			return zombie.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e9", "unseen")}})
		},
		"acknowledge": func() error {
			return zombie.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{EntryID: facts.ID, Ref: ref("e1", "sold")}})
		},
		"capture failed": func() error {
			return zombie.ledger.CaptureFailed(f.Ctx, 0, []domain.Cancellation{{EntryID: facts.ID, Ref: ref("e1", "sold")}})
		},
		"expire": func() error { _, _, err := zombie.ledger.Expire(f.Ctx, 0, 10); return err },
	} {
		t.Run(name, func(t *testing.T) {
			f := f.in(t)
			f.wantReplaced(do())
			f.WantSame(before)
		})
	}
	is := f.branches()
	f.Must(zombie.ledger.Accept(f.Ctx, "w2"))
	if again := f.branches(); !slices.Equal(again, is) {
		t.Errorf("branches %+v, were %+v", again, is)
	}
	if replies, _ := zombie.holdBatch(entries[0]); replies[0].Order.State != domain.OrderHeld {
		t.Errorf("accepted: %+v", replies[0])
	}
	if n, _, err := zombie.ledger.Expire(f.Ctx, 0, 10); n != 1 || err != nil {
		t.Errorf("expired %d, %v", n, err)
	}
	f.wantLogFolds()
	f.wantAudited()
}

// TestZombieOfAnOlderCopy: the same with a server that comes back with what it had saved before. The zombie's connection is
// one that lived through it, as through a proxy.
func TestZombieOfAnOlderCopy(t *testing.T) {
	server := redistest.Start(t)
	f := openFixture(t, server)
	f.list("e1", terms(10))
	a := f.arrive(purchase("e1", "o1", "fred", 1))
	f.Do("SAVE")
	dump := filepath.Join(server.Dir(), "dump.rdb")
	older, err := os.ReadFile(dump)
	f.Must(err)
	zombie, _ := f.another(t) // it never verifies, so its connections are not compared either
	f.Must(f.ledger.Verify(f.Ctx))
	zombie.holdBatch(a...)
	f.Must(f.ledger.Verify(f.Ctx))
	order := zombie.order("e1", "o1")

	server.Kill()
	f.Must(os.WriteFile(dump, older, 0o600))
	server.Restart()
	f.Eventually("the server is back", func() bool { return zombie.Client.Ping(f.Ctx).Err() == nil })
	f.Eventually("it is accepted", func() bool { return f.ledger.Accept(f.Ctx, "w1") == nil })
	before := f.Dump()
	_, _, err = zombie.ledger.Hold(f.Ctx, 0, a)
	f.wantReplaced(err)
	_, _, err = zombie.ledger.Resolve(f.Ctx, 0, []domain.Resolution{{Attempt: 1, EntryID: a[0].EntryID, Ref: ref("e1", "o1"), Order: order, Outcome: domain.PaymentApproved}})
	f.wantReplaced(err)
	f.WantSame(before)
	if is := f.branches(); len(is) != 2 || is[0].Common == "" {
		t.Errorf("branches %+v", is)
	}
	f.holdBatch(a...)
	f.wantLogFolds()
}

// TestEventsOnAnotherBranch: what is decided about an event on one branch does not happen on another, also if its version is
// the same there; it is decided again.
func TestEventsOnAnotherBranch(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		do     func(*fixture) error
		want   func(domain.Event) bool
	}{
		"create": {"create_event", func(f *fixture) error {
			_, err := f.events.Create(f.Ctx, "e2", terms(10))
			return err
		}, func(domain.Event) bool { return true }},
		"adjust": {"adjust_event", func(f *fixture) error {
			_, err := f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) { t.Sections[0].Capacity++; return t, nil })
			return err
		}, func(e domain.Event) bool { return e.Sections[0].Capacity == 8 }},
		"close": {"change_event", func(f *fixture) error {
			_, err := f.events.Close(f.Ctx, "e1", domain.Cause{})
			return err
		}, func(e domain.Event) bool { return e.Closed && e.Sections[0].Capacity == 7 }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", terms(7))
			older := f.copyOf()
			other, hook := f.another(t)
			f.Must(f.ledger.Verify(f.Ctx))
			f.held("e1", "o1", "fred", 1, holdMillis)
			f.Must(f.ledger.Verify(f.Ctx))
			calls := 0
			hook.do = func(script string, _ []string) {
				if script != test.script {
					return
				}
				if calls++; calls == 1 { // another branch, and the event has the version that was read
					f.restore(older)
					f.Must(f.ledger.Accept(f.Ctx, "w1"))
				}
			}
			f.Must(test.do(other))
			if calls != 2 {
				t.Errorf("%d calls, want another one on the new branch", calls)
			}
			if e, err := f.events.Get(f.Ctx, "e1"); err != nil || !test.want(e) {
				t.Errorf("%+v, %v", e, err)
			}
			f.wantLogFolds()
			f.wantAudited()
		})
	}
}

// TestCancelEventOnAnotherBranch: cancelling goes on when the branch becomes another one in the middle.
func TestCancelEventOnAnotherBranch(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.held("e1", "o1", "fred", 1, holdMillis)
	f.confirmed("e1", "o2", "mary", 1)
	other, hook := f.another(t)
	hook.once("move", func() {
		_, begun, err := f.store.beginBranch(f.Ctx, 0, layout.Branch{Parent: f.branch()})
		if err != nil || !begun {
			t.Error(begun, err)
		}
	})
	done, err := other.events.Cancel(f.Ctx, "e1", domain.Cause{Reason: "ill", By: "ann"}, nil)
	if err != nil || done.Held != 1 || done.Confirmed != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	// If that goes on, it says so.
	f.Must(f.ledger.Accept(f.Ctx, "w1"))
	f.list("e2", terms(10))
	f.held("e2", "o1", "fred", 1, holdMillis)
	hook.do = func(script string, _ []string) {
		if script == "move" {
			if _, _, err := f.store.beginBranch(f.Ctx, 0, layout.Branch{Parent: f.branch()}); err != nil {
				t.Error(err)
			}
		}
	}
	_, err = other.events.Cancel(f.Ctx, "e2", domain.Cause{Reason: "ill", By: "ann"}, nil)
	f.wantReplaced(err)
	hook.do = nil
	if done, err = other.events.Cancel(f.Ctx, "e2", domain.Cause{Reason: "ill", By: "ann"}, nil); err != nil || done.Held != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	f.wantLogFolds()
}

// TestBeginBranchScript: it compares, may be repeated, keeps the newest, and works when memory is full.
func TestBeginBranchScript(t *testing.T) {
	f := openFixture(t, redistest.Start(t, "--maxmemory-policy", "noeviction"))
	f.list("e1", terms(10))
	run := func(parent, id string) string {
		t.Helper()
		is, err := f.store.run(f.Ctx, scriptBeginBranch, []string{f.Keys.Events(0), f.Keys.Log(0)}, parent, id, "knew", "5-5", "w1", layout.MostBranches).Text()
		f.Must(err)
		return is
	}
	first, before := f.branch(), f.Dump()
	for _, parent := range []string{"", "another", strings.ToUpper(first)} {
		if is := run(parent, "new"); is != first {
			t.Errorf("the parent %q is not its branch: %s", parent, is)
		}
	}
	f.WantSame(before)
	f.Do("SCRIPT", "FLUSH")
	f.Do("CONFIG", "SET", "maxmemory", "1")
	if is := run(first, "new"); is != "new" {
		t.Errorf("it is %s", is)
	}
	after := f.Dump()
	if is := run(first, "new"); is != "new" { // its reply was lost
		t.Errorf("again: it is %s", is)
	}
	f.WantSame(after)
	is := f.branches()
	if want := (layout.Branch{ID: "new", Parent: first, Knew: "knew", Common: "5-5", End: f.newest(), AtMillis: is[0].AtMillis, By: "w1"}); is[0] != want {
		t.Errorf("%+v, want %+v", is[0], want)
	}
	for range 2 * layout.MostBranches {
		parent := f.branch()
		run(parent, layout.NewBranchID())
	}
	if is := f.branches(); len(is) != layout.MostBranches {
		t.Errorf("%d branches are listed", len(is))
	}
	f.Do("CONFIG", "SET", "maxmemory", "0")
	f.wantAudited()
}

// failing is a hook that lets a script fail a number of times, before it is sent or after it was executed.
type failing struct {
	sending
	script string
	times  int
	sent   bool
}

func (h *failing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		digest, _ := cmd.Args()[min(1, len(cmd.Args())-1)].(string)
		if cmd.Name() != "evalsha" || ScriptName(digest) != h.script || h.times == 0 {
			return next(ctx, cmd)
		}
		h.times--
		if h.sent {
			if err := next(ctx, cmd); err != nil {
				return err
			}
		}
		cmd.SetErr(errInjected)
		return errInjected
	}
}

var errInjected = errors.New("injected fault")

// TestAcceptFailsHalfWay: a call that is not sent, or whose reply is lost, is made again; it stays one branch.
func TestAcceptFailsHalfWay(t *testing.T) {
	for _, sent := range []bool{false, true} {
		f := newFixture(t)
		f.list("e1", terms(10))
		older := f.copyOf()
		f.Must(f.ledger.Verify(f.Ctx))
		f.held("e1", "o1", "fred", 1, holdMillis)
		f.Must(f.ledger.Verify(f.Ctx))
		f.restore(older)
		f.Do("SCRIPT", "LOAD", scriptText(t, "begin_branch"))
		f.Client.AddHook(&failing{script: "begin_branch", times: 1, sent: sent})
		if err := f.ledger.Accept(f.Ctx, "w1"); !errors.Is(err, errInjected) {
			t.Fatalf("sent %t: %v", sent, err)
		}
		_, _, err := f.ledger.Hold(f.Ctx, 0, f.arrive(purchase("e1", "o2", "mary", 1)))
		if sent {
			f.wantReplaced(err) // nothing is taken over before all is
		} else {
			f.Must(err)
		}
		f.Must(f.ledger.Accept(f.Ctx, "w1"))
		if is := f.branches(); len(is) != 2 || f.store.history.branch(0) != is[0].ID {
			t.Errorf("sent %t: branches %+v", sent, is)
		}
		f.wantLogFolds()
	}
}

func scriptText(t *testing.T, name string) string {
	t.Helper()
	return read("scripts/lib/log.lua") + read("scripts/"+name+".lua")
}

// TestTrail: of what was seen, all of the newest is known, and ever less of what was before.
func TestTrail(t *testing.T) {
	var seen trail
	for i := range uint64(100_000) {
		seen.add(sighting{id: layout.LogID{Millis: i + 1}})
		if len(seen) > trailLength || seen[len(seen)-1].id.Millis != i+1 || seen[0].id.Millis != 1 {
			t.Fatalf("after %d: %d from %v to %v", i+1, len(seen), seen[0], seen[len(seen)-1])
		}
	}
	for i := 1; i < len(seen); i++ {
		gap := seen[i].id.Millis - seen[i-1].id.Millis
		if behind := 100_000 - seen[i].id.Millis; gap == 0 || gap > 1 && (behind < trailLength/2 || gap > behind/8) {
			t.Errorf("%d behind the newest there is a gap of %d", behind, gap)
		}
	}
}

// TestVerifyKnowsBranches: that somebody else has begun a branch shows, in whichever partition, also where nothing
// was lost that was seen here.
func TestVerifyKnowsBranches(t *testing.T) {
	f := emptied(t)
	s, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true, Partitions: 4})
	f.Must(err)
	defer func() { f.Must(s.Close()) }()
	l := s.Ledger()
	for p := range s.partitions {
		f.Must(l.Verify(f.Ctx))
		_, begun, err := s.beginBranch(f.Ctx, p, layout.Branch{Parent: s.history.branch(p)})
		if err != nil || !begun {
			t.Fatal(begun, err)
		}
		looks := 1
		for l.Verify(f.Ctx) == nil && looks < 100 {
			looks++
		}
		if looks > looksPerBranch*s.partitions {
			t.Errorf("partition %d: seen at look %d", p, looks)
		}
		f.Must(l.Accept(f.Ctx, "w1"))
	}
}
