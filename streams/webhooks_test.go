package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

// endpoint adds one that is told of some facts.
func (f *fixture) endpoint(id string, types ...domain.FactType) domain.Webhook {
	f.Helper()
	hook := domain.Webhook{ID: id, URL: "https://example.com/" + id, Types: types, State: domain.WebhookEnabled, SinceMillis: f.Now(), FromMillis: f.Now()}
	f.Must(f.store.Webhooks().Add(f.Ctx, hook, domain.WebhookSecrets{Current: []byte("first")}))
	return hook
}

// fact adds a log entry about orders of e1, and returns its id.
func (f *fixture) fact(kind string, orders ...string) string {
	f.Helper()
	for i := range orders {
		orders[i] = "e1/" + orders[i]
	}
	return f.Do("XADD", f.Keys.Log(0), "*", kind, strings.Join(orders, "\n")).(string)
}

func (f *fixture) copied(hook domain.Webhook) {
	f.Helper()
	for more := true; more; {
		var lost string
		var err error
		more, lost, err = f.store.Webhooks().Copy(f.Ctx, 0, hook)
		f.Must(err)
		if lost != "" {
			f.Fatalf("facts are missing since %s", lost)
		}
	}
}

func (f *fixture) take(hook domain.Webhook, sender string, most int) domain.WebhookTurn {
	f.Helper()
	turn, err := f.store.Webhooks().Take(f.Ctx, 0, hook.ID, sender, most, time.Minute, time.Minute)
	f.Must(err)
	return turn
}

func (f *fixture) settled(hook domain.Webhook, m domain.WebhookMessage, why string, again time.Duration) {
	f.Helper()
	try := domain.WebhookTry{AtMillis: f.Now(), Fact: m.Fact, Type: m.Type, Ref: m.Ref, Attempt: m.Attempts, Status: 200, Why: why}
	f.Must(f.store.Webhooks().Settle(f.Ctx, 0, hook.ID, m, try, again))
}

// said are messages as "order type attempt".
func said(turn domain.WebhookTurn) (all []string) {
	for _, m := range turn.Messages {
		all = append(all, fmt.Sprintf("%s %s %d", m.Ref.OrderID, m.Type, m.Attempts))
	}
	slices.Sort(all)
	return all
}

func (f *fixture) wantMessages(turn domain.WebhookTurn, waiting int64, want ...string) {
	f.Helper()
	if got := said(turn); !turn.Mine || turn.Waiting != waiting || !slices.Equal(got, want) {
		f.Fatalf("given %v of %d, mine: %t; want %v of %d", got, turn.Waiting, turn.Mine, want, waiting)
	}
}

func TestWebhookQueueIsInOrderPerOrder(t *testing.T) {
	f := newFixture(t)
	f.fact("expired", "before") // it was not there yet
	f.WaitUntil(f.Now() + 2)
	hook := f.endpoint("wh1", domain.FactExpired, domain.FactPaymentDeclined)
	other := f.endpoint("wh2", domain.FactLapsed)
	f.fact("payment_declined", "a|1", "b|1")
	f.fact("expired", "a", "c")
	f.fact("lapsed", "b|1000")
	f.copied(hook)
	f.copied(hook) // nothing more
	f.copied(other)
	turn := f.take(hook, "s1", 10)
	f.wantMessages(turn, 4, "a payment_declined 1", "b payment_declined 1", "c expired 1")
	if turn.Next <= 0 {
		t.Errorf("all is in hand, and the next is due in %s", turn.Next)
	}
	f.wantMessages(f.take(hook, "s1", 10), 4)
	if turn := f.take(hook, "s2", 10); turn.Mine {
		t.Error("two send at a time")
	}
	f.wantMessages(f.take(other, "s2", 10), 1, "b lapsed 1")

	// What fails keeps what comes after it of its order, and of no other.
	first := turn.Messages[0]
	f.settled(hook, first, "HTTP status 500", 0)
	f.fact("expired", "d")
	f.copied(hook)
	again := f.take(hook, "s1", 10)
	f.wantMessages(again, 5, "a payment_declined 2", "d expired 1")
	second := again.Messages[slices.IndexFunc(again.Messages, func(m domain.WebhookMessage) bool { return m.Ref == first.Ref })]
	if second.FirstMillis != first.FirstMillis || second.Fact != first.Fact {
		t.Errorf("first %+v, then %+v", first, second)
	}
	f.settled(hook, first, "", 0) // an answer to a try that somebody else has begun again since
	f.wantMessages(f.take(hook, "s1", 10), 5)
	f.settled(hook, second, "", 0)
	f.wantMessages(f.take(hook, "s1", 10), 4, "a expired 1")

	tries, err := f.store.Webhooks().Tries(f.Ctx, hook.ID)
	f.Must(err)
	if len(tries) != 2 || tries[1].Why != "HTTP status 500" || tries[0].Why != "" {
		t.Errorf("tries: %+v", tries)
	}
}

