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
type asked interface {
	domain.NextSteps
	Books(ctx context.Context) ([]domain.BooksLine, error)
	Close()
}

var (
	_ asked = (*remote.Client)(nil)
	_ asked = (*stripe.Client)(nil)
)

// askable is the gateway that the flags name, and what it is called. Stripe must be in the mode that the namespace is served by.
func askable(ctx context.Context, store *streams.Store, gateway string, as gatewayFlags, at stripeFlags) (asked, string, error) {
	if gateway != stripeGateway {
		if at != (stripeFlags{}) {
			return nil, "", badUsage("the --stripe-… flags are for --gateway stripe")
		}
		client, err := as.client(gateway, 0)
		return client, redactURL(gateway), err
	}
	if as != (gatewayFlags{}) {
		return nil, "", badUsage("the --gateway-… flags are for a gateway with a URL")
	}
	client, err := at.client(0)
	if err != nil {
		return nil, "", err
	}
	ns, err := store.Namespace(ctx)
	if err == nil && ns.Gateway != "" && ns.Gateway != client.Kind() {
		err = domain.WithCode(domain.ClassFatal, domain.CodeOtherGateway, fmt.Errorf("namespace %s is served by a payment gateway of kind %s, and the key is for %s", ns.Name, ns.Gateway, client.Kind()))
	}
	if err != nil {
		client.Close()
		return nil, "", err
	}
	return client, string(client.Kind()), nil
}
