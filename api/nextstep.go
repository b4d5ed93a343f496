package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"holdfast/domain"
)

// NextSteps asks the payment gateway what the customer of an order must do.
type NextSteps interface {
	// NextStep is about an order that awaits that. Errors are those of domain.NextSteps.
	NextStep(ctx context.Context, ref domain.OrderRef, o domain.Order) (domain.NextStep, error)
}

// NextStep is what a customer must do. It is read from the gateway for whoever asks, and kept nowhere.
type NextStep struct {
	EventID      string `json:"event_id"`
	OrderID      string `json:"order_id"`
	Attempt      int    `json:"attempt" doc:"To pay, from 1."`
	RedirectURL  string `json:"redirect_url,omitempty" doc:"A page of their bank."`
	ClientSecret string `json:"client_secret,omitempty" doc:"For the gateway's own code in the checkout. Whoever has it can act as the customer: keep and log it nowhere."`
}

type nextStepOutput struct {
	CacheControl string `header:"Cache-Control" doc:"no-store."`
	Body         NextStep
}

// nextStep tells what there is to be done at the bank. Nothing is stored by it, nor changed.
func (s *Server) nextStep(ctx context.Context, in *struct{ OrderPath }) (*nextStepOutput, error) {
	if s.deps.NextSteps == nil {
		return nil, problemOf(http.StatusNotFound, domain.CodeNotFound, "this process was started without a payment gateway to ask")
	}
	ref := in.ref()
	if err := domain.CheckID("id", in.ID); err != nil {
		return nil, s.problem(domain.WithCode(domain.ClassReject, domain.CodeInvalid, err))
	}
	order, err := s.look(ctx, ref)
	switch {
	case err != nil:
		return nil, s.failed(err).of(ref)
	case order.State == domain.OrderNone:
		return nil, s.problem(errUnknownOrder).of(ref)
	case !order.AwaitsAction():
		return nil, nothingToDo().of(ref)
	}
	step, err := s.deps.NextSteps.NextStep(ctx, ref, order)
	switch {
	case errors.Is(err, domain.ErrRefused), errors.Is(err, domain.ErrNotFound): // since then it is over
		return nil, nothingToDo().of(ref)
	case err != nil:
		return nil, s.failed(domain.WithCode(domain.ClassRetry, domain.CodeUnavailable, fmt.Errorf("order %s: %w", ref, err))).of(ref)
	}
	return &nextStepOutput{"no-store", NextStep{ref.EventID, ref.OrderID, order.LastAttempt(), string(step.RedirectURL), string(step.ClientSecret)}}, nil
}

func nothingToDo() *Problem {
	return problemOf(http.StatusConflict, domain.CodeConflict, "there is nothing that its customer has to do")
}