func TestWebhookSenderThatDies(t *testing.T) {
	f := newFixture(t)
	hook := f.endpoint("wh1", domain.FactExpired)
	f.fact("expired", "a")
	f.copied(hook)
	turn, err := f.store.Webhooks().Take(f.Ctx, 0, hook.ID, "dead", 10, time.Millisecond, time.Millisecond)
	f.Must(err)
	f.wantMessages(turn, 1, "a expired 1")
	f.WaitUntil(f.Now() + 3)
	f.wantMessages(f.take(hook, "heir", 10), 1, "a expired 2")
	f.settled(hook, turn.Messages[0], "", 0) // the answer to the try before, of which nobody was there any more to hear
	f.settled(hook, turn.Messages[0], "503", 0)
	_, err = f.store.Webhooks().Take(f.Ctx, 0, hook.ID, "heir", 0, 0, 0) // leaves
	f.Must(err)
	f.wantMessages(f.take(hook, "third", 10), 1)
}

func TestWebhookQueueIsBounded(t *testing.T) {
	f := newFixture(t)
	hook := f.endpoint("wh1", domain.FactExpired)
	orders := make([]string, 64)
	for e := range domain.MaxWebhookQueue/64 + 30 {
		for i := range orders {
			orders[i] = fmt.Sprintf("o%d-%d", e, i)
		}
		f.fact("expired", orders...)
	}
	f.copied(hook)
	turn := f.take(hook, "s", 500)
	if turn.Waiting < domain.MaxWebhookQueue || turn.Waiting >= domain.MaxWebhookQueue+webhookCopy+64 {
		t.Fatalf("%d wait", turn.Waiting)
	}
	if n := f.Do("HLEN", f.Keys.WebhookQueue(0, hook.ID)).(int64); n != turn.Waiting {
		t.Errorf("%d are in the queue, %d are counted", n, turn.Waiting)
	}
	if groups := f.Do("XINFO", "GROUPS", f.Keys.Log(0)).([]any); len(groups) != 2 {
		t.Errorf("the log has %d groups", len(groups))
	}
	// As some are taken, the others come.
	seen := map[string]int{}
	for len(turn.Messages) > 0 {
		for _, m := range turn.Messages {
			seen[m.Ref.OrderID]++
			f.settled(hook, m, "", 0)
		}
		f.copied(hook)
		turn = f.take(hook, "s", 500)
	}
	if want := (domain.MaxWebhookQueue/64 + 30) * 64; len(seen) != want || turn.Waiting != 0 {
		t.Errorf("%d were sent, want %d; %d wait", len(seen), want, turn.Waiting)
	}
}

func TestWebhookCopyComparesAndSets(t *testing.T) {
	f := newFixture(t)
	hook := f.endpoint("wh1", domain.FactExpired)
	f.fact("expired", "a")
	another, hook2 := f.another(t)
	hook2.once("copy_webhook", func() { f.copied(hook) }) // somebody is faster
	another.copied(hook)
	turn := f.take(hook, "s", 10)
	f.wantMessages(turn, 1, "a expired 1")
	f.settled(hook, turn.Messages[0], "", 0)

	// Somebody is so fast that it has been sent meanwhile.
	f.fact("expired", "c")
	hook2.once("copy_webhook", func() {
		f.copied(hook)
		sent := f.take(hook, "s", 10)
		f.wantMessages(sent, 1, "c expired 1")
		f.settled(hook, sent.Messages[0], "", 0)
	})
	another.copied(hook)
	f.wantMessages(f.take(hook, "s", 10), 0)

	f.fact("expired", "b")
	f.Do("CONFIG", "SET", "maxmemory", "1")
	_, _, err := f.store.Webhooks().Copy(f.Ctx, 0, hook)
	f.Do("CONFIG", "SET", "maxmemory", "0")
	f.WantClass(err, domain.ClassRetry)
	f.wantMessages(f.take(hook, "s", 10), 0)
	f.copied(hook)
	f.Do("CONFIG", "SET", "maxmemory", "1")
	turn = f.take(hook, "s", 10) // what is there can be sent
	f.wantMessages(turn, 1, "b expired 1")
	f.settled(hook, turn.Messages[0], "", 0)
	f.Do("CONFIG", "SET", "maxmemory", "0")
	f.wantMessages(f.take(hook, "s", 10), 0)
}

