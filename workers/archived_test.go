package workers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/streams"
	"holdfast/workers"
)

// bucket is an object store in memory.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte
}

func (s *bucket) Put(_ context.Context, key string, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.objects[key]; there {
		return archive.ErrExists
	}
	s.objects[key] = slices.Clone(body)
	return nil
}

func (s *bucket) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, there := s.objects[key]
	if !there {
		return nil, fmt.Errorf("%s: %w", key, archive.ErrMissing)
	}
	return slices.Clone(body), nil
}

func (s *bucket) List(_ context.Context, prefix string, each func(archive.Object) error) error {
	var found []archive.Object
	s.mu.Lock()
	for key, body := range s.objects {
		if strings.HasPrefix(key, prefix) {
			found = append(found, archive.Object{Key: key, Size: int64(len(body))})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(found, func(a, b archive.Object) int { return strings.Compare(a.Key, b.Key) })
	for _, o := range found {
		if err := each(o); err != nil {
			return err
		}
	}
	return nil
}

func (s *bucket) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
	return nil
}

func (s *bucket) Close() error { return nil }

// bucketOf is a bucket as a worker sees it: each call is a step.
type bucketOf struct {
	*bucket
	process *process
}

func (s bucketOf) Put(ctx context.Context, key string, body []byte) error {
	return s.process.do("bucket put", func() error { return s.bucket.Put(ctx, key, body) }, nil)
}

func (s bucketOf) Get(ctx context.Context, key string) (body []byte, err error) {
	err = s.process.do("bucket get", func() error {
		body, err = s.bucket.Get(ctx, key)
		return err
	}, nil)
	return body, err
}

func (s bucketOf) List(ctx context.Context, prefix string, each func(archive.Object) error) error {
	return s.process.do("bucket list", func() error { return s.bucket.List(ctx, prefix, each) }, nil)
}

// withArchive is for scenes whose workers archive.
func (r *scene) withArchive() {
	r.archive = &bucket{objects: make(map[string][]byte)}
	r.past = r.reader()
	if err := r.rdb().ConfigSet(r.ctx, "stream-node-max-entries", "1").Err(); err != nil { // Redis trims whole nodes
		r.t.Fatalf("configuring Redis: %v", err)
	}
}

// archiving has a worker archive, and trim the log behind what is archived, and part of a snapshot, at once.
func (r *scene) archiving(cfg *workers.Config, s *streams.Store, by *process) func(*workers.Deps) {
	cfg.Roles = append(slices.Clone(workers.Roles), workers.RoleArchive)
	cfg.ArchiveEvery, cfg.TrimsLog = 20*time.Millisecond, true
	return func(d *workers.Deps) {
		a := archive.NewArchiver(s.Ledger(), bucketOf{r.archive, by}, "w")
		a.Keep(domain.KeepLog{For: time.Nanosecond, Bytes: 1 << 40})
		d.Archiver = a
	}
}

func (r *scene) reader() *archive.Reader { return archive.NewReader(r.archive, r.ns) }

func (r *scene) archiveState() domain.ArchiveState {
	r.t.Helper()
	state, err := r.store.Ledger().ArchiveState(r.ctx, 0)
	if err != nil {
		r.t.Fatalf("reading what is archived: %v", err)
	}
	return state
}

func (r *scene) isArchived() bool {
	r.t.Helper()
	end, err := r.rdb().XRevRangeN(r.ctx, r.ns+":{0}:2:log", "+", "-", 1).Result()
	if err != nil {
		r.t.Fatalf("reading the end of the log: %v", err)
	}
	return len(end) == 1 && r.archiveState().Mark.Position == end[0].ID
}

// trimmed takes a snapshot of all that there is, and waits until the log begins with what that ends with.
func (r *scene) trimmed() {
	r.t.Helper()
	r.until("all is archived", r.isArchived)
	if is := r.archiveState().Trimmed; is != r.snapshot {
		r.t.Errorf("the log begins with %q, and the newest snapshot ends with %q", is, r.snapshot)
	}
	if err := r.reader().TakeSnapshots(r.ctx, archive.Options{}, func(is archive.Taken) error {
		r.snapshot = is.Last
		return nil
	}); err != nil {
		r.t.Fatalf("taking a snapshot: %v", err)
	}
	r.until("the log is trimmed", func() bool { return r.archiveState().Trimmed == r.snapshot })
}

// over makes a request one of the event that closeOver closes.
func over(q domain.Request) domain.Request {
	q.EventID = "over"
	return q
}

// closeOver has a person close it, and waits until it is forgotten.
func (r *scene) closeOver() {
	r.command("it is closed", func(events *streams.Events) error {
		_, err := events.Close(r.ctx, "over", domain.Cause{By: "ann"})
		if domain.CodeOf(err) == domain.CodeEventOver { // the reply was lost, and it is so by now
			return nil
		}
		return err
	})
	r.until("it is forgotten", func() bool { return r.isForgotten("over") })
}

// isForgotten reports whether nothing is left of an event, but that there was one, and what is on invoices.
func (r *scene) isForgotten(event string) bool {
	r.t.Helper()
	_, err := r.store.Events().Get(r.ctx, event)
	left, failed := r.rdb().Exists(r.ctx, r.ns+":{0}:2:forgetting").Result()
	if failed != nil {
		r.t.Fatalf("reading what is being forgotten: %v", failed)
	}
	return domain.CodeOf(err) == domain.CodeEventOver && left == 0
}

// judgeArchive compares all that is archived with the log, after the last worker has died.
func (r *scene) judgeArchive() {
	r.bury()
	r.buried.Wait()
	report, err := r.reader().Verify(r.ctx, nil)
	if err == nil {
		err = r.reader().Compare(r.ctx, r.store.Ledger(), 1, &report, nil)
	}
	if err != nil {
		r.t.Errorf("verifying the archive: %v", err)
	}
	for _, f := range report.Faults {
		r.t.Errorf("I11 %s: %s", f.Subject, f.Detail)
	}
	if report.Segments == 0 {
		r.t.Error("nothing is archived")
	}
}
