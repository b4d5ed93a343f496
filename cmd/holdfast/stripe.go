package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"holdfast/api"
	"holdfast/domain"
	"holdfast/payments/remote"
	"holdfast/payments/stripe"
	"holdfast/streams"
)

const stripeGateway = "stripe"

// maxKeyFileBytes is far more than a key has.
const maxKeyFileBytes = 4 << 10

// stripeFlags say with which key Stripe is called.
type stripeFlags struct {
	KeyFile string `name:"stripe-key-file" env:"HOLDFAST_STRIPE_KEY_FILE" placeholder:"FILE" help:"File with the secret or restricted key of Stripe. HOLDFAST_STRIPE_KEY may have the key itself instead. A key of the test mode moves no money."`
	URL     string `name:"stripe-url" env:"HOLDFAST_STRIPE_URL" placeholder:"URL" help:"Another address than Stripe's own, on this machine, for tests; with a key of the test mode alone."`
}

// keyFile reads a file that has a key, or a few, and nothing else. Errors quote nothing of it.
func keyFile(flag, name string) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	if len(text) > maxKeyFileBytes {
		return "", badUsage("%s: want a key, and nothing else", flag)
	}
	return strings.TrimSpace(string(text)), nil
}

// client is Stripe with the key of the flags, else of the environment. timeout is of a call; 0 is the default.
func (f stripeFlags) client(timeout time.Duration) (*stripe.Client, error) {
	key := os.Getenv("HOLDFAST_STRIPE_KEY")
	if f.KeyFile != "" { // it comes before what the environment has for all
		var err error
		if key, err = keyFile("--stripe-key-file", f.KeyFile); err != nil {
			return nil, err
		}
	}
	if key == "" {
		return nil, badUsage("--gateway stripe: name the file that has the key with --stripe-key-file, or have it in HOLDFAST_STRIPE_KEY")
	}
	client, err := stripe.New(domain.Secret(key), stripe.Options{Timeout: timeout, URL: f.URL})
	if err != nil {
		return nil, badUsage("--gateway stripe: %w", err)
	}
	return client, nil
}

// asked is a payment gateway that a command asks about what is there.
type asked struct {
	askable
	called string             // for people
	kind   domain.GatewayKind // of Stripe; else empty, because a URL may be anything's
}

// books are its payments; with bounds, in milliseconds, those that Stripe made then.
func (g asked) books(ctx context.Context, fromMillis, untilMillis int64) ([]domain.BooksLine, error) {
	client, isStripe := g.askable.(*stripe.Client)
	if !isStripe {
		return g.Books(ctx)
	}
	at := func(millis int64) time.Time {
		if millis == 0 {
			return time.Time{}
		}
		return time.UnixMilli(millis)
	}
	return client.BooksBetween(ctx, at(fromMillis), at(untilMillis))
}

type askable interface {
	domain.NextSteps
	Books(ctx context.Context) ([]domain.BooksLine, error)
	Close()
}

var (
	_ askable = (*remote.Client)(nil)
	_ askable = (*stripe.Client)(nil)
)

// ask is the gateway that the flags of a command name.
func ask(gateway string, as gatewayFlags, at stripeFlags) (asked, error) {
	switch {
	case gateway != stripeGateway && at != (stripeFlags{}):
		return asked{}, badUsage("the --stripe-… flags are for --gateway stripe")
	case gateway == stripeGateway && as != (gatewayFlags{}):
		return asked{}, badUsage("the --gateway-… flags are for a gateway with a URL")
	case gateway == stripeGateway:
		client, err := at.client(0)
		if err != nil {
			return asked{}, err
		}
		return asked{client, string(client.Kind()), client.Kind()}, nil
	}
	client, err := as.client(gateway, 0)
	if err != nil {
		return asked{}, err
	}
	return asked{client, redactURL(gateway), ""}, nil
}

// serves returns an error if Stripe is asked in another mode than the namespace is served by.
func (g asked) serves(ctx context.Context, store *streams.Store) error {
	if g.kind == "" {
		return nil
	}
	ns, err := store.Namespace(ctx)
	if err == nil && ns.Gateway != "" && ns.Gateway != g.kind {
		return domain.WithCode(domain.ClassFatal, domain.CodeOtherGateway, fmt.Errorf("namespace %s is served by a payment gateway of kind %s, and the key is for %s", ns.Name, ns.Gateway, g.kind))
	}
	return err
}

// stripeWebhookFlags say with which secrets Stripe's webhooks are signed.
type stripeWebhookFlags struct {
	SecretFile string `name:"stripe-webhook-secret-file" env:"HOLDFAST_STRIPE_WEBHOOK_SECRET_FILE" placeholder:"FILE" help:"File with the signing secret of the webhook endpoint (whsec_…), or two, one a line, while it is rotated. HOLDFAST_STRIPE_WEBHOOK_SECRET may have them itself instead. Default: no webhooks are heard."`
}

// webhooks are nil without a secret.
func (f stripeWebhookFlags) webhooks() (*stripe.Webhooks, error) {
	text := os.Getenv("HOLDFAST_STRIPE_WEBHOOK_SECRET")
	if f.SecretFile != "" {
		var err error
		if text, err = keyFile("--stripe-webhook-secret-file", f.SecretFile); err != nil {
			return nil, err
		}
	} else if text == "" {
		return nil, nil //nolint:nilnil // none are heard
	}
	var secrets []domain.Secret
	for _, secret := range strings.Fields(text) {
		secrets = append(secrets, domain.Secret(secret))
	}
	hooks, err := stripe.NewWebhooks(secrets)
	if err != nil {
		return nil, badUsage("--stripe-webhook-secret-file: %w", err)
	}
	return hooks, nil
}

// stripeNotices are Stripe's webhooks for a namespace.
type stripeNotices struct {
	hooks *stripe.Webhooks
	store *streams.Store
	names intentNames // nil: nobody can be asked, and disputes are not heard of
}

// intentNames tells which payment an intent is: a dispute names no other.
type intentNames interface {
	NameOf(ctx context.Context, intentID string) (name domain.PaymentName, ours bool, err error)
}

// Read implements api.PaymentNotices. Payments of another namespace, or of another mode than this one is served by, are not ours.
func (n stripeNotices) Read(ctx context.Context, header http.Header, body []byte) (about api.PaymentNotice, ours bool, err error) {
	notice, ours, err := n.hooks.Read(body, header.Get("Stripe-Signature"))
	switch {
	case errors.Is(err, stripe.ErrNotSigned):
		return about, false, fmt.Errorf("%w: %w", api.ErrForged, err)
	case err != nil || !ours:
		return about, false, err
	}
	ns, err := n.store.Namespace(ctx)
	if err != nil || ns.Gateway != notice.Kind {
		return about, false, err
	}
	if about.Disputed = notice.Disputed != ""; about.Disputed {
		if n.names == nil {
			return about, false, nil
		}
		if notice.Name, ours, err = n.names.NameOf(ctx, notice.Disputed); err != nil || !ours {
			return about, false, err
		}
	}
	about.Ref, about.Attempt = notice.Name.OrderRef, max(notice.Name.Attempt, 1)
	return about, notice.Name.Namespace == n.store.PaymentNamespace(), nil
}
