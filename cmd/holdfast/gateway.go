package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/payments"
	"holdfast/payments/remote"
	"holdfast/payments/simulator"
)

// simulatorFlags say how the simulated payment gateway misbehaves.
type simulatorFlags struct {
	Latency            time.Duration `env:"LATENCY" default:"0s" placeholder:"DURATION" help:"Mean duration of a payment call."`
	DeclineRate        float64       `env:"DECLINE_RATE" default:"0" placeholder:"0..1" help:"Share of orders whose payment is declined."`
	TimeoutRate        float64       `env:"TIMEOUT_RATE" default:"0" placeholder:"0..1" help:"Share of payment calls that hang and do nothing."`
	LostReplyRate      float64       `env:"LOST_REPLY_RATE" default:"0" placeholder:"0..1" help:"Share of payment calls that take effect, but whose reply is lost."`
	CaptureRefusalRate float64       `env:"CAPTURE_REFUSAL_RATE" default:"0" placeholder:"0..1" help:"Share of orders whose money is refused after they were confirmed."`
	MismatchRate       float64       `env:"MISMATCH_RATE" default:"0" placeholder:"0..1" help:"Share of orders whose payment is not what was asked for: half the amount, another currency, or another customer's."`
	Refuse             string        `env:"REFUSE" enum:",authorize,lookup,capture,void,refund,next-step" default:"" placeholder:"CALL" help:"A call that is refused for good (400) for every order: authorize, lookup, capture, void, refund or next-step."`
	Minimum            string        `env:"MINIMUM" default:"" placeholder:"CURRENCY=AMOUNT,…" help:"The smallest amounts that are taken, such as EUR=0.50,JPY=50. Default: any."`
	RateLimit          int           `env:"RATE_LIMIT" default:"0" placeholder:"N" help:"How many payment calls are taken each second; the others are told to come later (429). Default: all."`
	Seed               uint64        `env:"SEED" default:"0" placeholder:"N" help:"Makes it misbehave the same way again."`
}

// simulator is the gateway that the flags ask for.
func (f simulatorFlags) simulator(stateless bool) (*simulator.Simulator, error) {
	refused := payments.Call(f.Refuse)
	if f.Refuse == "lookup" {
		refused = payments.CallLookup
	}
	minimums, err := parseMinimums(f.Minimum)
	if err != nil {
		return nil, &usageError{err}
	}
	sim, err := simulator.New(simulator.Options{
		Latency: f.Latency, DeclineRate: f.DeclineRate, TimeoutRate: f.TimeoutRate, LostReplyRate: f.LostReplyRate,
		CaptureRefusalRate: f.CaptureRefusalRate, MismatchRate: f.MismatchRate, Refuse: refused, Minimums: minimums, RateLimit: f.RateLimit,
		Seed: f.Seed, Stateless: stateless,
	})
	if err != nil {
		return nil, &usageError{err}
	}
	return sim, nil
}

// parseMinimums reads amounts as people write them, by currency.
func parseMinimums(text string) (domain.Minimums, error) {
	if text == "" {
		return nil, nil
	}
	minimums := make(domain.Minimums)
	for part := range strings.SplitSeq(text, ",") {
		currency, amount, _ := strings.Cut(part, "=")
		if err := domain.CheckCurrency(currency); err != nil {
			return nil, fmt.Errorf("minimum: %w", err)
		}
		least, err := domain.ParseAmount(amount, currency)
		if err != nil {
			return nil, fmt.Errorf("minimum: %w", err)
		}
		minimums[currency] = least
	}
	return minimums, nil
}

type gatewayCommand struct {
	Listen    string         `env:"HOLDFAST_LISTEN" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where to listen; port 0 takes a free one. Default: 127.0.0.1:8080."`
	Token     string         `env:"HOLDFAST_GATEWAY_TOKEN" placeholder:"TOKEN" help:"The bearer token that every request must bring; others are answered with 401. Default: none is needed."`
	Simulator simulatorFlags `embed:"" envprefix:"HOLDFAST_"`
}

// gatewayFlags say as whom a payment gateway is called, and how it is known.
type gatewayFlags struct {
	TokenFile string `name:"gateway-token-file" env:"HOLDFAST_GATEWAY_TOKEN_FILE" placeholder:"FILE" help:"File with the bearer token for the payment gateway. It is read again when the gateway does not know the token any more (401). HOLDFAST_GATEWAY_TOKEN may have the token itself instead."`
	CA        string `name:"gateway-ca" env:"HOLDFAST_GATEWAY_CA" placeholder:"FILE" help:"PEM certificates of the authorities that sign the payment gateway's, with https://. Default: those of the system."`
	Cert      string `name:"gateway-cert" env:"HOLDFAST_GATEWAY_CERT" placeholder:"FILE" help:"PEM certificate that we show to the payment gateway."`
	Key       string `name:"gateway-key" env:"HOLDFAST_GATEWAY_KEY" placeholder:"FILE" help:"PEM key of --gateway-cert."`
}

// client is one of the gateway at a URL.
func (f gatewayFlags) client(url string, timeout time.Duration) (*remote.Client, error) {
	secure, err := tlsFiles{"--gateway", f.CA, f.Cert, f.Key}.config()
	if err != nil {
		return nil, err
	}
	options := remote.Options{Timeout: timeout, TokenFile: f.TokenFile, TLS: secure}
	if f.TokenFile == "" { // it comes before what the environment has for all
		options.Token = domain.Secret(os.Getenv("HOLDFAST_GATEWAY_TOKEN"))
	}
	client, err := remote.New(url, options)
	if err != nil {
		return nil, badUsage("--gateway: %w", err)
	}
	return client, nil
}

// Help is shown by --help.
func (c *gatewayCommand) Help() string {
	return `
It approves every payment whose token does not begin with "decline", moves no money, and forgets everything when it
ends. If it begins with "action", the customer must do something first; POST …/finish says that they did. Its books, at /ledger, are what holdfast audit --gateway compares with.

Several workers and an audit that sees all payments:

  holdfast gateway --listen 127.0.0.1:8080 &
  holdfast worker --gateway http://127.0.0.1:8080 &
  holdfast worker --gateway http://127.0.0.1:8080 &
  holdfast audit --gateway http://127.0.0.1:8080
`
}

type gatewayView struct {
	Listen string `json:"listen"`
	URL    string `json:"url"`
}

func (c *gatewayCommand) Run(ctx context.Context, e *environment) error {
	sim, err := c.Simulator.simulator(false)
	if err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return badUsage("--listen: want HOST:PORT")
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen (%w): choose another address with --listen", err)
	}
	address := listener.Addr().String()
	out := e.printer()
	out.row(gatewayView{Listen: address, URL: "http://" + address}, "listening on http://"+address)
	if err := out.flush(); err != nil {
		return errors.Join(err, listener.Close())
	}
	handler := simulator.Handler(sim)
	if c.Token != "" {
		handler = simulator.RequireToken(handler, domain.Secret(c.Token))
	}
	return simulator.Serve(ctx, listener, handler)
}