func TestWebhookReplay(t *testing.T) {
	f := newFixture(t)
	ids := []string{f.fact("expired", "a")}
	for _, order := range []string{"b", "c", "d"} {
		f.WaitUntil(f.Now() + 2)
		ids = append(ids, f.fact("expired", order))
	}
	f.WaitUntil(f.Now() + 2)
	hook := f.endpoint("wh1", domain.FactExpired)
	f.copied(hook)
	f.wantMessages(f.take(hook, "s", 10), 0)
	webhooks := f.store.Webhooks()
	f.Must(webhooks.Replay(f.Ctx, hook.ID, domain.EntryMillis(ids[1]), domain.EntryMillis(ids[1])))
	f.Must(webhooks.Replay(f.Ctx, hook.ID, domain.EntryMillis(ids[2]), domain.EntryMillis(ids[2])))
	f.copied(hook)
	turn := f.take(hook, "s", 10)
	f.wantMessages(turn, 2, "b expired 1", "c expired 1")
	if turn.Messages[0].Fact != ids[1]+"#1" {
		t.Errorf("it is %s", turn.Messages[0].Fact)
	}
	f.Must(webhooks.Replay(f.Ctx, hook.ID, domain.EntryMillis(ids[0]), f.Now())) // what waits is not sent twice
	f.copied(hook)
	f.wantMessages(f.take(hook, "s", 10), 4, "a expired 1", "d expired 1")
	f.WantClass(webhooks.Replay(f.Ctx, "nobody", 1, 2), domain.ClassReject)
	f.WantClass(webhooks.Replay(f.Ctx, hook.ID, 2, 1), domain.ClassReject)
	f.Do("XTRIM", f.Keys.Log(0), "MAXLEN", "2")
	f.WantClass(webhooks.Replay(f.Ctx, hook.ID, domain.EntryMillis(ids[0]), f.Now()), domain.ClassReject)
}

// Facts that went before they were copied are told of, and what is there is sent.
func TestWebhookOfWhatIsGone(t *testing.T) {
	f := newFixture(t)
	hook := f.endpoint("wh1", domain.FactExpired)
	f.fact("expired", "a")
	f.copied(hook)
	f.fact("expired", "b")
	f.fact("expired", "c")
	f.Do("XTRIM", f.Keys.Log(0), "MAXLEN", "1")
	webhooks := f.store.Webhooks()
	if _, lost, err := webhooks.Copy(f.Ctx, 0, hook); err != nil || lost != "" {
		t.Fatal(lost, err)
	}
	for range 2 {
		if _, lost, err := webhooks.Copy(f.Ctx, 0, hook); err != nil || lost == "" {
			t.Errorf("nothing is missing: %v", err)
		}
	}
	f.Must(webhooks.ForgetLost(f.Ctx, 0, hook.ID))
	f.copied(hook)
	f.wantMessages(f.take(hook, "s", 10), 2, "a expired 1", "c expired 1")
}

// pastEntries is an archive of them, or one that cannot be read.
type pastEntries struct {
	entries []domain.Entry
	err     error
}

func (a *pastEntries) Between(_ context.Context, _ int, _ domain.ArchiveMark, after, before string, each func(domain.Entry) error) error {
	from, to := layout.ParseLogID(after), layout.ParseLogID(before)
	for _, e := range a.entries {
		if id := layout.ParseLogID(e.ID); id.After(from) && to.After(id) && a.err == nil {
			if err := each(e); err != nil {
				return err
			}
		}
	}
	return a.err
}

// trimmedTo leaves so many entries of the log, as workers trim it behind the archive, and returns what was there before.
func (f *fixture) trimmedTo(left int) *pastEntries {
	f.Helper()
	all := layout.DecodeEntries(f.Do("XRANGE", f.Keys.Log(0), "-", "+"))
	first := all[len(all)-left].ID
	f.Do("XTRIM", f.Keys.Log(0), "MINID", first)
	f.Do("HSET", f.Keys.Events(0), layout.TrimmedField, first)
	f.Do("SET", f.Keys.Archived(0), layout.EncodeArchived(domain.ArchiveMark{Branch: f.branch(), Position: all[len(all)-1].ID, Hash: "ab", Segment: "one"}))
	return &pastEntries{entries: all}
}

