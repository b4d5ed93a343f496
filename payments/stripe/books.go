package stripe

import (
	"context"
	"errors"
	"fmt"
	"time"

	stripego "github.com/stripe/stripe-go/v85"

	"holdfast/domain"
)

const (
	booksPage  = 100 // the most that Stripe gives
	booksTries = 8   // of a page, or of a dispute
)

// Books lists all payments of holdfast that Stripe has, in any namespace, the newest first, page by page: all of it or an error. Those that
// nobody was asked to pay are left out. What Stripe does not tell is how often something was done: counts are 1, or 0.
func (c *Client) Books(ctx context.Context) ([]domain.BooksLine, error) {
	return c.BooksBetween(ctx, time.Time{}, time.Time{})
}

// BooksBetween is Books of the payments that were made from one time on and before another, to the second; of zero times all. A page
// that fails is asked for again, up to 8 times, and not what was listed before it.
func (c *Client) BooksBetween(ctx context.Context, from, until time.Time) ([]domain.BooksLine, error) {
	var lines []domain.BooksLine
	params := &stripego.PaymentIntentListParams{}
	if !from.IsZero() || !until.IsZero() {
		params.CreatedRange = &stripego.RangeQueryParams{}
	}
	if !from.IsZero() {
		params.CreatedRange.GreaterThanOrEqual = from.Unix()
	}
	if !until.IsZero() {
		params.CreatedRange.LesserThan = until.Unix()
	}
	params.Limit = stripego.Int64(booksPage)
	params.Single = true
	params.Expand = []*string{stripego.String("data.latest_charge")}
	for {
		page, err := c.page(ctx, params)
		if err != nil {
			return nil, fmt.Errorf("list the payments of Stripe: after %d: %w", len(lines), said(err))
		}
		data := page.Data()
		for _, intent := range data {
			if intent, err = c.checked(intent, nil); err != nil {
				return nil, fmt.Errorf("list the payments of Stripe: %w", err)
			}
			line, ours, err := lineOf(intent)
			if err == nil && line.Disputed {
				line.Dispute, err = again(ctx, func() (domain.Dispute, error) { return c.dispute(ctx, intent) })
				switch {
				case errors.Is(err, errNotListed): // yet: that it is disputed is told
					err = nil
				case err != nil:
					err = said(err)
				}
			}
			if err != nil {
				return nil, fmt.Errorf("list the payments of Stripe: %s: %w", intent.ID, err)
			}
			if ours {
				lines = append(lines, line)
			}
		}
		if !page.Meta().HasMore || len(data) == 0 {
			return lines, nil
		}
		params.StartingAfter = stripego.String(data[len(data)-1].ID)
	}
}

// page reads one.
func (c *Client) page(ctx context.Context, params *stripego.PaymentIntentListParams) (*stripego.V1List[*stripego.PaymentIntent], error) {
	return again(ctx, func() (*stripego.V1List[*stripego.PaymentIntent], error) {
		page := c.api.V1PaymentIntents.List(ctx, params)
		return page, page.Err()
	})
}

// again reads something, and again if Stripe has no time.
func again[T any](ctx context.Context, read func() (T, error)) (T, error) {
	for tries := 1; ; tries++ {
		got, err := read()
		e, isStripe := asStripe(err)
		if err == nil || tries == booksTries || isStripe && e.HTTPStatusCode < 429 || errors.Is(err, errNotListed) {
			return got, err
		}
		wait := time.Duration(tries) * 250 * time.Millisecond
		if isStripe {
			wait = max(wait, retryAfter(e))
		}
		if err := pause(ctx, wait); err != nil {
			return got, err
		}
	}
}

// lineOf is an intent as a line; ours is false if it is none of holdfast's, or nobody was asked to pay it.
func lineOf(intent *stripego.PaymentIntent) (line domain.BooksLine, ours bool, err error) {
	name, err := domain.ParsePaymentName(intent.Metadata[metadataName])
	if err != nil || unconfirmed(intent) {
		return line, false, nil //nolint:nilerr // somebody else's
	}
	line = domain.BooksLine{Namespace: name.Namespace, EventID: name.EventID, OrderID: name.OrderID, Attempt: name.Attempt}
	p, err := payment(intent)
	switch {
	case errors.Is(err, errProcessing):
		line.Status = domain.PaymentStatusActionRequired // it may yet be authorized
		return line, true, nil
	case declined(intent):
		line.Status = domain.PaymentStatusDeclined
		return line, true, nil
	case err != nil:
		return line, false, err
	}
	line.AuthorizationID, line.Status = p.AuthorizationID, p.Status
	line.Currency, line.CustomerID, line.Fingerprint = p.Currency, p.CustomerID, p.Fingerprint
	charge := intent.LatestCharge
	switch {
	case p.Status == domain.PaymentStatusAuthorized, p.Status == domain.PaymentStatusCaptured, p.Status == domain.PaymentStatusRefunded:
	case charge == nil || charge.Status != stripego.ChargeStatusSucceeded:
		return line, true, nil
	default:
		line.Voided, line.Voids = p.Amount, 1
	}
	line.Authorized, line.Authorizations = p.Amount, 1
	if p.Status == domain.PaymentStatusCaptured || p.Status == domain.PaymentStatusRefunded {
		line.Captured, line.Captures, line.Refunded = p.Amount, 1, p.Refunded
		line.Refunds, line.Disputed = int(min(p.Refunded, 1)), charge.Disputed
	}
	return line, true, nil
}
