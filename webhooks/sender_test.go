package webhooks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams"
)

func nopLog() *zap.Logger { return zap.NewNop() }

// The vector of the Standard Webhooks specification.
func TestSignature(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	key := make([]byte, 0, 24)
	key = append(key, 0x31, 0xf2, 0x90, 0xf6, 0xbf, 0x06, 0x29, 0x8a, 0xab, 0x4f, 0x08, 0xd4, 0x3c, 0x3f, 0x08, 0x2c, 0xf6, 0x48, 0xa3, 0x62, 0xda, 0x2d, 0xa4, 0xb0)
	if SecretText(key) != secret {
		t.Fatalf("the secret is %s", SecretText(key))
	}
	got := sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signed %s, want %s", got, want)
	}
}

func TestMessagesAreSignedAndRotated(t *testing.T) {
	w := newWorld(t)
	r := w.receive(nil)
	id := w.endpoint(r.URL)
	w.sender(quick())
	w.fact("e1", domain.FactPaying, "a")
	w.eventually("the first has come", func() bool { return len(r.got()) == 1 })
	m := r.got()[0]
	if m.kind != "order.paying" || m.order != "a" || m.state != "held" || m.revision == "" || !strings.HasSuffix(m.fact, "#1") || m.id == "" {
		t.Errorf("it got %+v", m)
	}
	old, other := SecretText([]byte(id)), []byte("another one, as long as they are")
	if !verify(m, old) || verify(m, SecretText(other)) {
		t.Errorf("signatures: %s", m.signatures)
	}
	_, err := w.store.Webhooks().Rotate(w.ctx, id, other)
	w.must(err)
	w.fact("e1", domain.FactExpired, "a")
	w.eventually("the second has come", func() bool { return len(r.got()) == 2 })
	if m := r.got()[1]; !verify(m, old) || !verify(m, SecretText(other)) {
		t.Errorf("signatures while it is rotated: %s", m.signatures)
	}
}

// An endpoint that answers in every bad way there is gets all messages in the end, those of each order in order, and while one of an order has
// not been taken no later one of it comes.
func TestOrderPerOrder(t *testing.T) {
	w := newWorld(t)
	kinds := []domain.FactType{domain.FactPaying, domain.FactPaymentDeclined, domain.FactExpired}
	var wrong atomic.Int64
	var r *receiver
	r = w.receive(func(n int, m got, to http.ResponseWriter, req *http.Request) bool {
		if done := r.byOrder()[m.order]; len(done) < len(kinds) && m.kind != "order."+string(kinds[len(done)]) && !slices.Contains(done, m.kind) {
			wrong.Add(1)
		}
		switch rand.IntN(6) {
		case 0:
			to.WriteHeader(http.StatusInternalServerError)
		case 1:
			http.Redirect(to, req, "/elsewhere", http.StatusFound)
		case 2:
			panic(http.ErrAbortHandler) // a reset
		case 3:
			if n%5 == 0 { // hangs for longer than anybody waits
				<-req.Context().Done()
				return true
			}
			return false
		default:
			return false
		}
		return true
	})
	w.endpoint(r.URL)
	cfg := quick()
	cfg.Timeout = 100 * time.Millisecond
	w.sender(cfg)
	want := make(map[string][]string)
	for _, kind := range kinds {
		for _, event := range []string{"e1", "e2", "e3"} {
			orders := []string{event + "a", event + "b", event + "c"}
			w.fact(event, kind, orders...)
			for _, order := range orders {
				want[order] = append(want[order], "order."+string(kind))
			}
		}
	}
	w.eventually("all have come", func() bool { return len(r.got()) >= 27 && fmt.Sprint(r.byOrder()) == fmt.Sprint(want) })
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d came while one before was not taken: %v", n, r.byOrder())
	}
	if strings.Contains(fmt.Sprint(r.got()), "elsewhere") {
		t.Error("a redirect was followed")
	}
}

