package stripe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	stripego "github.com/stripe/stripe-go/v85"

	"holdfast/domain"
	"holdfast/payments"
)

const maxRetryAfter = 10 * time.Minute

var (
	// errNeverMade: Stripe would not make such an intent, whoever asks.
	errNeverMade = fmt.Errorf("%w: an intent that cannot be made", domain.ErrUnacceptable)
	errUnderWay  = errors.New("somebody else's call is under way")
	errForeign   = fmt.Errorf("%w: the key is of another account or mode than the payment", domain.ErrMisconfigured)
	errNotStripe = fmt.Errorf("%w: what answered does not speak as Stripe does", domain.ErrMisconfigured)
)

// told is an error of a call as domain.PaymentGateway promises it.
func told(call payments.Call, name domain.PaymentName, err error) error {
	cause := said(err)
	for _, final := range []error{domain.ErrNotFound, domain.ErrRefused, domain.ErrUnacceptable, domain.ErrMisconfigured} {
		if errors.Is(cause, final) {
			return payments.Failed(call, name, cause)
		}
	}
	later := &domain.LaterError{Err: payments.UnknownOutcome(call, name, cause)}
	if e, ok := asStripe(err); ok {
		later.Busy = e.HTTPStatusCode == http.StatusTooManyRequests && e.Code != stripego.ErrorCodeLockTimeout || e.HTTPStatusCode == http.StatusServiceUnavailable
		later.After = retryAfter(e)
	}
	return later
}

// said is an error without what Stripe's texts may quote (tokens, addresses), and of the kind that its status means.
func said(err error) error {
	e, ok := asStripe(err)
	if !ok {
		return withoutReply(err)
	}
	text := errors.New(summary(e))
	switch status := e.HTTPStatusCode; {
	case errors.Is(err, errNeverMade):
		return fmt.Errorf("%w: %w", errNeverMade, text)
	case errors.Is(err, domain.ErrUnacceptable):
		return fmt.Errorf("%w: %w", domain.ErrUnacceptable, text)
	case e.Type == stripego.ErrorTypeIdempotency, contended(err), status >= 500,
		status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusConflict, status == http.StatusTooManyRequests:
		return text
	case status == http.StatusPaymentRequired:
		return fmt.Errorf("%w: %w", domain.ErrRefused, text)
	case status == http.StatusBadRequest:
		return fmt.Errorf("%w: %w", domain.ErrUnacceptable, text)
	case status == http.StatusNotFound && e.Code == stripego.ErrorCodeResourceMissing:
		return fmt.Errorf("%w: %w", errForeign, text)
	}
	return fmt.Errorf("%w: %w", domain.ErrMisconfigured, text)
}

func asStripe(err error) (*stripego.Error, bool) {
	var e *stripego.Error
	return e, errors.As(err, &e)
}

// summary says what kind of error it is, in Stripe's words, and never its message.
func summary(e *stripego.Error) string {
	parts := []string{strconv.Itoa(e.HTTPStatusCode)}
	for _, part := range []string{string(e.Type), string(e.Code), string(e.DeclineCode), e.Param, e.RequestID} {
		if part != "" {
			parts = append(parts, word(part))
		}
	}
	return "Stripe answered " + strings.Join(parts, " ")
}

// word is one of Stripe's, if it is no longer than they are.
func word(s string) string {
	const most = 64
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-[].", r)
	}
	if len(s) > most || strings.ContainsFunc(s, odd) {
		return "(odd)"
	}
	return s
}

// withoutReply is err if it tells of us, of the network or of ctx. Others may quote what Stripe sent.
func withoutReply(err error) error {
	var network net.Error
	for _, own := range []error{
		domain.ErrNotFound, domain.ErrRefused, domain.ErrUnacceptable, domain.ErrMisconfigured, errUnderWay, errSeveral, errProcessing, errNotListed,
		context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF,
	} {
		if errors.Is(err, own) {
			return err
		}
	}
	if errors.As(err, &network) {
		return err
	}
	return errors.New("an answer that cannot be read")
}

func header(e *stripego.Error) http.Header {
	if e.LastResponse == nil {
		return nil
	}
	return e.LastResponse.Header
}

// retryAfter is when Stripe wants to be asked again; 0 if it does not say.
func retryAfter(e *stripego.Error) time.Duration {
	seconds, err := strconv.ParseUint(header(e).Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetryAfter)
}

// contended reports whether somebody else's request for the same was under way: nothing has happened.
func contended(err error) bool {
	e, ok := asStripe(err)
	return ok && (e.HTTPStatusCode == http.StatusConflict || e.Code == stripego.ErrorCodeIdempotencyKeyInUse || e.Code == stripego.ErrorCodeLockTimeout)
}

// otherParameters reports whether the key was used before, for something else.
func otherParameters(err error) bool {
	e, ok := asStripe(err)
	return ok && e.Type == stripego.ErrorTypeIdempotency && !contended(err)
}

// stored reports whether an error is the one that Stripe answered when the key was used first, and will always answer.
func stored(err error) bool {
	e, ok := asStripe(err)
	return ok && header(e).Get(replayedHeader) == "true"
}

const replayedHeader = "Idempotent-Replayed"

// unexpected reports whether the intent's state does not allow the call (any more).
func unexpected(err error) bool {
	e, ok := asStripe(err)
	return ok && e.HTTPStatusCode == http.StatusBadRequest && (e.Code == stripego.ErrorCodePaymentIntentUnexpectedState || e.Code == stripego.ErrorCodeChargeAlreadyCaptured)
}

// isMoved reports whether something has changed since it was looked, so that it is to be looked again.
func isMoved(err error) bool {
	e, ok := asStripe(err)
	return otherParameters(err) || ok && e.Code == stripego.ErrorCodeChargeAlreadyRefunded
}

const (
	contendedPause    = 20 * time.Millisecond
	contendedPauseMax = 500 * time.Millisecond
)

// patiently makes a request, again as long as somebody else's for the same is under way.
func patiently[T any](ctx context.Context, request func() (T, error)) (T, error) {
	for wait := contendedPause; ; wait = min(2*wait, contendedPauseMax) {
		result, err := request()
		if !contended(err) {
			return result, err
		}
		if pause(ctx, wait) != nil {
			return result, err
		}
	}
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// maxBodyBytes bounds what is read of an answer: an intent has some 3 kB, a page of a hundred 500.
const maxBodyBytes = 8 << 20

// bounded cuts answers off that are far longer than Stripe's.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = limited{io.LimitReader(response.Body, maxBodyBytes), response.Body}
	}
	return response, err
}

type limited struct {
	io.Reader
	io.Closer
}
