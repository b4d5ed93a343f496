package streams

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams/redistest"
)

func (f *fixture) wantReplaced(err error) {
	f.Helper()
	if !errors.Is(err, domain.ErrDataReplaced) {
		f.Fatalf("got %v, want %v", err, domain.ErrDataReplaced)
	}
}

// TestVerify: what was in the log and is not any more shows, whatever else there is now.
func TestVerify(t *testing.T) {
	for name, lose := range map[string]func(f *fixture){
		"nothing is left":   func(f *fixture) { f.Do("FLUSHALL") },
		"another namespace": func(f *fixture) { f.Do("HSET", "holdfast:meta", "epoch", "x") },
		"the log is gone":   func(f *fixture) { f.Do("DEL", f.Keys.Log(0)) },
		"the log has other things": func(f *fixture) {
			f.Do("DEL", f.Keys.Log(0))
			was := f.Now() // or the new entry may get the id of the old one
			f.Eventually("the clock went on", func() bool { return f.Now() > was })
			f.Do("XADD", f.Keys.Log(0), "*", "closed", "e9")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", terms(10))
			f.Must(f.ledger.Verify(f.Ctx))
			f.held("e1", "o1", "fred", 1, holdMillis)
			f.Must(f.ledger.Verify(f.Ctx))
			lose(f)
			f.wantReplaced(f.ledger.Verify(f.Ctx))
			f.wantReplaced(f.ledger.Verify(f.Ctx)) // until it is accepted
			f.Must(f.ledger.Accept(f.Ctx, "w1"))
			f.Must(f.ledger.Verify(f.Ctx))
			f.list("e2", terms(10))
			f.held("e2", "o1", "fred", 1, holdMillis)
			f.Must(f.ledger.Verify(f.Ctx))
		})
	}
}

// TestVerifyKnowsWhatWasRead: an entry that a group was given counts as seen at once.
func TestVerifyKnowsWhatWasRead(t *testing.T) {
	f := newFixture(t)
	f.Must(f.ledger.Verify(f.Ctx))
	f.list("e1", terms(10))
	got, err := f.queue(domain.GroupPosting, "w1").Read(f.Ctx, 10, time.Second)
	if err != nil || len(got) != 1 {
		t.Fatalf("read %v, %v", got, err)
	}
	f.Do("XDEL", f.Keys.Log(0), got[0].ID)
	f.wantReplaced(f.ledger.Verify(f.Ctx))
}

// TestOlderCopy: a server that comes back with an older copy of the data is not spoken to,
// on any connection, before that is accepted. Others, who carry nothing over, go on.
func TestOlderCopy(t *testing.T) {
	server := redistest.Start(t)
	f := openFixture(t, server)
	other := openFixture(t, server)
	f.list("e1", terms(10))
	f.Do("SAVE")
	dump := filepath.Join(server.Dir(), "dump.rdb")
	older, err := os.ReadFile(dump)
	f.Must(err)
	f.Must(f.ledger.Verify(f.Ctx))
	f.held("e1", "o1", "fred", 1, holdMillis)
	f.Must(f.ledger.Verify(f.Ctx))

	server.Kill()
	f.Must(os.WriteFile(dump, older, 0o600))
	server.Restart()
	// The log goes on, so that its end looks newer than before.
	other.Eventually("the other store works", func() bool { return other.Client.Ping(other.Ctx).Err() == nil })
	other.list("e2", terms(10))

	_, err = f.checkout.Orders(f.Ctx, []domain.OrderRef{ref("e1", "o1")})
	f.wantReplaced(err)
	_, err = f.queue(domain.GroupWorkers, "w1").Read(f.Ctx, 1, time.Second)
	f.wantReplaced(err)
	f.wantReplaced(f.ledger.Verify(f.Ctx))
	if !strings.Contains(err.Error(), f.Keys.Log(0)) {
		t.Errorf("it does not say what is missing: %v", err)
	}
	f.Must(f.ledger.Accept(f.Ctx, "w1"))
	f.Must(f.ledger.Verify(f.Ctx))
	f.held("e1", "o2", "fred", 1, holdMillis)
	f.wantLogFolds()
}

// TestSameDataAfterRestart: a server that lost nothing is no news.
func TestSameDataAfterRestart(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	f := openFixture(t, server)
	f.list("e1", terms(10))
	f.held("e1", "o1", "fred", 1, holdMillis)
	f.Must(f.ledger.Verify(f.Ctx))
	server.Restart()
	f.Eventually("it works again", func() bool { return f.ledger.Verify(f.Ctx) == nil })
	f.held("e1", "o2", "mary", 1, holdMillis)
}