// dying is what a sender works with that dies at one of its steps, before or after that is done.
type dying struct {
	domain.WebhookQueues
	at    int64
	after bool
	n     atomic.Int64
	dead  func()
}

var errDied = errors.New("the sender is dead")

func (d *dying) step(do func() error) error {
	n := d.n.Add(1)
	if n > d.at || n == d.at && !d.after {
		d.dead()
		return errDied
	}
	err := do()
	if n == d.at {
		d.dead()
		return errDied
	}
	return err
}

func (d *dying) Copy(ctx context.Context, p int, w domain.Webhook) (more bool, lost string, err error) {
	err = d.step(func() (err error) { more, lost, err = d.WebhookQueues.Copy(ctx, p, w); return err })
	return more, lost, err
}

func (d *dying) Take(ctx context.Context, p int, id, sender string, most int, lease, hold time.Duration) (turn domain.WebhookTurn, err error) {
	if lease == 0 {
		return turn, errDied // the dead do not leave in order
	}
	err = d.step(func() (err error) {
		turn, err = d.WebhookQueues.Take(ctx, p, id, sender, most, lease, hold)
		return err
	})
	return turn, err
}

func (d *dying) Settle(ctx context.Context, p int, id string, m domain.WebhookMessage, try domain.WebhookTry, again time.Duration) error {
	return d.step(func() error { return d.WebhookQueues.Settle(ctx, p, id, m, try, again) })
}

// Senders die one after the other, each at a later step than the one before: all messages come, in order.
func TestSendersThatDie(t *testing.T) {
	w := newWorld(t)
	r := w.receive(nil)
	id := w.endpoint(r.URL)
	kinds := []domain.FactType{domain.FactPaying, domain.FactPaymentDeclined, domain.FactExpired}
	for _, kind := range kinds {
		w.fact("e1", kind, "a", "b", "c", "d")
	}
	cfg := quick()
	cfg.Timeout, cfg.Lease = 50*time.Millisecond, 10*time.Millisecond
	for at := range int64(16) {
		for _, after := range []bool{false, true} {
			died, dead := context.WithCancel(w.ctx)
			stop := w.begin(cfg, fmt.Sprintf("s%d-%t", at, after), &dying{WebhookQueues: w.store.Webhooks(), at: at + 1, after: after, dead: dead})
			select {
			case <-died.Done():
			case <-w.ctx.Done():
				t.Fatalf("it does not come to step %d", at+1)
			}
			stop()
		}
	}
	w.begin(cfg, "heir", w.store.Webhooks())
	want := map[string][]string{}
	for _, order := range []string{"a", "b", "c", "d"} {
		for _, kind := range kinds {
			want[order] = append(want[order], "order."+string(kind))
		}
	}
	w.eventually("all have come", func() bool { return fmt.Sprint(r.byOrder()) == fmt.Sprint(want) && w.waiting(id) == 0 })
}

// Of several senders one sends at a time, and none of what they share comes twice.
func TestOneSenderAtATime(t *testing.T) {
	w := newWorld(t)
	var at atomic.Int64
	r := w.receive(func(_ int, _ got, _ http.ResponseWriter, _ *http.Request) bool {
		at.Add(1)
		defer at.Add(-1)
		return false
	})
	w.endpoint(r.URL)
	cfg := quick()
	cfg.Lease, cfg.Timeout = 10*time.Second, 10*time.Second
	for _, name := range []string{"s1", "s2", "s3"} {
		w.begin(cfg, name, w.store.Webhooks())
	}
	for i := range 50 {
		w.fact("e1", domain.FactExpired, fmt.Sprintf("o%d", i))
	}
	w.eventually("all have come", func() bool { return len(r.byOrder()) == 50 })
	if r.tries() != 50 {
		t.Errorf("%d came", r.tries())
	}
}

