//go:build planted

package simulator

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"holdfast/domain"
	"holdfast/e2e/torture"
	"holdfast/payments/paymentstest"
)

// plantedEnv names the bug that TestPlantedGateway has.
const plantedEnv = "HOLDFAST_PLANTED_GATEWAY"

// TestPlantedBugs puts one bug after the other in front of a gateway: the suite must find it. A bug that it does
// not find is one in the suite.
func TestPlantedBugs(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tally := torture.Begin(t, 11, "bugs planted in payment gateways")
	for name := range plantedGateways {
		t.Run(name, func(t *testing.T) {
			run := exec.CommandContext(t.Context(), program, "-test.run", "^TestPlantedGateway$", "-rapid.nofailfile")
			run.Env = append(os.Environ(), plantedEnv+"="+name)
			said, err := run.CombinedOutput()
			failed := regexp.MustCompile(`(?m)^ *--- FAIL: TestPlantedGateway/(\w+)`).FindStringSubmatch(string(said))
			if err == nil || failed == nil {
				t.Fatalf("nothing was wrong: %v\n%s", err, said)
			}
			tally.Count("caught", 1)
			tally.Note("%s | %s | 1", name, failed[1])
		})
	}
	tally.Count("bugs", len(plantedGateways))
}

// TestPlantedGateway is the suite over a gateway with a bug.
func TestPlantedGateway(t *testing.T) {
	plant := plantedGateways[os.Getenv(plantedEnv)]
	if plant == nil {
		t.Skip("run by TestPlantedBugs")
	}
	paymentstest.Run(t, paymentstest.Gateway{
		New: func(t *testing.T) paymentstest.Made {
			sim := newSimulator(t, Options{Minimums: minimums})
			return paymentstest.Made{
				Adapter: plant(sim), Finish: finishes(sim), Dispute: disputes(sim), Books: func(context.Context) ([]domain.BooksLine, error) { return sim.Books(), nil },
			}
		},
		DeclinedToken: DeclineTokenPrefix, ActionToken: ActionTokenPrefix, Minimums: minimums,
	})
}

var plantedGateways = map[string]func(*Simulator) paymentstest.Adapter{
	"refunds by difference":             func(s *Simulator) paymentstest.Adapter { return refundsByDifference{s} },
	"refunds all, whatever the total":   func(s *Simulator) paymentstest.Adapter { return refundsAll{s} },
	"a void does not forbid":            func(s *Simulator) paymentstest.Adapter { return doesNotForbid{s} },
	"a void leaves the customer a step": func(s *Simulator) paymentstest.Adapter { return leavesTheStep{s} },
	"attempts are one payment":          func(s *Simulator) paymentstest.Adapter { return oneAttempt{s} },
	"the next step outlives its end":    func(s *Simulator) paymentstest.Adapter { return oldSteps{s, map[domain.PaymentName]domain.NextStep{}} },
}

type (
	refundsByDifference struct{ *Simulator }
	refundsAll          struct{ *Simulator }
	doesNotForbid       struct{ *Simulator }
	leavesTheStep       struct{ *Simulator }
	oneAttempt          struct{ *Simulator }
	oldSteps            struct {
		*Simulator
		steps map[domain.PaymentName]domain.NextStep
	}
)

func (g refundsByDifference) Refund(ctx context.Context, a domain.Attempt, total int64) (domain.Payment, error) {
	p, err := g.Lookup(ctx, a)
	if err != nil || p.Status != domain.PaymentStatusCaptured {
		return g.Simulator.Refund(ctx, a, total)
	}
	return g.Simulator.Refund(ctx, a, min(p.Refunded+total, p.Amount))
}

func (g refundsAll) Refund(ctx context.Context, a domain.Attempt, _ int64) (domain.Payment, error) {
	return withoutPaymentOnError(g.refund(ctx, a, nil))
}

func (g doesNotForbid) Void(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	if _, err := g.Lookup(ctx, a); errors.Is(err, domain.ErrNotFound) {
		return domain.Payment{Status: domain.PaymentStatusVoided, Amount: domain.AmountNotTold}, nil
	}
	return g.Simulator.Void(ctx, a)
}

func (g leavesTheStep) Void(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	if p, err := g.Lookup(ctx, a); err == nil && p.Status == domain.PaymentStatusActionRequired {
		p.Status = domain.PaymentStatusVoided
		return p, nil
	}
	return g.Simulator.Void(ctx, a)
}

func (g oneAttempt) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	r.Name.Attempt = 0
	return g.Simulator.Authorize(ctx, r)
}

func (g oldSteps) NextStep(ctx context.Context, a domain.Attempt) (domain.NextStep, error) {
	if step, known := g.steps[a.Name]; known {
		return step, nil
	}
	step, err := g.Simulator.NextStep(ctx, a)
	if err == nil {
		g.steps[a.Name] = step
	}
	return step, err
}
