package archive

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/redis/go-redis/v9"

	"holdfast/archive"
	"holdfast/streams"
	"holdfast/streams/redistest"
)

// store is an S3 in this process that can fail.
type store struct {
	s3  http.Handler
	url string

	mu     sync.Mutex
	broken func(w http.ResponseWriter, r *http.Request, s3 http.Handler) // what the request after so many more meets
	after  int
	met    bool
}

func newStore(t *testing.T) *store {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	backend := s3mem.New()
	if err := backend.CreateBucket("tickets"); err != nil {
		t.Fatal(err)
	}
	s := &store{s3: gofakes3.New(backend).Server()}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = "s3://tickets/live?region=us-east-1&use_path_style=true&endpoint=" + server.URL
	return s
}

// open opens it as an archive, until the test ends.
func (s *store) open(t *testing.T) archive.Bucket {
	t.Helper()
	bucket, err := archive.Open(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bucket.Close() })
	return bucket
}

// next has the request after so many more meet a fault. It is met once, but for what retries it at once.
func (s *store) next(after int, broken func(http.ResponseWriter, *http.Request, http.Handler)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken, s.after, s.met = broken, after, false
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	broken := s.broken
	if broken != nil && s.after > 0 {
		s.after--
		broken = nil
	}
	if broken != nil {
		s.broken, s.met = nil, true
	}
	s.mu.Unlock()
	if broken == nil {
		s.s3.ServeHTTP(w, r)
		return
	}
	broken(w, r, s.s3)
}

func (s *store) wasMet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.met
}

