package webhooks

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/redistest"
)

// world is a namespace of two partitions on a Redis of the test's own.
type world struct {
	*testing.T
	ctx    context.Context
	server *redistest.Server
	rdb    *redis.Client
	store  *streams.Store
}

func newWorld(t *testing.T, args ...string) *world {
	t.Helper()
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	server := redistest.Start(t, args...)
	store, err := streams.Open(ctx, server.URL(), streams.Options{Create: true, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	rdb := server.Client()
	t.Cleanup(func() { _ = store.Close(); _ = rdb.Close() })
	return &world{t, ctx, server, rdb, store}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) eventually(what string, done func() bool) {
	w.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); {
		if time.Now().After(deadline) {
			w.Fatalf("waited in vain until %s", what)
		}
		_, _ = w.rdb.Ping(w.ctx).Result()
	}
}

// quick are the pauses of tests.
func quick() Config {
	return Config{
		Every: 5 * time.Millisecond, Timeout: time.Second, FirstPause: 5 * time.Millisecond, MostPause: 50 * time.Millisecond, MostRest: 20 * time.Millisecond,
		Lease: 200 * time.Millisecond,
	}
}

// begin starts a sender, which ends with the test, or when it is told to.
func (w *world) begin(cfg Config, name string, queues domain.WebhookQueues) (stop func()) {
	reading, end := context.WithCancel(w.ctx)
	s := NewSender(cfg, Deps{
		Queues: queues, Orders: w.orders, Now: w.store.Now, Partitions: w.store.Partitions(), Name: name, Log: nopLog(),
		View: func(_ context.Context, ref domain.OrderRef, o domain.Order) (any, error) {
			if ref.OrderID == "unshown" {
				return nil, domain.WithClass(domain.ClassPoison, errors.New("an order cannot be shown"))
			}
			return map[string]string{"order_id": ref.OrderID, "state": o.State.String()}, nil
		},
	})
	var ended sync.WaitGroup
	ended.Go(func() { s.Run(reading, w.ctx) })
	stop = func() { end(); ended.Wait() }
	w.Cleanup(stop)
	return stop
}

// orders are held, all of them, but for those that are forgotten; those that are damaged cannot be read.
func (w *world) orders(ctx context.Context, refs []domain.OrderRef) ([]domain.Order, error) {
	now, err := w.store.Now(ctx)
	orders := make([]domain.Order, len(refs))
	for i, ref := range refs {
		if ref.OrderID == "damaged" {
			return nil, domain.WithClass(domain.ClassPoison, errors.New("an order is damaged"))
		}
		if ref.OrderID != "forgotten" {
			orders[i] = domain.Order{State: domain.OrderHeld, Version: strconv.FormatInt(now.UnixMilli(), 10) + "-0"}
		}
	}
	return orders, err
}

func (w *world) sender(cfg Config) { w.begin(cfg, "sender", w.store.Webhooks()) }

// endpoint adds one that is told of all facts of these types. Its secret is its id.
func (w *world) endpoint(url string, types ...domain.FactType) string {
	w.Helper()
	if len(types) == 0 {
		types = []domain.FactType{domain.FactPaying, domain.FactPaymentDeclined, domain.FactExpired}
	}
	now, err := w.store.Now(w.ctx)
	w.must(err)
	hook := domain.Webhook{ID: NewID(), URL: url, Types: types, AllowPrivate: true, State: domain.WebhookEnabled, SinceMillis: now.UnixMilli(), FromMillis: now.UnixMilli()}
	w.must(w.store.Webhooks().Add(w.ctx, hook, domain.WebhookSecrets{Current: []byte(hook.ID)}))
	return hook.ID
}

// fact adds a log entry about orders of an event: what it says of them the log has, what they are the test says.
func (w *world) fact(eventID string, kind domain.FactType, orders ...string) {
	w.Helper()
	data := map[domain.FactType]string{domain.FactPaying: "|1|f", domain.FactPaymentDeclined: "|1", domain.FactExpired: "", domain.FactLapsed: "|1000"}[kind]
	var lines []string
	for _, id := range orders {
		lines = append(lines, eventID+"/"+id+data)
	}
	log := fmt.Sprintf("holdfast:{%d}:2:log", w.store.Partition(eventID))
	w.must(w.rdb.XAdd(w.ctx, &redis.XAddArgs{Stream: log, Values: []string{string(kind), strings.Join(lines, "\n")}}).Err())
}

func (w *world) state(id string) (domain.WebhookState, string) {
	w.Helper()
	hook, err := w.store.Webhooks().Webhook(w.ctx, id)
	w.must(err)
	return hook.State, hook.Why
}

// waiting is how many messages wait for an endpoint.
func (w *world) waiting(id string) (n int64) {
	w.Helper()
	for p := range w.store.Partitions() {
		waits, err := w.rdb.HGet(w.ctx, fmt.Sprintf("holdfast:{%d}:2:webhook_marks", p), id+"#waiting").Int64()
		if err != nil && !errors.Is(err, redis.Nil) {
			w.Fatal(err)
		}
		n += waits
	}
	return n
}

// got is a message as a receiver has it.
type got struct {
	id, kind, order, state, revision, fact string
	signatures                             string
	at                                     time.Time
}

// receiver takes messages, or does what it is told with them.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	all  []got // that were taken
	seen int
}

