package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/e2e/torture"
)

// startAPI starts a process of the API, and returns its URL.
func (s *system) startAPI(name, listen string, more ...string) (*program.Process, string) {
	s.t.Helper()
	p := start(s.t, name, append([]string{"api", "--redis", s.url, "--listen", listen, "-o", "json"}, more...)...)
	var listening struct {
		URL string `json:"url"`
	}
	eventually(s.t, soon, "the API listens", func() error {
		line, _, complete := strings.Cut(p.Stdout.String(), "\n")
		if !complete {
			return errors.New("not yet")
		}
		return json.Unmarshal([]byte(line), &listening)
	})
	return p, listening.URL
}

// The curl lines of the README, as they stand, but for the port.
func TestReadmeOverHTTP(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.event("jazz-night", "Jazz Night", 200, "10")
	gateway := startGateway(t)
	w := s.worker("w1", "--gateway", gateway)
	p, url := s.startAPI("api", "127.0.0.1:0", "--log-level", "debug")
	begin := readme(t, "sh", "holdfast api", "keys create")
	key := strings.TrimSpace(s.ok("keys", "create", "--role", "checkout", "--checkout", "web"))
	for _, said := range []string{"holdfast api --listen 127.0.0.1:8090 &", "KEY=$(holdfast keys create --role checkout --checkout web)"} {
		if !strings.Contains(begin, said) {
			t.Errorf("the README begins with %s", begin)
		}
	}
	env := []string{"KEY=" + key}
	here := func(lines string) string { return strings.ReplaceAll(lines, "http://127.0.0.1:8090", url) }
	for range 2 { // nothing happens twice
		out, err := shell(t, t.TempDir(), env, here(readme(t, "sh", "Idempotency-Key: cart-4714")))
		var order struct {
			State  string `json:"state"`
			Amount int64  `json:"amount"`
		}
		if err != nil || json.Unmarshal([]byte(out), &order) != nil || order.State != "confirmed" || order.Amount != 2000 {
			t.Fatalf("it says %s, %v", out, err)
		}
	}
	out, err := shell(t, t.TempDir(), env, here(readme(t, "sh", "/v1/orders/jazz-night/amy-1/pay")))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err != nil || len(lines) != 6 {
		t.Fatalf("%v:\n%s", err, out)
	}
	for i, want := range []string{`"state":"held"`, `"state":"confirmed"`, `"state":"confirmed"`, `"state":"cancelled"`, `"available":198`, `{"purchases":[`} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d does not say %s: %s", i+1, want, lines[i])
		}
	}
	s.drained(soon)
	s.stands("jazz-night", 198, 0, 2, 20_00)
	// Neither a token nor a key is anywhere in what was logged, or answered.
	for _, said := range []string{p.Stderr.String(), p.Stdout.String(), w.Stderr.String(), out} {
		for _, secret := range []string{"tok_visa", key} {
			if strings.Contains(said, secret) {
				t.Errorf("%s is said: %s", secret, said)
			}
		}
	}
	p.Stop(endTime)
	w.Stop(endTime)
}

// Customers buy over HTTP of three processes of the API while these and workers are killed, and Redis is. Whoever has no answer sends the same again, to any of them: each
// has one order, and pays once.
func TestTortureAPIKilled(t *testing.T) {
	t.Parallel()
	const apis, atOnce = 3, 16
	customers, kills := torture.Size(400, 100_000), torture.Size(9, 60)
	s := newSystem(t, "--appendonly", "yes", "--appendfsync", "always")
	s.event("e1", "E", int64(customers)+100, "10")
	gateway := startGateway(t)
	w := s.worker("w1", "--gateway", gateway)
	key := strings.TrimSpace(s.ok("keys", "create", "--role", "checkout", "--checkout", "web"))
	processes, urls := make([]*program.Process, apis), make([]string, apis)
	for i := range apis {
		processes[i], urls[i] = s.startAPI(fmt.Sprintf("api-%d", i), "127.0.0.1:0", "--rate", "1000000")
	}

	client := &http.Client{Timeout: soon}
	var mu sync.Mutex
	orders, retries := make(map[int]string), 0
	buy := func(n, try int) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		body := fmt.Sprintf(`{"event_id":"e1","customer_id":"c-%d","quantity":1,"payment_token":"tok_secret"}`, n)
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, urls[(n+try)%apis]+"/v1/orders", strings.NewReader(body))
		if err != nil {
			return "", err
		}
		for name, value := range map[string]string{
			"Authorization": "Bearer " + key, "Content-Type": "application/json", "Idempotency-Key": fmt.Sprintf("cart-%d", n), "Prefer": "wait=5",
		} {
			request.Header.Set(name, value)
		}
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return "", err
		}
		var order struct {
			OrderID string `json:"order_id"`
			State   string `json:"state"`
		}
		if err := json.Unmarshal(text, &order); err != nil {
			return "", err
		}
		if response.StatusCode != http.StatusOK || order.State != "confirmed" {
			return "", fmt.Errorf("%d: %s", response.StatusCode, text)
		}
		return order.OrderID, nil
	}
	next := make(chan int)
	var buying sync.WaitGroup
	for range atOnce {
		buying.Go(func() {
			for n := range next {
				deadline := time.Now().Add(2 * soon)
				for try := 0; ; try++ {
					id, err := buy(n, try)
					mu.Lock()
					if err == nil {
						orders[n] = id
						mu.Unlock()
						break
					}
					retries++
					mu.Unlock()
					if time.Now().After(deadline) {
						t.Errorf("customer %d: %v", n, err)
						break
					}
				}
			}
		})
	}
	for n := range customers {
		next <- n
		if n%(customers/kills) != customers/kills-1 {
			continue
		}
		switch kill := n / (customers / kills); kill % apis {
		case 0:
			w.Kill()
			w = s.worker(fmt.Sprintf("w-%d", n), "--gateway", gateway)
		case 1:
			s.server.Kill()
			s.server.Restart()
		}
		which := n / (customers / kills) % apis
		processes[which].Kill()
		processes[which], _ = s.startAPI(fmt.Sprintf("api-%d", n), strings.TrimPrefix(urls[which], "http://"), "--rate", "1000000")
	}
	close(next)
	buying.Wait()
	s.drained(soon)
	refs := make([]domain.OrderRef, 0, customers)
	for _, id := range orders {
		refs = append(refs, domain.OrderRef{EventID: "e1", OrderID: id})
	}
	if len(refs) != customers || retries == 0 {
		t.Errorf("%d customers, %d of them have an order, after %d retries", customers, len(refs), retries)
	}
	paidOnce(t, gateway, refs)
	s.allIn(domain.OrderConfirmed, refs)
	s.stands("e1", 100, 0, int64(customers), int64(customers)*10_00)
	if verdict := s.audit(gateway); !verdict.OK {
		t.Errorf("audit: %+v", verdict)
	}
	for _, p := range processes {
		if said := p.Stderr.String(); strings.Contains(said, "tok_secret") || strings.Contains(said, key) {
			t.Errorf("it says %s", said)
		}
		p.Stop(endTime)
	}
	w.Stop(endTime)
}