// What was trimmed before it was copied is copied from the archive, page by page, each fact once, and so is what is to be sent once more.
func TestWebhookOfWhatWasTrimmed(t *testing.T) {
	f := newFixture(t)
	hook := f.endpoint("wh1", domain.FactExpired)
	since := f.Now()
	f.fact("expired", "a")
	f.copied(hook)
	const facts = 2*webhookPage + 7
	for i := range facts {
		f.fact("expired", fmt.Sprintf("o%d", i))
	}
	archived := f.trimmedTo(3)
	webhooks := f.store.Webhooks().With(archived)
	copied := func(rounds int) {
		t.Helper()
		for n := 1; ; n++ {
			more, lost, err := webhooks.Copy(f.Ctx, 0, hook)
			f.Must(err)
			if lost != "" {
				t.Fatalf("facts are missing since %s", lost)
			}
			if !more {
				if n < rounds {
					t.Errorf("all is copied in %d rounds, a page each", n)
				}
				return
			}
		}
	}
	// One that cannot be read is asked again, and nothing is passed over meanwhile.
	archived.err = domain.WithClass(domain.ClassRetry, errors.New("the store is away"))
	if _, lost, err := webhooks.Copy(f.Ctx, 0, hook); lost != "" || !errors.Is(err, archived.err) {
		t.Errorf("lost since %q, %v", lost, err)
	}
	archived.err = nil
	copied(3)
	turn := f.take(hook, "s", 10*facts)
	if turn.Waiting != facts+1 || len(turn.Messages) != facts+1 {
		t.Fatalf("%d messages wait, %d are given", turn.Waiting, len(turn.Messages))
	}
	for _, m := range turn.Messages {
		f.settled(hook, m, "", 0)
	}

	f.Must(f.store.Webhooks().Replay(f.Ctx, hook.ID, since, f.Now()))
	copied(3)
	again := f.take(hook, "s", 10*facts)
	if len(again.Messages) != facts+1 {
		t.Errorf("%d messages are sent once more", len(again.Messages))
	}

	// Also where all that is asked for was trimmed, and no more than that.
	for _, m := range f.take(hook, "s", 10*facts).Messages {
		f.settled(hook, m, "", 0)
	}
	for _, m := range again.Messages {
		f.settled(hook, m, "", 0)
	}
	first := domain.EntryMillis(archived.entries[0].ID)
	inside := 0
	for _, e := range archived.entries {
		if domain.EntryMillis(e.ID) == first {
			inside++
		}
	}
	f.Must(f.store.Webhooks().Replay(f.Ctx, hook.ID, first, first))
	copied(1)
	if turn := f.take(hook, "s", 10*facts); len(turn.Messages) != inside {
		t.Errorf("of one millisecond %d messages are sent once more, want %d", len(turn.Messages), inside)
	}

	// By one who has no archive, what is left; and what others have trimmed is in none.
	f.fact("expired", "b")
	f.fact("expired", "c")
	f.trimmedTo(1)
	if _, lost, err := f.store.Webhooks().Copy(f.Ctx, 0, hook); err != nil {
		t.Fatal(lost, err)
	}
	if _, lost, err := f.store.Webhooks().Copy(f.Ctx, 0, hook); err != nil || lost == "" {
		t.Errorf("nothing is missing: %v", err)
	}
	f.Must(webhooks.ForgetLost(f.Ctx, 0, hook.ID))
	f.fact("expired", "d")
	f.fact("expired", "e")
	f.Do("XTRIM", f.Keys.Log(0), "MAXLEN", "1")
	f.WantClass(webhooks.Replay(f.Ctx, hook.ID, since, f.Now()), domain.ClassReject)
	for range 2 {
		if _, _, err := webhooks.Copy(f.Ctx, 0, hook); err != nil {
			t.Fatal(err)
		}
	}
	if _, lost, err := webhooks.Copy(f.Ctx, 0, hook); err != nil || lost == "" {
		t.Errorf("nothing is missing: %v", err)
	}
}

