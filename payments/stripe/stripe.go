// Package stripe is an adapter of domain.PaymentGateway for Stripe: one PaymentIntent an attempt to pay, with manual
// capture, made in two steps.
//
// It is created unconfirmed, from what the order says and nothing else, under an idempotency key made of the attempt's name: so whoever
// knows the order creates the same one, and finds what was made of it since. Then it is confirmed with the customer's
// token, under a key of its own: of two confirmations one counts. A void is the same create and a cancel, so that a late confirmation finds it
// cancelled. Capture and cancel need no key, since an intent's state lets each happen once; a refund's is made of what was given back before.
//
// An intent is found by its id; else by the key, which answers with what it has made; else, where the
// key may be forgotten (24 hours), or answers with an error that it has stored, by a search for the name in its metadata. There is never a second one for a name.
//
// A decline is final for its name, and at Stripe it is not: whoever has the client secret could pay with another card. So a declined
// intent is cancelled before it is told as declined.
package stripe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	stripego "github.com/stripe/stripe-go/v85"

	"holdfast/domain"
	"holdfast/payments"
)

const (
	dialTimeout         = 3 * time.Second
	tlsHandshakeTimeout = 5 * time.Second
	idleTimeout         = 30 * time.Second
	maxKeyLength        = 255

	// keyLife is how long an idempotency key is trusted. Stripe keeps it for 24 hours at least; clocks may differ.
	keyLife = 23 * time.Hour
)

// Options of a Client. The zero value of each field gets the default it names.
type Options struct {
	// Timeout bounds each call, of up to five requests. Default 10s.
	Timeout time.Duration
	// MaxConns bounds the connections to Stripe, and with it the requests under way: at least 1. Default 256.
	MaxConns int
	// URL is where Stripe is. Another than Stripe's own must be of this machine (a loopback address), and is for tests:
	// live keys are not sent there. Default https://api.stripe.com.
	URL string
}

// WithDefaults returns o with every unset field set.
func (o Options) WithDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.MaxConns == 0 {
		o.MaxConns = 256
	}
	if o.URL == "" {
		o.URL = stripego.APIURL
	}
	return o
}

// Client is Stripe as a payment gateway. It is safe for concurrent use.
type Client struct {
	api       *stripego.Client
	live      bool
	timeout   time.Duration
	transport *http.Transport
	now       func() time.Time
}

var (
	_ domain.PaymentGateway = (*Client)(nil)
	_ domain.NextSteps      = (*Client)(nil)
)

// New makes a Client with a secret or restricted key of Stripe. It does not connect. Errors are of domain.ClassFatal and
// do not quote the key: it is none (sk_test_…, rk_test_…, sk_live_…, rk_live_…), or the options will not do.
func New(key domain.Secret, options Options) (*Client, error) {
	options = options.WithDefaults()
	live, err := checkKey(string(key))
	if err == nil {
		err = options.validate(live)
	}
	if err != nil {
		return nil, domain.WithClass(domain.ClassFatal, err)
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: tlsHandshakeTimeout,
		MaxConnsPerHost:     options.MaxConns,
		MaxIdleConns:        options.MaxConns,
		MaxIdleConnsPerHost: options.MaxConns,
		IdleConnTimeout:     idleTimeout,
	}
	backends := stripego.NewBackendsWithConfig(&stripego.BackendConfig{
		HTTPClient: &http.Client{
			Transport:     bounded{transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		LeveledLogger:     &stripego.LeveledLogger{Level: stripego.LevelNull}, // it would log what Stripe says, and that may quote tokens
		MaxNetworkRetries: stripego.Int64(0),                                  // whoever calls tries again
		EnableTelemetry:   stripego.Bool(false),
		URL:               stripego.String(options.URL),
	})
	return &Client{
		api: stripego.NewClient(string(key), stripego.WithBackends(backends)), live: live,
		timeout: options.Timeout, transport: transport, now: time.Now,
	}, nil
}

// checkKey tells whether a key is a live one.
func checkKey(key string) (live bool, err error) {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' || len(key) > maxKeyLength {
			return false, errors.New("stripe key: malformed")
		}
	}
	for _, kind := range []string{"sk_", "rk_"} {
		switch rest := strings.TrimPrefix(key, kind); {
		case rest == key:
		case strings.HasPrefix(rest, "live_"):
			return true, nil
		case strings.HasPrefix(rest, "test_"):
			return false, nil
		}
	}
	return false, errors.New("stripe key: want a secret or restricted one, which begins with sk_test_, rk_test_, sk_live_ or rk_live_")
}

