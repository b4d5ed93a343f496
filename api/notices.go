package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"holdfast/domain"
)

// PaymentNotices reads what a payment gateway says of its own accord.
type PaymentNotices interface {
	// Read returns what a notice is about; ours is false if it is nothing of this namespace: then nothing is to be done.
	// ErrForged: it is not the gateway's. Other errors: it is not known; it is to come again.
	Read(ctx context.Context, header http.Header, body []byte) (notice PaymentNotice, ours bool, err error)
}

// PaymentNotice is what there may be news of.
type PaymentNotice struct {
	Ref      domain.OrderRef
	Attempt  int  // to pay, from 1
	Disputed bool // of a dispute of what was paid; else of what the customer had to do
}

// concerns reports whether there can be such news of an order.
func (n PaymentNotice) concerns(o domain.Order) bool {
	return n.Attempt == o.LastAttempt() && (n.Disputed && o.ConfirmedAtMillis > 0 || !n.Disputed && o.Awaited())
}

// ErrForged says that a notice does not come from the gateway, or not now.
var ErrForged = errors.New("not the gateway's")

// noticesPerSecond bounds what is published about one order: one that was overheard can be sent again for as long as its signature holds.
const noticesPerSecond = 3

const stripeWebhookPath = "/v1/gateways/stripe/webhook"

// registerNotices adds the endpoint that Stripe calls. Who calls is told by a signature of the body, as it is, and not by a key.
func (s *Server) registerNotices() {
	const id = "stripe-webhook"
	response := func(description string) *huma.Response { return &huma.Response{Description: description} }
	problem := map[string]*huma.MediaType{"application/problem+json": {Schema: schemaOf[Problem](s)}}
	s.huma.OpenAPI().AddOperation(&huma.Operation{
		OperationID: id, Method: http.MethodPost, Path: stripeWebhookPath, Tags: []string{"gateways"},
		Summary: "Hear from Stripe that there may be news of a payment",
		Description: "For Stripe's webhooks of payment_intent.* and charge.dispute.* alone. A notice is a hint: the order that it is about is asked about, if it " +
			"awaits what its customer does, or was paid and is disputed. It needs no key, but a Stripe-Signature by the secret that the process was started with.",
		Security: []map[string][]string{{}},
		Parameters: []*huma.Param{{
			Name: "Stripe-Signature", In: "header", Required: true, Schema: &huma.Schema{Type: "string"}, Description: "Time, and HMAC-SHA256 of time and body.",
		}},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: "object", Description: "Stripe's event."}}}},
		Responses: map[string]*huma.Response{
			"200":     response("Heard. What was not for this namespace, or is no news, too."),
			"400":     {Description: "It is not signed, or was sent too long ago.", Content: problem},
			"404":     {Description: "This process has no secret of a webhook.", Content: problem},
			"default": {Description: "A problem. Stripe sends it again.", Content: problem},
		},
	})
	s.stats.add(id)
	s.mux.HandleFunc("POST "+stripeWebhookPath, func(w http.ResponseWriter, r *http.Request) {
		s.stats.begin(r.Context(), id)
		if err := s.notice(w, r); err != nil {
			write(w, s.problem(err))
			return
		}
		w.WriteHeader(http.StatusOK)
	})
}

// notice has an order asked about of which the gateway says that there may be news. It changes nothing by itself; what comes late, twice or
// out of turn finds an order that nobody has to be asked about.
func (s *Server) notice(w http.ResponseWriter, r *http.Request) error {
	if s.deps.Notices == nil {
		return problemOf(http.StatusNotFound, domain.CodeNotFound, "this process was started without the secret of a webhook")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return problemOf(http.StatusRequestEntityTooLarge, codeTooLarge, "the body is too large")
	case err != nil:
		return problemOf(http.StatusBadRequest, domain.CodeInvalid, "the body could not be read")
	}
	about, ours, err := s.deps.Notices.Read(r.Context(), r.Header, body)
	if errors.Is(err, ErrForged) {
		s.log.Warn("a payment notice is not the gateway's", zap.Error(err))
		return problemOf(http.StatusBadRequest, domain.CodeInvalid, err.Error())
	}
	if err != nil || !ours {
		return err
	}
	order, err := s.look(r.Context(), about.Ref)
	if err != nil || !about.concerns(order) || s.rates.take("notice/"+about.Ref.String(), noticesPerSecond, time.Now()) < 0 {
		return err
	}
	_, err = s.deps.Producer.Publish(r.Context(), domain.Request{
		Type: domain.RequestPaymentUpdate, EventID: about.Ref.EventID, OrderID: about.Ref.OrderID, Attempt: int64(about.Attempt),
	})
	return err
}