// On another branch an endpoint is sent what came after what both have in common; again, where that was sent already.
func TestWebhookOnAnotherBranch(t *testing.T) {
	f := newFixture(t)
	hook := f.endpoint("wh1", domain.FactExpired)
	common := f.fact("expired", "a")
	f.copied(hook)
	gone := f.Do("XADD", f.Keys.Log(0), strconv.FormatInt(f.Now()+60_000, 10)+"-0", "expired", "e1/lost").(string)
	f.copied(hook)
	first := f.take(hook, "s", 10)
	for _, m := range first.Messages {
		f.settled(hook, m, "", 0)
	}
	f.Do("XDEL", f.Keys.Log(0), gone) // a failover lost it, and the clock of the new master is behind
	f.Do("XSETID", f.Keys.Log(0), common)
	f.fact("expired", "b")
	f.Must(f.ledger.ContinueElsewhere(f.Ctx, 0, f.branch(), common, "w"))
	_, lost, err := f.store.Webhooks().Copy(f.Ctx, 0, hook)
	f.Must(err)
	turn := f.take(hook, "s", 10)
	f.wantMessages(turn, 1, "b expired 1")
	if lost != "" {
		t.Errorf("lost since %s", lost)
	}
	f.settled(hook, turn.Messages[0], "", 0)

	// A branch of which nothing is known to be common.
	f.Must(f.ledger.ContinueElsewhere(f.Ctx, 0, f.branch(), "", "w"))
	f.fact("expired", "c")
	_, _, err = f.store.Webhooks().Copy(f.Ctx, 0, hook)
	f.Must(err)
	f.wantMessages(f.take(hook, "s", 10), 1, "c expired 1")
	if _, lost, err := f.store.Webhooks().Copy(f.Ctx, 0, hook); err != nil || lost == "" {
		t.Errorf("nobody is told: %v", err)
	}
}

// An order that was lost, and is given back, is told as what it is then, to whoever asked for that; what became of another one that was lost, too.
func TestWebhookOfWhatIsGivenBack(t *testing.T) {
	f := lossFixture(t)
	f.confirmed("e1", "before", "fred", 1)
	f.WaitUntil(f.Now() + 2)
	hook := f.endpoint("wh1", domain.FactConfirmed, domain.FactCancelled)
	holds := f.endpoint("wh2", domain.FactHeld)
	c := f.lost(func() {
		f.confirmed("e1", "o1", "amy", 2)
		f.held("e1", "o2", "jim", 1, 60_000)
		f.cancel("e1", "before")
	})
	for _, order := range []string{"o1", "o2", "before"} {
		_, err := f.ledger.missing(f.Ctx, ref("e1", order), c("e1", order), true)
		f.Must(err)
	}
	f.copied(hook)
	f.copied(holds)
	f.wantMessages(f.take(hook, "s1", 10), 2, "before cancelled 1", "o1 confirmed 1")
	f.wantMessages(f.take(holds, "s1", 10), 1, "o2 held 1")
}

