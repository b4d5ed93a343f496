package inspect

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
)

// TestRedriveRequest: it comes back as a new entry, once.
func TestRedriveRequest(t *testing.T) {
	f := newFixture(t)
	fields := []string{"v", "1", "type", "purchase", "event_id", "e1", "order_id", "o1", "payment_token", "tok", "x\x00", "\xff\n"}
	old := f.Publish(fields)
	f.Deliver(domain.GroupWorkers, "w1")
	f.Must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.Ctx, []domain.DeadEntry{{ID: old, Reason: "r"}}))
	if n, err := f.store.Ledger().Trim(f.Ctx, 0); n != 1 || err != nil { // the old entry is gone meanwhile
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
	f.Add(strings.Join([]string{"stream", "requests", "group", "workers", "entry_id", "1-1", "reason", "r", "deliveries", "3", "at", "1", "fields", "1:a,1:b,"}, separator))
	f.Add(strings.Join([]string{"v", "1", "type", "pay", wire.FieldPaymentToken, secret}, separator))
	f.Add(strings.Join([]string{"fields", "13:payment_token,13:tok-visa-4242,", "at", "x"}, separator))
	f.Add("")
	f.Fuzz(func(t *testing.T, data string) {
		fields := strings.Split(data, separator)
		fields = fields[:len(fields)&^1]
		wrapped := []string{"stream", "requests", "group", "workers", "fields", streamstest.Netstrings(fields)}
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
