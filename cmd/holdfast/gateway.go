package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"holdfast/payments/simulator"
)

// simulatorFlags say how the simulated payment gateway misbehaves.
type simulatorFlags struct {
	Latency            time.Duration `env:"LATENCY" default:"0s" placeholder:"DURATION" help:"Mean duration of a payment call."`
	DeclineRate        float64       `env:"DECLINE_RATE" default:"0" placeholder:"0..1" help:"Share of orders whose payment is declined."`
	TimeoutRate        float64       `env:"TIMEOUT_RATE" default:"0" placeholder:"0..1" help:"Share of payment calls that hang and do nothing."`
	LostReplyRate      float64       `env:"LOST_REPLY_RATE" default:"0" placeholder:"0..1" help:"Share of payment calls that take effect, but whose reply is lost."`
	CaptureRefusalRate float64       `env:"CAPTURE_REFUSAL_RATE" default:"0" placeholder:"0..1" help:"Share of orders whose money is refused after they were confirmed."`
	Seed               uint64        `env:"SEED" default:"0" placeholder:"N" help:"Makes it misbehave the same way again."`
}

// simulator is the gateway that the flags ask for.
func (f simulatorFlags) simulator(stateless bool) (*simulator.Simulator, error) {
	sim, err := simulator.New(simulator.Options{
		Latency: f.Latency, DeclineRate: f.DeclineRate, TimeoutRate: f.TimeoutRate, LostReplyRate: f.LostReplyRate,
		CaptureRefusalRate: f.CaptureRefusalRate, Seed: f.Seed, Stateless: stateless,
	})
	if err != nil {
		return nil, &usageError{err}
	}
	return sim, nil
}

type gatewayCommand struct {
	Listen    string         `env:"HOLDFAST_LISTEN" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where to listen; port 0 takes a free one. Default: 127.0.0.1:8080."`
	Simulator simulatorFlags `embed:"" envprefix:"HOLDFAST_"`
}

// Help is shown by --help.
func (c *gatewayCommand) Help() string {
	return `
It approves every payment whose token does not begin with "decline", moves no money, and forgets everything when it
ends. Its ledger, at /ledger, is what holdfast audit --gateway compares with.

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
	return simulator.Serve(ctx, listener, simulator.Handler(sim))
}
