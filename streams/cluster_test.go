package streams

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
	"holdfast/streams/redistest"
)

func purchases(events int) (batch []domain.Request) {
	for i := range events {
		batch = append(batch, domain.Request{
			Type: domain.RequestPurchase, EventID: fmt.Sprintf("e%d", i), OrderID: "o", CustomerID: "c", Quantity: 1, PaymentToken: "t",
		})
	}
	return batch
}

// confirmedBy checks that all are in the stream, and how many replicas had them.
func (f *fixture) confirmedBy(want int, results []domain.Appended) {
	f.Helper()
	for _, a := range results {
		if a.Err != nil || a.EntryID == "" || a.Replicas != want {
			f.Errorf("%+v, want it published and confirmed by %d", a, want)
		}
	}
}

// How many replicas have an entry is told, and too few are no error.
func TestAppendWaitsForReplicas(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, "--repl-diskless-sync-delay", "0")
	replica := redistest.Start(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(master.Port()))
	f := openFixture(t, master)
	f.Eventually("the replica is in sync", func() bool {
		return strings.Contains(layout.AsString(f.Do("INFO", "replication")), "state=online")
	})
	batch := purchases(3)
	f.confirmedBy(0, f.checkout.Append(f.Ctx, batch, domain.Confirmation{}))
	f.confirmedBy(1, f.checkout.Append(f.Ctx, batch, domain.Confirmation{Replicas: 1, Timeout: 30 * time.Second}))
	f.confirmedBy(1, f.checkout.Append(f.Ctx, batch, domain.Confirmation{Replicas: 2, Timeout: time.Second}))
	replica.Kill()
	f.confirmedBy(0, f.checkout.Append(f.Ctx, batch, domain.Confirmation{Replicas: 1, Timeout: 50 * time.Millisecond}))
	if n := f.Do("XLEN", f.Keys.Requests(0)); layout.AsInt(n) != 12 {
		t.Errorf("%v entries, want 12", n)
	}
	// Longer than the client otherwise waits for a reply.
	rdb := f.Client.(*redis.Client)
	impatient := &Store{rdb: rdb.WithTimeout(2 * time.Second), keys: f.Keys, partitions: 1}
	f.confirmedBy(0, impatient.Checkout().Append(f.Ctx, batch, domain.Confirmation{Replicas: 1, Timeout: 2500 * time.Millisecond}))
	// Nothing is confirmed that is not published.
	f.Do("CONFIG", "SET", "maxmemory", "1")
	for _, a := range f.checkout.Append(f.Ctx, batch, domain.Confirmation{Replicas: 1, Timeout: 50 * time.Millisecond}) {
		f.WantClass(a.Err, domain.ClassRetry)
		if a.Replicas != 0 || a.EntryID != "" {
			t.Errorf("refused, but %+v", a)
		}
	}
}

// In a cluster each master waits for its own replica, and where a slot is on its
// way, or has moved, requests are published all the same.
func TestAppendWaitsForReplicasOfACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	seen := new(pipelines)
	f := openedFixture(t, cluster.URL(), Options{Create: true, Hook: seen})
	ctx := f.Ctx
	batch := purchases(20) // in all four partitions
	confirm := domain.Confirmation{Replicas: 1, Timeout: 30 * time.Second}
	f.confirmedBy(1, f.checkout.Append(ctx, batch, confirm))
	if n := seen.waits.Load(); n < 2 || n > 3 {
		t.Errorf("the hook saw WAIT %d times, want once for each master that has a partition", n)
	}
	slot := cluster.Slot("{0}")
	for _, master := range cluster.Masters() {
		if master == cluster.MasterOf(slot) {
			continue
		}
		cluster.OpenSlot(slot, master) // on its way: the stream may be here or there
		f.published(f.checkout.Append(ctx, batch, confirm))
		cluster.MoveSlot(slot, master)
		f.published(f.checkout.Append(ctx, batch, confirm))
		f.Eventually("the client knows the new master", func() bool {
			results := f.checkout.Append(ctx, batch, confirm)
			f.published(results)
			for _, a := range results {
				if a.Replicas != 1 {
					return false
				}
			}
			return true
		})
	}
}