func (o Options) validate(live bool) error {
	switch {
	case o.Timeout < time.Millisecond:
		return errors.New("timeout: want at least 1ms")
	case o.MaxConns < 1:
		return errors.New("max conns: want at least 1")
	case o.URL == stripego.APIURL:
		return nil
	}
	base, err := url.Parse(o.URL)
	switch {
	case err != nil, base.Scheme != "http" && base.Scheme != "https", base.User != nil, base.Path != "", base.RawQuery != "", base.Fragment != "":
		return errors.New("stripe URL: want http://HOST:PORT")
	case base.Hostname() != "localhost" && !net.ParseIP(base.Hostname()).IsLoopback():
		return errors.New("stripe URL: want one of this machine; it is for tests")
	case live:
		return errors.New("stripe URL: want a key of the test mode, for tests")
	}
	return nil
}

// Kind is domain.GatewayStripe with a live key, else domain.GatewayStripeTest.
func (c *Client) Kind() domain.GatewayKind {
	if c.live {
		return domain.GatewayStripe
	}
	return domain.GatewayStripeTest
}

// Close closes the connections that are not in use. Calls under way end as usual.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// do makes one call, bounded, and tells its errors as domain.PaymentGateway promises.
func do[T any](ctx context.Context, c *Client, call payments.Call, name domain.PaymentName, f func(context.Context) (T, error)) (T, error) {
	var none T
	if err := payments.CheckName(name); err != nil {
		return none, payments.Failed(call, name, fmt.Errorf("%w: %w", domain.ErrUnacceptable, err))
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	result, err := f(ctx)
	if err != nil {
		return none, told(call, name, err)
	}
	return result, nil
}

// Authorize creates the intent and confirms it with the token: the id of a PaymentMethod (pm_…) or of a ConfirmationToken
// (ctoken_…). The Amount is what the first request asked for. ErrUnacceptable: an amount or
// currency that Stripe does not take, or a token that it does not know. Other errors are those of domain.PaymentGateway.
func (c *Client) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	return do(ctx, c, payments.CallAuthorize, r.Name, func(ctx context.Context) (domain.Payment, error) {
		intent, err := c.intent(ctx, r.Attempt)
		if err == nil && unconfirmed(intent) && !asks(intent, r.Attempt) { // it was made when the order was about something else
			intent, err = c.update(ctx, intent.ID, r.Attempt)
		}
		if err == nil && unconfirmed(intent) {
			intent, err = c.confirm(ctx, intent.ID, r)
		}
		if err != nil {
			return domain.Payment{}, err
		}
		p, err := c.outcome(ctx, intent)
		if errors.Is(err, domain.ErrNotFound) { // the confirmation of somebody else is under way
			err = errUnderWay
		}
		return p, err
	})
}

// Lookup tells what became of the intent, and of a dispute of it. One that was never confirmed is domain.ErrNotFound: nothing was asked of anybody.
func (c *Client) Lookup(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return do(ctx, c, payments.CallLookup, a.Name, func(ctx context.Context) (domain.Payment, error) {
		intent, err := c.made(ctx, a)
		if err != nil {
			return domain.Payment{}, err
		}
		p, err := c.outcome(ctx, intent)
		if err == nil && intent.Status == stripego.PaymentIntentStatusSucceeded {
			p.Dispute, err = c.dispute(ctx, intent)
		}
		if err != nil {
			return domain.Payment{}, err
		}
		return p, nil
	})
}

// made is the intent of an attempt.
func (c *Client) made(ctx context.Context, a domain.Attempt) (*stripego.PaymentIntent, error) {
	intent, err := c.intent(ctx, a)
	if errors.Is(err, errNeverMade) {
		return nil, domain.ErrNotFound
	}
	return intent, err
}

func (c *Client) look(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	intent, err := c.made(ctx, a)
	if err != nil {
		return domain.Payment{}, err
	}
	return c.outcome(ctx, intent)
}

// Capture takes all that was authorized. domain.ErrRefused also of an authorization that has expired, which Stripe lets happen
// after some 7 days.
func (c *Client) Capture(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return do(ctx, c, payments.CallCapture, a.Name, func(ctx context.Context) (domain.Payment, error) {
		id := a.AuthorizationID
		if !isIntent(id) {
			switch p, err := c.look(ctx, a); {
			case err != nil:
				return domain.Payment{}, err
			case p.Status != domain.PaymentStatusAuthorized:
				return captured(p)
			default:
				id = p.AuthorizationID
			}
		}
		intent, err := c.capture(ctx, id)
		if err != nil {
			return domain.Payment{}, err
		}
		p, err := c.outcome(ctx, intent)
		if err != nil {
			return domain.Payment{}, err
		}
		return captured(p)
	})
}