// receiveLater starts one that answers with a status until it is well.
func (w *world) receiveLater(status int) (r *receiver, well *atomic.Bool) {
	well = new(atomic.Bool)
	return w.receive(func(_ int, _ got, to http.ResponseWriter, _ *http.Request) bool {
		if !well.Load() {
			to.WriteHeader(status)
		}
		return !well.Load()
	}), well
}

// receive starts one. do answers, if it is not nil, and reports whether it has; what it has not answered is taken.
func (w *world) receive(do func(n int, m got, to http.ResponseWriter, r *http.Request) bool) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(to http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		m := got{id: req.Header.Get("webhook-id"), signatures: req.Header.Get("webhook-signature"), at: time.Now()}
		var said struct {
			Type string
			Data struct {
				Fact, Revision string
				Order          struct {
					ID    string `json:"order_id"`
					State string
				}
			}
		}
		if err := json.Unmarshal(body, &said); err != nil {
			w.Errorf("it got %q", body)
		}
		m.kind, m.order, m.state, m.revision, m.fact = said.Type, said.Data.Order.ID, said.Data.Order.State, said.Data.Revision, said.Data.Fact
		if m.signatures == "" || !strings.Contains(req.Header.Get("content-type"), "application/json") {
			w.Errorf("it has the headers %v", req.Header)
		}
		m.signatures += "\n" + req.Header.Get("webhook-timestamp") + "\n" + string(body)
		r.mu.Lock()
		r.seen++
		n := r.seen
		r.mu.Unlock()
		if do != nil && do(n, m, to, req) {
			return
		}
		r.mu.Lock()
		r.all = append(r.all, m)
		r.mu.Unlock()
	}))
	w.Cleanup(func() { r.CloseClientConnections(); r.Close() })
	return r
}

func (r *receiver) got() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

func (r *receiver) taken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

func (r *receiver) tries() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// byOrder are the types that were taken of each order, without those that came again.
func (r *receiver) byOrder() map[string][]string {
	all, seen := make(map[string][]string), make(map[string]bool)
	for _, m := range r.got() {
		if !seen[m.id] {
			seen[m.id] = true
			all[m.order] = append(all[m.order], m.kind)
		}
	}
	return all
}

// verify checks a message as a receiver does that knows a secret, written from the specification.
func verify(m got, secret string) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	parts := strings.SplitN(m.signatures, "\n", 3)
	at, failed := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || failed != nil || !strings.HasPrefix(secret, "whsec_") || time.Since(time.Unix(at, 0)).Abs() > 5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(m.id + "." + parts[1] + "." + parts[2]))
	for _, signature := range strings.Fields(parts[0]) {
		version, value, _ := strings.Cut(signature, ",")
		if is, err := base64.StdEncoding.DecodeString(value); err == nil && version == "v1" && hmac.Equal(is, mac.Sum(nil)) {
			return true
		}
	}
	return false
}