func TestGone(t *testing.T) {
	w := newWorld(t)
	r := w.receive(func(_ int, _ got, to http.ResponseWriter, _ *http.Request) bool {
		to.WriteHeader(http.StatusGone)
		return true
	})
	id := w.endpoint(r.URL)
	w.sender(quick())
	w.fact("e1", domain.FactExpired, "a")
	w.eventually("it is given up", func() bool {
		state, why := w.state(id)
		return state == domain.WebhookGivenUp && why == domain.WebhookGone
	})
	if w.waiting(id) != 1 {
		t.Error("the message is lost")
	}
}

func TestGivenUpAfterAWhile(t *testing.T) {
	w := newWorld(t)
	r, well := w.receiveLater(http.StatusBadGateway)
	id := w.endpoint(r.URL)
	cfg := quick()
	cfg.GiveUpAfter = 500 * time.Millisecond
	w.sender(cfg)
	w.fact("e1", domain.FactExpired, "a")
	w.eventually("it is given up", func() bool {
		state, why := w.state(id)
		return state == domain.WebhookGivenUp && why == domain.WebhookFailing
	})
	tries, err := w.store.Webhooks().Tries(w.ctx, id)
	w.must(err)
	hook, err := w.store.Webhooks().Webhook(w.ctx, id)
	w.must(err)
	if first := tries[len(tries)-1]; first.Status != http.StatusBadGateway || hook.SinceMillis-first.AtMillis < 400 {
		t.Errorf("it was given up %d ms after the first try: %+v", hook.SinceMillis-first.AtMillis, tries)
	}
	// What happens meanwhile comes when it is enabled again.
	w.fact("e1", domain.FactExpired, "b")
	well.Store(true)
	w.must(w.store.Webhooks().Enable(w.ctx, id))
	w.eventually("both have come", func() bool { return len(r.byOrder()) == 2 })
}

// One that takes nothing, and for which as many messages wait as may, is given up. Then it is told the rest, from where it was left.
func TestFull(t *testing.T) {
	w := newWorld(t)
	r, well := w.receiveLater(http.StatusInternalServerError)
	full, slow := w.endpoint(r.URL), w.endpoint(r.URL+"/disabled")
	w.must(w.store.Webhooks().Disable(w.ctx, slow))
	entries := domain.MaxWebhookQueue/64 + 20
	for i := range entries {
		var orders []string
		for j := range 64 {
			orders = append(orders, fmt.Sprintf("o%d-%d", i, j))
		}
		w.fact("e1", domain.FactExpired, orders...)
	}
	cfg := quick()
	cfg.FullFor = 100 * time.Millisecond
	cfg.Concurrency = 64
	w.sender(cfg)
	w.eventually("it is given up", func() bool {
		state, why := w.state(full)
		return state == domain.WebhookGivenUp && why == domain.WebhookFull
	})
	if n := w.waiting(full); n < domain.MaxWebhookQueue || n > domain.MaxWebhookQueue+1000 {
		t.Errorf("%d wait", n)
	}
	if n := w.waiting(slow); n != 0 {
		t.Errorf("%d wait for one that is disabled", n)
	}
	well.Store(true)
	w.must(w.store.Webhooks().Enable(w.ctx, full))
	w.eventually("it is sent what waits, and as there is room what comes after it", func() bool { return r.taken() >= 2000 })
	if n, taken := w.waiting(full), int64(r.taken()); n+taken <= domain.MaxWebhookQueue {
		t.Errorf("%d wait when %d were taken", n, taken)
	}
}