// captured is a payment as the answer to a capture.
func captured(p domain.Payment) (domain.Payment, error) {
	switch p.Status {
	case domain.PaymentStatusCaptured:
		return p, nil
	case domain.PaymentStatusAuthorized:
		return domain.Payment{}, errUnderWay
	case domain.PaymentStatusActionRequired, domain.PaymentStatusDeclined, domain.PaymentStatusVoided, domain.PaymentStatusRefunded:
	}
	return domain.Payment{}, fmt.Errorf("%w: it is %s", domain.ErrRefused, p.Status)
}

// Void cancels the intent. One that was never made is made for it, so that whoever comes later finds it cancelled; of an order of
// which nothing is known, as a mark that nobody pays. Of what Stripe would not take there is nothing to cancel.
func (c *Client) Void(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return do(ctx, c, payments.CallVoid, a.Name, func(ctx context.Context) (domain.Payment, error) {
		if a.Currency == "" {
			a.Currency, a.Amount = markCurrency, markAmount
		}
		intent, err := c.intent(ctx, a)
		if errors.Is(err, errNeverMade) {
			return domain.Payment{Status: domain.PaymentStatusVoided, Amount: domain.AmountNotTold}, nil
		}
		if err == nil && open(intent) && !declined(intent) {
			intent, err = c.cancel(ctx, intent.ID, stripego.PaymentIntentCancellationReasonRequestedByCustomer)
		}
		if err != nil {
			return domain.Payment{}, err
		}
		p, err := c.outcome(ctx, intent)
		if err == nil && (p.Status == domain.PaymentStatusAuthorized || p.Status == domain.PaymentStatusActionRequired) || errors.Is(err, domain.ErrNotFound) {
			err = errUnderWay
		}
		return p, err
	})
}

// Refund gives back what is missing to total, under a key made of what was given back before. domain.ErrRefused also if a refund that was
// made before has failed since: then a person must find another way.
func (c *Client) Refund(ctx context.Context, a domain.Attempt, total int64) (domain.Payment, error) {
	return do(ctx, c, payments.CallRefund, a.Name, func(ctx context.Context) (domain.Payment, error) {
		if total < 0 {
			return domain.Payment{}, fmt.Errorf("%w: total %d: want 0 or more", domain.ErrUnacceptable, total)
		}
		made := int64(-1) // what had been given back before the refund that was made last
		for {
			p, err := c.look(ctx, a)
			switch {
			case err != nil:
				return domain.Payment{}, err
			case p.Status != domain.PaymentStatusCaptured && p.Status != domain.PaymentStatusRefunded:
				return domain.Payment{}, fmt.Errorf("%w: it is %s", domain.ErrRefused, p.Status)
			case total > p.Amount:
				return domain.Payment{}, fmt.Errorf("%w: %d of %d", domain.ErrRefused, total, p.Amount)
			case p.Refunded >= total:
				return p, nil
			case p.Refunded == made:
				return domain.Payment{}, fmt.Errorf("%w: a refund of it has failed at Stripe", domain.ErrRefused)
			}
			a.AuthorizationID = p.AuthorizationID
			switch err := c.refund(ctx, a.Name, p, total-p.Refunded); {
			case err == nil:
				made = p.Refunded
			case isMoved(err): // by somebody else, who has come first
				if err := pause(ctx, contendedPause); err != nil {
					return domain.Payment{}, err
				}
			default:
				return domain.Payment{}, err
			}
		}
	})
}

// NextStep is the client secret of the intent, with which Stripe's own code in the checkout goes on, and the address of
// a page, where there is one.
func (c *Client) NextStep(ctx context.Context, a domain.Attempt) (domain.NextStep, error) {
	return do(ctx, c, payments.CallNextStep, a.Name, func(ctx context.Context) (domain.NextStep, error) {
		intent, err := c.intent(ctx, a)
		switch {
		case errors.Is(err, errNeverMade), err == nil && unconfirmed(intent):
			return domain.NextStep{}, domain.ErrNotFound
		case err != nil:
			return domain.NextStep{}, err
		case intent.Status != stripego.PaymentIntentStatusRequiresAction:
			return domain.NextStep{}, fmt.Errorf("%w: it is %s", domain.ErrRefused, word(string(intent.Status)))
		}
		step := domain.NextStep{ClientSecret: domain.Secret(intent.ClientSecret)}
		if next := intent.NextAction; next != nil && next.RedirectToURL != nil {
			step.RedirectURL = domain.Secret(next.RedirectToURL.URL)
		}
		if step == (domain.NextStep{}) {
			return step, errors.New("an intent without a client secret")
		}
		return step, nil
	})
}

// Minimums are those that Stripe has published, for accounts that are paid out in the currency of the sale. It does
// not ask Stripe, which does not tell them.
func (c *Client) Minimums(context.Context) (domain.Minimums, error) { return minimums(), nil }