// While a slot moves, a key that is not there (any more) is asked for elsewhere, which ends a script half way: so none takes out of a key what was all that
// it had, and then writes to it.
func TestScriptsInASlotThatMoves(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 2)
	f := openedFixture(t, cluster.URL(), Options{Create: true})
	ctx := f.Ctx
	entry := domain.Entry{ID: "5-0", Fields: []string{"held", "e/o"}}
	from := domain.ArchiveMark{Branch: "b", Position: "4-0", Segment: "s", Hash: "h"}
	to := from
	to.Position = entry.ID
	owed := domain.Owed{Ref: domain.OrderRef{EventID: "e", OrderID: "o"}, FactID: "5-0#1", Attempts: 1}
	f.Do("HSET", f.Keys.Events(0), layout.BranchField, "b")
	f.Do("XADD", f.Keys.Log(0), entry.ID, entry.Fields[0], entry.Fields[1])
	f.Do("SET", f.Keys.Archived(0), layout.EncodeArchived(from))
	f.Do("ZADD", f.Keys.Owed(0), "1", owed.Ref.String())
	f.Do("HSET", f.Keys.OwedNotes(0), owed.Ref.String(), layout.EncodeOwedNote(owed))
	f.Do("XADD", f.Keys.Dead(0), "*", "a", "b")
	slot := cluster.Slot("{0}")
	for _, master := range cluster.Masters() {
		if master != cluster.MasterOf(slot) {
			cluster.OpenSlot(slot, master)
			break
		}
	}
	if moved, err := f.ledger.Advance(ctx, 0, from, to, entry); err != nil || !moved {
		t.Errorf("the mark: %t, %v", moved, err)
	}
	if is := layout.AsString(f.Do("GET", f.Keys.Archived(0))); is != layout.EncodeArchived(to) {
		t.Errorf("the mark is %q", is)
	}
	if err := f.ledger.OweAgain(ctx, 0, owed, domain.Unsettled{Owed: owed, Due: time.Hour}); err != nil {
		t.Errorf("what is owed: %v", err)
	}
	if due := layout.AsString(f.Do("ZSCORE", f.Keys.Owed(0), owed.Ref.String())); due == "1" || due == "" {
		t.Errorf("what is owed is due at %q", due)
	}
}

// A connection that breaks under a read of a cluster is an error, after which a worker
// looks for entries whose delivery was lost. The client would just read again.
func TestReadOfAClusterTellsThatItsConnectionBroke(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	f := openedFixture(t, cluster.URL(), Options{Create: true})
	ctx := f.Ctx
	queue, err := f.store.Queue(0, domain.GroupWorkers, "w")
	if err != nil {
		t.Fatal(err)
	}
	master := cluster.MasterOf(cluster.Slot("{0}")).Client()
	defer func() { _ = master.Close() }()
	if _, err := queue.Read(ctx, 1, time.Second); err != nil { // finds its way
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := queue.Read(ctx, 1, time.Second)
		read <- err
	}()
	f.Eventually("the read blocks", func() bool {
		return strings.Contains(master.Info(ctx, "clients").Val(), "blocked_clients:1")
	})
	f.Must(master.ClientKillByFilter(ctx, "TYPE", "normal", "SKIPME", "yes").Err())
	f.WantClass(<-read, domain.ClassRetry)
}

func (f *fixture) published(results []domain.Appended) {
	f.Helper()
	for _, a := range results {
		if a.Err != nil || a.EntryID == "" {
			f.Errorf("%+v, want it published", a)
		}
	}
}

// pipelines counts the pipelines with a WAIT at the end.
type pipelines struct{ waits atomic.Int64 }

func (p *pipelines) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (p *pipelines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (p *pipelines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if strings.EqualFold(cmds[len(cmds)-1].Name(), "wait") {
			p.waits.Add(1)
		}
		return next(ctx, cmds)
	}
}