func TestRetryAfter(t *testing.T) {
	w := newWorld(t)
	var first, second atomic.Int64
	r := w.receive(func(n int, _ got, to http.ResponseWriter, _ *http.Request) bool {
		if n > 1 {
			second.CompareAndSwap(0, time.Now().UnixMilli())
			return false
		}
		first.Store(time.Now().UnixMilli())
		to.Header().Set("Retry-After", "1")
		to.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	w.endpoint(r.URL)
	w.sender(quick())
	w.fact("e1", domain.FactExpired, "a")
	w.eventually("it asks to be left alone", func() bool { return r.tries() == 1 })
	w.fact("e1", domain.FactExpired, "b")
	w.eventually("both have come", func() bool { return len(r.byOrder()) == 2 })
	if waited := second.Load() - first.Load(); waited < 900 {
		t.Errorf("it was left alone for %d ms", waited)
	}
	now := time.Date(2026, 11, 27, 7, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "7": 7 * time.Second, "999999": mostRetryAfter, "Fri, 27 Nov 2026 07:01:00 GMT": time.Minute, "Fri, 27 Nov 2026 06:00:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func TestReplayHasTheSameIDs(t *testing.T) {
	w := newWorld(t)
	r := w.receive(nil)
	id := w.endpoint(r.URL)
	w.sender(quick())
	w.fact("e1", domain.FactExpired, "a", "b")
	w.eventually("both have come", func() bool { return len(r.got()) == 2 })
	now, err := w.store.Now(w.ctx)
	w.must(err)
	w.must(w.store.Webhooks().Replay(w.ctx, id, now.Add(-time.Minute).UnixMilli(), now.UnixMilli()))
	w.eventually("both have come again", func() bool { return len(r.got()) == 4 })
	var ids []string
	for _, m := range r.got() {
		ids = append(ids, m.id)
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 2 {
		t.Errorf("ids: %v", ids)
	}
}

// What nobody knows any more is not sent, and keeps nothing back.
func TestForgotten(t *testing.T) {
	w := newWorld(t)
	r := w.receive(nil)
	id := w.endpoint(r.URL)
	w.sender(quick())
	w.fact("e1", domain.FactExpired, "forgotten", "a")
	w.eventually("the other has come", func() bool { return len(r.got()) == 1 && w.waiting(id) == 0 })
}

// A slow endpoint, a dead one and one that is removed keep nothing from a good one.
func TestEndpointsDoNotWaitForEachOther(t *testing.T) {
	w := newWorld(t)
	good := w.receive(nil)
	hangs := w.receive(func(_ int, _ got, _ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
	w.endpoint(hangs.URL)
	w.endpoint("http://127.0.0.1:1/")
	gone := w.endpoint(hangs.URL)
	w.endpoint(good.URL)
	cfg := quick()
	cfg.Timeout = 10 * time.Second
	w.sender(cfg)
	w.fact("e1", domain.FactExpired, "a")
	w.eventually("it hangs", func() bool { return hangs.tries() >= 2 })
	w.must(w.store.Webhooks().Remove(w.ctx, gone))
	for i := range 100 {
		w.fact("e2", domain.FactExpired, fmt.Sprint(i))
	}
	w.eventually("all have come", func() bool { return len(good.byOrder()) == 101 })
	hangs.CloseClientConnections()
}

func TestRedisAway(t *testing.T) {
	w := newWorld(t, "--appendonly", "yes", "--appendfsync", "always")
	r := w.receive(nil)
	w.endpoint(r.URL)
	w.sender(quick())
	w.fact("e1", domain.FactExpired, "a")
	w.eventually("the first has come", func() bool { return len(r.got()) == 1 })
	w.server.Restart()
	w.fact("e1", domain.FactExpired, "b")
	w.eventually("the second has come", func() bool { return len(r.byOrder()) == 2 })
}

// What is not of everybody's is refused when the connection is made, whatever the name was that led there.
func TestPublic(t *testing.T) {
	for _, ip := range []string{
		"127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200",
		"168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.7", "192.88.99.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:7f00:1", "fe80::1", "fe80::1%lo", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1",
		"64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1",
	} {
		if public(netip.MustParseAddr(ip)) {
			t.Errorf("%s is taken for a public address", ip)
		}
		if onlyPublic("tcp", netip.AddrPortFrom(netip.MustParseAddr(ip), 443).String(), nil) == nil {
			t.Errorf("a connection to %s is made", ip)
		}
	}
	for _, ip := range []string{"1.1.1.1", "93.184.216.34", "172.32.0.1", "::ffff:1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1"} {
		if !public(netip.MustParseAddr(ip)) || onlyPublic("tcp", netip.AddrPortFrom(netip.MustParseAddr(ip), 443).String(), nil) != nil {
			t.Errorf("%s is refused", ip)
		}
	}
}

func TestPrivateTargetsAreRefusedWhenTheyAreDialed(t *testing.T) {
	w := newWorld(t)
	r := w.receive(nil)
	port := r.URL[strings.LastIndex(r.URL, ":"):]
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "127.1"} {
		client := NewClient(time.Second)
		a := client.Send(w.ctx, domain.Webhook{URL: "http://" + host + port + "/?token=hush"}, [][]byte{[]byte("s")}, "m", time.Now(), []byte(`{}`))
		if a.Why == "" || r.tries() != 0 {
			t.Errorf("%s: %+v", host, a)
		}
		if strings.Contains(a.Why, "hush") {
			t.Errorf("the URL is told: %s", a.Why)
		}
		client.Close()
	}
	allowed := NewClient(time.Second)
	defer allowed.Close()
	if a := allowed.Send(w.ctx, domain.Webhook{URL: r.URL, AllowPrivate: true}, [][]byte{[]byte("s")}, "m", time.Now(), []byte(`{}`)); a.Why != "" || a.Status != 200 {
		t.Errorf("%+v", a)
	}
}

func TestCheckURL(t *testing.T) {
	for url, private := range map[string]bool{"https://shop.example/hooks?a=b": false, "https://1.1.1.1": false, "http://localhost:80/x": true, "http://10.0.0.1": true} {
		if err := CheckURL(url, private); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{
		"", "shop.example", "http://shop.example", "ftp://shop.example", "https://", "https:///x", "https://u:p@shop.example", "https://shop.example/#x", "https://shop.example/#", "https://127.0.0.1/", "https://[::1]/",
		"https://[::ffff:10.0.0.1]", "https:shop.example", "https://shop.example/" + strings.Repeat("x", maxURL),
	} {
		if err := CheckURL(url, false); domain.ClassOf(err) != domain.ClassReject || err == nil {
			t.Errorf("%.40q: %v", url, err)
		}
	}
}

var _ domain.WebhookQueues = (*streams.Webhooks)(nil)

// An order that cannot be read keeps those of others back from nobody.
func TestOrderThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	r := w.receive(nil)
	id := w.endpoint(r.URL)
	w.fact("e1", domain.FactExpired, "a", "damaged", "b", "unshown", "c")
	w.sender(quick())
	w.eventually("the others have come", func() bool { return len(r.byOrder()) == 3 && w.waiting(id) == 2 })
	w.fact("e1", domain.FactPaying, "a")
	w.eventually("it goes on", func() bool { return len(r.byOrder()["a"]) == 2 && w.waiting(id) == 2 })
}

// An endpoint that was given up because facts are missing is sent what comes once a person has enabled it.
func TestEnabledAfterFactsWereLost(t *testing.T) {
	w := newWorld(t)
	r := w.receive(nil)
	id := w.endpoint(r.URL)
	log := fmt.Sprintf("holdfast:{%d}:2:log", w.store.Partition("e1"))
	w.fact("e1", domain.FactExpired, "a")
	w.fact("e1", domain.FactExpired, "b")
	w.must(w.rdb.XTrimMaxLen(w.ctx, log, 1).Err())
	w.sender(quick())
	w.eventually("it is given up", func() bool {
		state, why := w.state(id)
		return state == domain.WebhookGivenUp && why == domain.WebhookLost
	})
	marks := fmt.Sprintf("holdfast:{%d}:2:webhook_marks", w.store.Partition("e1"))
	w.eventually("a person has been told of it", func() bool { return !w.rdb.HExists(w.ctx, marks, id+"#lost").Val() })
	w.must(w.store.Webhooks().Enable(w.ctx, id))
	w.fact("e1", domain.FactExpired, "c")
	w.eventually("what is there has come", func() bool { return len(r.byOrder()) == 2 && w.waiting(id) == 0 })
	if state, _ := w.state(id); state != domain.WebhookEnabled {
		t.Errorf("it is %s", state)
	}
}
