package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"holdfast/payments"
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

func (f simulatorFlags) options() (payments.SimulatorOptions, error) {
	if f.Latency < 0 {
		return payments.SimulatorOptions{}, badUsage("latency: want 0 or more")
	}
	for _, rate := range []struct {
		name  string
		value float64
	}{
		{"decline-rate", f.DeclineRate},
		{"timeout-rate", f.TimeoutRate},
		{"lost-reply-rate", f.LostReplyRate},
		{"capture-refusal-rate", f.CaptureRefusalRate},
	} {
		if math.IsNaN(rate.value) || rate.value < 0 || rate.value > 1 {
			return payments.SimulatorOptions{}, badUsage("%s: want 0 (never) to 1 (always)", rate.name)
		}
	}
	return payments.SimulatorOptions{
		Latency: f.Latency, DeclineRate: f.DeclineRate, TimeoutRate: f.TimeoutRate,
		LostReplyRate: f.LostReplyRate, CaptureRefusalRate: f.CaptureRefusalRate, Seed: f.Seed,
	}, nil
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
	options, err := c.Simulator.options()
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
	return payments.Serve(ctx, listener, payments.Handler(payments.New(options)))
}