func failed(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>on purpose</Message></Error>`, code)
}

// gone cuts the connection: nobody learns what came of the request.
func gone() { panic(http.ErrAbortHandler) }

// faults are what can become of one request.
var faults = map[string]func(w http.ResponseWriter, r *http.Request, s3 http.Handler){
	"500, not done": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		failed(w, http.StatusInternalServerError, "InternalError")
	},
	"500, done": func(w http.ResponseWriter, r *http.Request, s3 http.Handler) {
		s3.ServeHTTP(httptest.NewRecorder(), r)
		failed(w, http.StatusInternalServerError, "InternalError")
	},
	"412 after it was done": func(w http.ResponseWriter, r *http.Request, s3 http.Handler) {
		if r.Method != http.MethodPut {
			s3.ServeHTTP(w, r)
			return
		}
		s3.ServeHTTP(httptest.NewRecorder(), r)
		failed(w, http.StatusPreconditionFailed, "PreconditionFailed")
	},
	"409 of a write at the same time": func(w http.ResponseWriter, r *http.Request, s3 http.Handler) {
		if r.Method != http.MethodPut {
			s3.ServeHTTP(w, r)
			return
		}
		failed(w, http.StatusConflict, "ConditionalRequestConflict")
	},
	"the connection is cut, not done": func(http.ResponseWriter, *http.Request, http.Handler) { gone() },
	"the connection is cut, done": func(_ http.ResponseWriter, r *http.Request, s3 http.Handler) {
		s3.ServeHTTP(httptest.NewRecorder(), r)
		gone()
	},
	"the reply is cut": func(w http.ResponseWriter, r *http.Request, s3 http.Handler) {
		answer := httptest.NewRecorder()
		s3.ServeHTTP(answer, r)
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		body := answer.Body.Bytes()
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(answer.Code)
		_, _ = w.Write(body[:len(body)/2])
		gone()
	},
	"slow: nobody waits for it, and it is done": func(_ http.ResponseWriter, r *http.Request, s3 http.Handler) {
		late := r.Clone(context.WithoutCancel(r.Context()))
		s3.ServeHTTP(httptest.NewRecorder(), late)
		<-r.Context().Done()
		gone()
	},
	"404 of what is there": func(w http.ResponseWriter, r *http.Request, s3 http.Handler) {
		if r.Method != http.MethodGet {
			s3.ServeHTTP(w, r)
			return
		}
		failed(w, http.StatusNotFound, "NoSuchKey")
	},
}

// shop is a namespace of one partition, whose log is written by hand.
type shop struct {
	t     *testing.T
	store *streams.Store
	rdb   redis.UniversalClient
	name  string
}

func newShop(t *testing.T, server *redistest.Server, name string) *shop {
	t.Helper()
	store, err := streams.Open(t.Context(), "redis://"+server.Addr(), streams.Options{Namespace: name, Partitions: 1, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	rdb := server.Client()
	t.Cleanup(func() { _, _ = store.Close(), rdb.Close() })
	return &shop{t, store, rdb, name}
}

func (s *shop) add(fields ...string) {
	s.t.Helper()
	s.addAt("*", fields...)
}

func (s *shop) addAt(id string, fields ...string) {
	s.t.Helper()
	if err := s.rdb.XAdd(s.t.Context(), &redis.XAddArgs{Stream: s.name + ":{0}:2:log", ID: id, Values: fields}).Err(); err != nil {
		s.t.Fatal(err)
	}
}

// patience is how long a call of the archiver may take here: the one fault that is slow takes as long.
const patience = 500 * time.Millisecond

// archive archives until nothing is left to do.
func (s *shop) archive(bucket archive.Bucket, who string) {
	s.t.Helper()
	a := archive.NewArchiver(s.store.Ledger(), bucket, who)
	var err error
	for range 50 {
		ctx, cancel := context.WithTimeout(s.t.Context(), patience)
		var more bool
		more, err = a.Archive(ctx, 0)
		cancel()
		if err == nil && !more {
			return
		}
	}
	s.t.Fatalf("it is never archived: %v", err)
}

// snapshot tries to take a snapshot, once, for so long.
func (s *shop) snapshot(bucket archive.Bucket, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	return archive.NewReader(bucket, s.name).TakeSnapshots(ctx, archive.Options{}, func(archive.Taken) error { return nil })
}

func (s *shop) verify(bucket archive.Bucket) archive.Report {
	s.t.Helper()
	r := archive.NewReader(bucket, s.name)
	report, err := r.Verify(s.t.Context(), nil)
	if err == nil {
		err = r.Compare(s.t.Context(), s.store.Ledger(), 1, &report, nil)
	}
	if err != nil || !report.OK {
		s.t.Errorf("%v, %+v", err, report)
	}
	return report
}

// Whatever becomes of whichever request, each fact is archived once, in order.
func TestFaultsOfS3(t *testing.T) {
	server, s3 := redistest.Start(t), newStore(t)
	bucket := s3.open(t)
	n := 0
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			for after := range 6 {
				n++
				shop := newShop(t, server, "shop"+strconv.Itoa(n))
				shop.add("expired", "e1/o1")
				s3.next(after, fault)
				for i := range 4 {
					shop.add("expired", fmt.Sprintf("e1/p%d", i))
					shop.archive(bucket, "w"+strconv.Itoa(i%2))
				}
				if !s3.wasMet() {
					t.Fatalf("nothing met the fault after %d requests", after)
				}
				if report := shop.verify(bucket); report.Facts != 5 || report.Branches != 1 {
					t.Errorf("after %d requests: %+v", after, report)
				}
			}
		})
	}
}

// Whatever becomes of whichever request, there is no snapshot that is not whole, and the next try takes it.
func TestSnapshotsWhileS3Fails(t *testing.T) {
	server, s3 := redistest.Start(t), newStore(t)
	bucket := s3.open(t)
	n := 0
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			met := 0
			for after := 0; ; after++ {
				n++
				shop := newShop(t, server, "snapped"+strconv.Itoa(n))
				shop.add("rejected", "e9/o1|p|b083c26c75bd146e|fred|stalls:1:0|unknown_event|")
				shop.archive(bucket, "w")
				s3.next(after, fault)
				failed := shop.snapshot(bucket, 2*patience)
				if !s3.wasMet() {
					break
				}
				met++
				if report := shop.verify(bucket); failed == nil && report.Snapshots != 1 {
					t.Errorf("after %d requests it is taken, and there is none: %+v", after, report)
				}
				if err := shop.snapshot(bucket, time.Minute); err != nil {
					t.Errorf("after %d requests: %v; then %v", after, failed, err)
				}
				if report := shop.verify(bucket); report.Snapshots != 1 {
					t.Errorf("after %d requests: %+v", after, report)
				}
			}
			if met < 8 {
				t.Errorf("%d requests met the fault: this tests less than it says", met)
			}
		})
	}
}

// compact makes large segments, and removes the small ones at once.
func (s *shop) compact(bucket archive.Bucket, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	return archive.NewReader(bucket, s.name).Compact(ctx, archive.CompactOptions{}, func(is archive.Compacted) error {
		if len(is.Faults) > 0 {
			return fmt.Errorf("%+v", is.Faults)
		}
		return nil
	})
}

// Whatever becomes of whichever request, nothing is lost, and the next try leaves what is to be left.
func TestCompactingWhileS3Fails(t *testing.T) {
	server, s3 := redistest.Start(t), newStore(t)
	bucket := s3.open(t)
	n := 0
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			met := 0
			for after := 0; ; after++ {
				n++
				shop := newShop(t, server, "compacted"+strconv.Itoa(n))
				for i := range 4 {
					shop.addAt(fmt.Sprint(1_700_000_000_000+i, "-0"), "expired", "e1/o"+strconv.Itoa(i))
					shop.archive(bucket, "w")
				}
				s3.next(after, fault)
				failed := shop.compact(bucket, 2*patience)
				if !s3.wasMet() {
					break
				}
				met++
				if report := shop.verify(bucket); report.Facts != 4 {
					t.Errorf("after %d requests: %v; %+v", after, failed, report)
				}
				if err := shop.compact(bucket, time.Minute); err != nil {
					t.Errorf("after %d requests: %v; then %v", after, failed, err)
				}
				if report := shop.verify(bucket); report.Facts != 4 || report.Segments != 3 || report.Replaced != 0 {
					t.Errorf("after %d requests: %v; then %+v", after, failed, report)
				}
			}
			if met < 8 {
				t.Errorf("%d requests met the fault: this tests less than it says", met)
			}
		})
	}
}

// The archiver dies before, or after, any of its requests, and another one goes on.
func TestArchiversThatDie(t *testing.T) {
	server, s3 := redistest.Start(t), newStore(t)
	bucket := s3.open(t)
	for after := range 4 {
		for _, done := range []bool{false, true} {
			shop := newShop(t, server, fmt.Sprintf("shop%d%t", after, done))
			shop.add("expired", "e1/o1")
			ctx, die := context.WithCancel(t.Context())
			s3.next(after, func(_ http.ResponseWriter, r *http.Request, s3 http.Handler) {
				if done {
					s3.ServeHTTP(httptest.NewRecorder(), r)
				}
				die()
				gone()
			})
			dead := archive.NewArchiver(shop.store.Ledger(), bucket, "dead")
			for range 3 {
				if _, err := dead.Archive(ctx, 0); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
					t.Fatal(err)
				}
				shop.add("expired", "e1/o2")
			}
			die()
			s3.next(0, nil)
			shop.archive(bucket, "next")
			if report := shop.verify(bucket); report.Facts != 4 || report.Branches != 1 {
				t.Errorf("died at request %d, done %t: %+v", after, done, report)
			}
		}
	}
}

// Of many that archive the same at once, none overwrites what another one has written.
func TestArchiversAtOnce(t *testing.T) {
	server, s3 := redistest.Start(t), newStore(t)
	bucket := s3.open(t)
	shop := newShop(t, server, "shop")
	const many, facts = 4, 60
	var working sync.WaitGroup
	for i := range many {
		working.Go(func() {
			a := archive.NewArchiver(shop.store.Ledger(), bucket, "w"+strconv.Itoa(i))
			for ctx := t.Context(); ctx.Err() == nil; {
				_, err := a.Archive(ctx, 0)
				state, failed := shop.store.Ledger().ArchiveState(ctx, 0)
				if err != nil || failed != nil {
					t.Errorf("%v, %v", err, failed)
					return
				}
				end := shop.rdb.XRevRangeN(ctx, "shop:{0}:2:log", "+", "-", 1).Val()
				if len(end) == 1 && state.Mark.Position == end[0].ID && shop.rdb.XLen(ctx, "shop:{0}:2:log").Val() == facts {
					return
				}
			}
		})
	}
	for i := range facts {
		shop.add("expired", "e1/o"+strconv.Itoa(i))
	}
	working.Wait()
	if report := shop.verify(bucket); report.Facts != facts || report.Branches != 1 {
		t.Errorf("%+v", report)
	}
}

// Objects of a store that speaks S3, through the same interface as files.
func TestBucketOfS3(t *testing.T) {
	s3 := newStore(t)
	ctx := t.Context()
	bucket, err := archive.Open(ctx, s3.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bucket.Close() }()
	if err := bucket.Put(ctx, "a/1", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := bucket.Put(ctx, "a/1", []byte("two")); !errors.Is(err, archive.ErrExists) {
		t.Errorf("written twice: %v", err)
	}
	if body, err := bucket.Get(ctx, "a/1"); err != nil || string(body) != "one" {
		t.Errorf("%q, %v", body, err)
	}
	if _, err := bucket.Get(ctx, "a/2"); !errors.Is(err, archive.ErrMissing) {
		t.Errorf("what is missing: %v", err)
	}
	if err := bucket.Put(ctx, "b/1", nil); err != nil {
		t.Fatal(err)
	}
	var keys []string
	if err := bucket.List(ctx, "a/", func(o archive.Object) error {
		keys = append(keys, o.Key)
		return nil
	}); err != nil || !slices.Equal(keys, []string{"a/1"}) {
		t.Errorf("listed %v, %v", keys, err)
	}
	for range 2 { // the second time there is none
		if err := bucket.Delete(ctx, "b/1"); err != nil {
			t.Errorf("removed: %v", err)
		}
		if _, err := bucket.Get(ctx, "b/1"); !errors.Is(err, archive.ErrMissing) {
			t.Errorf("what was removed: %v", err)
		}
	}
	if err := bucket.List(ctx, "", func(o archive.Object) error {
		if age := time.Since(o.Written); o.Key != "a/1" || age < -time.Minute || age > time.Hour {
			t.Errorf("listed %+v", o)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	s3.next(0, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		failed(w, http.StatusForbidden, "AccessDenied")
	})
	if _, err := bucket.Get(ctx, "a/1"); err == nil || errors.Is(err, archive.ErrMissing) || strings.Contains(err.Error(), "secret") {
		t.Errorf("what is denied: %v", err)
	}
}
