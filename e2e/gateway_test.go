package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/e2e/torture"
	"holdfast/payments/simulator"
)

// served is a gateway in this process, of which a test decides how it answers.
type served struct {
	*simulator.Simulator
	url    string
	handle atomic.Pointer[http.Handler]
	calls  atomic.Int64
}

func serveGateway(t testing.TB, options simulator.Options) *served {
	t.Helper()
	sim, err := simulator.New(options)
	if err != nil {
		t.Fatal(err)
	}
	g := &served{Simulator: sim}
	g.answerWith(simulator.Handler(sim))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.calls.Add(1)
		(*g.handle.Load()).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

func (g *served) answerWith(h http.Handler) { g.handle.Store(&h) }

func (g *served) wantToken(token domain.Secret) {
	g.answerWith(simulator.RequireToken(simulator.Handler(g.Simulator), token))
}

// The key of the gateway is changed at night, during a sale, and the worker learns of it in
// the morning: nothing is set aside, everybody is told, and no restart is needed. No key is
// ever printed.
func TestGatewayKeyIsChanged(t *testing.T) {
	t.Parallel()
	const before, after, orders = "key-before-4711", "key-after-0815", 60
	s := newSystem(t)
	gateway := serveGateway(t, simulator.Options{})
	gateway.wantToken(before)
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(before)
	as := []string{"--gateway", gateway.url, "--gateway-token-file", file}
	w := s.worker("w1", append(as, "--max-deliveries", "3", "--reclaim-after", "1s")...)
	requests, refs := s.purchases("key", 3, orders)
	p := s.producer()
	publish(t, p, requests[:orders/3]...)
	s.drained(soon)

	gateway.wantToken(after)
	publish(t, p, requests[orders/3:2*orders/3]...)
	w.Says(1, "cannot be used as it is configured")
	asked := gateway.calls.Load()
	eventually(t, soon, "it is reported", func() error {
		if r := s.run("", "check"); r.code != 2 || !strings.Contains(r.stdout, "gateway_misconfigured") {
			return fmt.Errorf("check: exit %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		return nil
	})
	if probes := gateway.calls.Load() - asked; probes > 60 {
		t.Errorf("it was asked %d times meanwhile", probes)
	}
	publish(t, p, requests[2*orders/3:]...)
	write(after)
	s.drained(2 * soon)
	s.allIn(domain.OrderConfirmed, refs)
	w.Says(1, "works again")
	if dead := list[deadView](s, "dead", "list"); len(dead) > 0 {
		t.Errorf("dead letters: %+v", dead)
	}
	eventually(t, soon, "it is over", func() error {
		if r := s.run("", "check"); strings.Contains(r.stdout, "gateway") {
			return errors.New(r.stdout)
		}
		return nil
	})
	// The audit brings the key, too.
	if r := s.run("", append(s.auditArgs(gateway.url), "--gateway-token-file", file)...); r.code != 0 {
		t.Errorf("audit: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := s.run("", s.auditArgs(gateway.url)...); r.code == 0 || !strings.Contains(r.stderr, "401") {
		t.Errorf("audit without the key: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	w.Stop(endTime)
	for _, key := range []string{before, after} {
		if strings.Contains(w.Stderr.String()+w.Stdout.String(), key) {
			t.Errorf("the worker printed %s", key)
		}
	}
}

// A gateway gives some orders another payment than the one they asked for, and a worker is killed meanwhile. None
// of these payments confirms its order, and each that may be somebody else's is left alone, and set aside.
func TestTortureMismatches(t *testing.T) {
	t.Parallel()
	tally := torture.Begin(t, 13, "a gateway that mismatches payments, and kill -9 of workers")
	orders := torture.Size(600, 6000)
	s := newSystem(t)
	const pieces = 4
	requests, refs := s.purchases("mismatch", 4, orders)
	gateway := startGateway(t, "--mismatch-rate", "0.2", "--latency", "300ms", "--seed", "3")
	// A hold is left to its deadline if its worker is killed when it has set the request aside.
	args := []string{"--gateway", gateway, "--reclaim-after", "2s", "--hold-time", "20s"}
	pool := []*program.Process{s.worker("worker-0", args...)}
	p := s.producer()
	for i := range pieces {
		victim := s.worker(fmt.Sprintf("victim-%d", i), args...)
		s.publishTo(victim, p, requests[i*orders/pieces:(i+1)*orders/pieces])
		victim.Kill() // with whatever it has in hand
		pool = append(pool, s.worker(fmt.Sprintf("worker-%d", i+1), args...))
	}
	s.drained(3 * soon)

	// What the gateway did, and what became of it.
	lines := ledger(t, gateway)
	declined := 0
	alone, expired := make(map[string]bool), make(map[string]bool)
	for i, o := range s.orders(refs) {
		line, ref := lines[refs[i]], refs[i].String()
		amount := requests[i].Quantity * 1250
		foreign := line.CustomerID != requests[i].CustomerID
		matches := line.Authorized == amount && line.Currency == "EUR" && !foreign
		switch {
		case o.State == domain.OrderConfirmed && matches && line.Status == domain.PaymentStatusCaptured:
		case o.State == domain.OrderDeclined && o.Reason == domain.ReasonPaymentMismatch && !matches && !foreign && line.Status == domain.PaymentStatusVoided:
			declined++
		case o.State == domain.OrderDeclined && o.Reason == domain.ReasonPaymentMismatch && foreign && line.Status == domain.PaymentStatusAuthorized:
			declined++
			alone[ref] = true
		case o.State == domain.OrderExpired && foreign && line.Status == domain.PaymentStatusAuthorized:
			alone[ref], expired[ref] = true, true
		default:
			t.Errorf("%s is %s (%s %s), its payment %+v", ref, o.State, o.Reason, o.Detail, line)
		}
	}
	if declined == 0 || len(alone) == 0 {
		t.Errorf("%d declined, %d left alone: that was no test", declined, len(alone))
	}
	// One letter for each payment that was left alone, and one of settlement for those whose hold ran out then.
	letters := make(map[string]int)
	for _, l := range list[deadView](s, "dead", "list") {
		switch {
		case l.Stream == "requests" && strings.HasPrefix(l.Reason, "payment_mismatch: "):
			letters["payment_mismatch"]++
		case l.Stream == "owed" && strings.Contains(l.Reason, "is expired, but its payment is authorized at the gateway"):
			letters["expired"]++
		default:
			t.Errorf("dead letter %+v", l)
		}
	}
	if letters["payment_mismatch"] != len(alone) || letters["expired"] != len(expired) {
		t.Errorf("dead letters %v, want %d of requests, and about %d that expired", letters, len(alone), len(expired))
	}
	for _, v := range s.violations(gateway) {
		if !alone[v.Subject] {
			t.Errorf("the audit says %+v", v)
		}
		delete(alone, v.Subject)
	}
	if len(alone) > 0 {
		t.Errorf("the audit does not name %v", alone)
	}
	tally.Count("orders", orders)
	tally.Count("declined for a mismatch", declined)
	tally.Count("payments left alone", letters["payment_mismatch"])
	tally.Count("holds that ran out after that", len(expired))
	tally.Count("workers killed", pieces)
	tally.Judged(0)
	program.StopAll(pool...)
}

// holdfast gateway gives what its flags say, and a worker bears it.
func TestGatewayRefusesCaptures(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gateway := startGateway(t, "--refuse", "capture", "--rate-limit", "50")
	s.worker("w1", "--gateway", gateway)
	requests, refs := s.purchases("refused", 1, 30)
	begun := time.Now()
	publish(t, s.producer(), requests...)
	s.drained(2 * soon)
	s.allIn(domain.OrderConfirmed, refs)
	if took := time.Since(begun); took < 100*time.Millisecond {
		t.Errorf("60 calls took %s, at 50 a second", took)
	}
	var said strings.Builder
	for _, l := range list[deadView](s, "dead", "list") {
		if l.Stream != "owed" {
			t.Errorf("dead letter %+v", l)
		}
		said.WriteString(l.Reason + "; ")
	}
	for _, ref := range refs { // of each once, however many share a log entry
		if why := fmt.Sprintf("capture holdfast/%s: the gateway answered 400: ", ref); strings.Count(said.String(), why) != 1 {
			t.Errorf("the dead letters say %d times: %s", strings.Count(said.String(), why), why)
		}
	}
}

// What costs nothing is sold without a token, and no gateway hears of it; whoever switches
// that off has it as it was.
func TestFreeOrders(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gateway := startGateway(t)
	s.ok("init")
	s.event("open-day", "Open day", 10, "0")
	w := s.worker("w1", "--gateway", gateway)
	publishLine := func(order string) orderView {
		t.Helper()
		line := fmt.Sprintf(`{"type":"purchase","event_id":"open-day","order_id":%q,"customer_id":%q,"quantity":2}`, order, "c-"+order)
		r := s.run(line+"\n", "publish", "--file", "-", "--wait", "-o", "json")
		if r.code != 0 {
			t.Fatalf("publish: exit %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		return decodeLines[orderView](t, r.stdout)[0]
	}
	for _, order := range []string{"kept", "undone"} {
		if o := publishLine(order); o.State != "confirmed" {
			t.Errorf("%s is %s (%s %s)", order, o.State, o.Reason, o.Detail)
		}
	}
	s.ok("orders", "cancel", "undone", "--event", "open-day", "--wait")
	s.drained(soon)
	if lines := ledger(t, gateway); len(lines) != 0 {
		t.Errorf("the gateway knows of %v", lines)
	}
	s.audit(gateway)

	w.Stop(endTime)
	s.ok("namespace", "set", "--free-orders", "gateway")
	s.worker("w2", "--gateway", gateway)
	if o := publishLine("tokenless"); o.State != "rejected" || o.Reason != "invalid" || o.Detail != domain.DetailNoToken {
		t.Errorf("through the gateway: %+v", o)
	}
	s.drained(soon)
	s.audit(gateway)
}
