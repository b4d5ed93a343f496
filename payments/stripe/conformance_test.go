package stripe_test

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/domain"
	"holdfast/payments/paymentstest"
	"holdfast/payments/stripe"
	"holdfast/payments/stripe/stripefake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newPair is a client of an account, over loopback.
func newPair(t *testing.T, options stripefake.Options) (*stripefake.Stripe, *stripe.Client) {
	t.Helper()
	account := stripefake.New(options)
	server := httptest.NewServer(account)
	t.Cleanup(server.Close)
	client, err := stripe.New(account.Key(), stripe.Options{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return account, client
}

// counting is a client that counts its calls by payment, and says since when orders are held.
type counting struct {
	*stripe.Client
	heldAtMillis int64

	mu    sync.Mutex
	calls map[domain.PaymentName]int
}

func (c *counting) note(a domain.Attempt) domain.Attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[a.Name]++
	a.HeldAtMillis = c.heldAtMillis
	return a
}

func (c *counting) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	r.Attempt = c.note(r.Attempt)
	return c.Client.Authorize(ctx, r)
}

func (c *counting) Lookup(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return c.Client.Lookup(ctx, c.note(a))
}

func (c *counting) Capture(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return c.Client.Capture(ctx, c.note(a))
}

func (c *counting) Void(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return c.Client.Void(ctx, c.note(a))
}

func (c *counting) Refund(ctx context.Context, a domain.Attempt, total int64) (domain.Payment, error) {
	return c.Client.Refund(ctx, c.note(a), total)
}

// books are those of the account, with the calls of the port: how many requests that took is not told by them.
func (c *counting) books(account *stripefake.Stripe) paymentstest.Books {
	return func(context.Context) ([]domain.BooksLine, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		lines := account.Books()
		for i := range lines {
			lines[i].Calls = c.calls[lines[i].Name()]
		}
		return lines, nil
	}
}

func TestStripeKeepsTheContract(t *testing.T) {
	for name, run := range map[string]struct {
		held    time.Duration // ago; 0: nobody knows
		account stripefake.Options
	}{
		"found by the key, which is in use for a while": {held: time.Second, account: stripefake.Options{Latency: time.Millisecond}},
		"found by search": {},
	} {
		t.Run(name, func(t *testing.T) {
			minimums, err := (*stripe.Client)(nil).Minimums(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			paymentstest.Run(t, paymentstest.Gateway{
				New: func(t *testing.T) paymentstest.Made {
					account, client := newPair(t, run.account)
					c := &counting{Client: client, calls: map[domain.PaymentName]int{}}
					if run.held > 0 {
						c.heldAtMillis = time.Now().Add(-run.held).UnixMilli()
					}
					return paymentstest.Made{
						Adapter: c, Books: c.books(account),
						Finish: func(_ context.Context, name domain.PaymentName, authorized bool) error {
							c.note(domain.Attempt{Name: name})
							return account.Finish(name, authorized)
						},
						Dispute: func(_ context.Context, name domain.PaymentName, d domain.Dispute) error {
							c.note(domain.Attempt{Name: name})
							return account.Dispute(name, d)
						},
					}
				},
				DeclinedToken: "pm_card_decline", ActionToken: "pm_card_authenticationRequired",
				Minimums: minimums, MaxAmount: stripe.MaxAmount, NothingFree: true,
			})
		})
	}
}
