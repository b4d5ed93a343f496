package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

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

// client is Stripe with the key of the flags, else of the environment. timeout is of a call; 0 is the default.
func (f stripeFlags) client(timeout time.Duration) (*stripe.Client, error) {
	key := os.Getenv("HOLDFAST_STRIPE_KEY")
	if f.KeyFile != "" { // it comes before what the environment has for all
		text, err := os.ReadFile(f.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("--stripe-key-file: %w", err)
		}
		if key = strings.TrimSpace(string(text)); len(key) > maxKeyFileBytes {
			return nil, badUsage("--stripe-key-file: want a key, and nothing else")
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