func TestWebhookEndpoints(t *testing.T) {
	f := newFixture(t)
	webhooks := f.store.Webhooks()
	hook := f.endpoint("wh1", domain.FactExpired)
	f.WantClass(webhooks.Add(f.Ctx, hook, domain.WebhookSecrets{Current: []byte("x")}), domain.ClassReject)
	f.WantClass(webhooks.Add(f.Ctx, domain.Webhook{ID: "wh2", Types: []domain.FactType{"forgotten"}}, domain.WebhookSecrets{}), domain.ClassReject)
	all, err := webhooks.Webhooks(f.Ctx)
	f.Must(err)
	if len(all) != 1 || all[0].ID != "wh1" || all[0].URL != hook.URL {
		t.Fatalf("there are %+v", all)
	}
	// Two rotations: the first secret is none any more.
	for _, secret := range []string{"second", "third"} {
		if _, err := webhooks.Rotate(f.Ctx, "wh1", []byte(secret)); err != nil {
			t.Fatal(err)
		}
	}
	secrets, err := webhooks.Secrets(f.Ctx, "wh1")
	f.Must(err)
	if sign := secrets.Signing(f.Now()); len(sign) != 2 || string(sign[0]) != "third" || string(sign[1]) != "second" {
		t.Errorf("signing are %q", sign)
	}
	if sign := secrets.Signing(secrets.PreviousUntilMillis); len(sign) != 1 || string(sign[0]) != "third" {
		t.Errorf("after the rotation, signing are %q", sign)
	}
	f.Must(webhooks.GiveUp(f.Ctx, hook, domain.WebhookGone))
	if err := webhooks.GiveUp(f.Ctx, hook, domain.WebhookFull); !errors.Is(err, domain.ErrConflict) {
		t.Errorf("given up by what it was: %v", err)
	}
	for _, step := range []struct {
		do   func() error
		want domain.WebhookState
		why  string
	}{
		{func() error { return nil }, domain.WebhookGivenUp, domain.WebhookGone},
		{func() error { return webhooks.Enable(f.Ctx, "wh1") }, domain.WebhookEnabled, ""},
		{func() error { return webhooks.Enable(f.Ctx, "wh1") }, domain.WebhookEnabled, ""},
		{func() error { return webhooks.Disable(f.Ctx, "wh1") }, domain.WebhookDisabled, ""},
	} {
		f.Must(step.do())
		if is, err := webhooks.Webhook(f.Ctx, "wh1"); err != nil || is.State != step.want || is.Why != step.why {
			t.Errorf("it is %+v, %v", is, err)
		}
	}

	// A sender that had not heard of it writes after it was removed.
	f.fact("expired", "a")
	f.copied(hook)
	f.Must(webhooks.Remove(f.Ctx, "wh1"))
	f.copied(hook)
	other := f.endpoint("wh3", domain.FactDeclined)
	f.copied(other)
	f.Must(webhooks.Sweep(f.Ctx, 0))
	keys, err := f.Client.Keys(f.Ctx, f.Keys.Prefix(0)+"webhook*").Result()
	f.Must(err)
	slices.Sort(keys)
	if fields := f.Do("HKEYS", f.Keys.WebhookMarks(0)).([]any); len(fields) != 1 || fields[0] != "wh3" || len(keys) != 1 {
		t.Errorf("left are %v, and %v", keys, fields)
	}
	if err := webhooks.Remove(f.Ctx, "wh1"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := webhooks.Secrets(f.Ctx, "wh1"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("its secrets: %v", err)
	}
}

func TestWebhookTextsThatAreDamaged(t *testing.T) {
	for _, text := range []string{"b", "b|1-0", "b|1|0", "b|1-0|x", "b|x-0|0", "b|1-0|0|0"} {
		if m, err := layout.DecodeWebhookMark(text); err == nil {
			t.Errorf("%q is %+v", text, m)
		}
	}
	for _, m := range [][3]string{{"e1", "1|2", "1-0#1 expired"}, {"e1/o", "1", "1-0#1 expired"}, {"e1/o", "1|2", "expired"}, {"e1/o", "1|2", "1-0#1 other"}} {
		if got, err := layout.DecodeWebhookMessage(m[0], m[1], m[2]); err == nil {
			t.Errorf("%v is %+v", m, got)
		}
	}
}

// A log that was restored counts what was trimmed of it among nothing: the trim mark says that there was more.
func TestWebhookReplayOfARestoredLog(t *testing.T) {
	f := newFixture(t)
	before := f.Now()
	f.WaitUntil(before + 2)
	first := f.fact("expired", "a")
	f.Do("HSET", f.Keys.Events(0), layout.TrimmedField, first)
	f.WaitUntil(f.Now() + 2)
	second := f.fact("expired", "b")
	hook := f.endpoint("wh1", domain.FactExpired)
	f.WantClass(f.store.Webhooks().Replay(f.Ctx, hook.ID, before, f.Now()), domain.ClassReject)
	f.Must(f.store.Webhooks().Replay(f.Ctx, hook.ID, domain.EntryMillis(second), f.Now()))
}

// A message that cannot be read keeps no other one back, and what is removed does not wait.
func TestWebhookMessageThatCannotBeRead(t *testing.T) {
	f := newFixture(t)
	hook := f.endpoint("wh1", domain.FactExpired, domain.FactPaymentDeclined)
	f.fact("payment_declined", "d|1")
	f.fact("expired", "a", "b", "c", "d")
	f.copied(hook)
	f.Do("HSET", f.Keys.WebhookQueue(0, hook.ID), "e1/b", "0|0\ndamaged")
	f.Do("HSET", f.Keys.WebhookQueue(0, hook.ID), "e1/d", "damaged\none\nanother")
	f.wantMessages(f.take(hook, "s", 10), 3, "a expired 1", "c expired 1")
	f.wantMessages(f.take(hook, "s", 10), 3) // the one is put off
	if n := f.Do("HLEN", f.Keys.WebhookQueue(0, hook.ID)); n != int64(3) {
		t.Errorf("%d orders have messages", n)
	}
}
