package stripe

import (
	"context"
	"errors"
	"fmt"

	stripego "github.com/stripe/stripe-go/v85"

	"holdfast/domain"
)

// errNotListed: Stripe says that a charge is disputed, and does not list the dispute (yet).
var errNotListed = errors.New("a disputed charge without a dispute")

// mostDisputes of one charge are read. There is hardly ever more than one.
const mostDisputes = 100

// dispute is what is disputed of an intent. Only of those whose charge Stripe calls disputed it is asked.
func (c *Client) dispute(ctx context.Context, intent *stripego.PaymentIntent) (domain.Dispute, error) {
	if intent.LatestCharge == nil || !intent.LatestCharge.Disputed {
		return domain.Dispute{}, nil
	}
	params := &stripego.DisputeListParams{PaymentIntent: stripego.String(intent.ID)}
	params.Limit, params.Single = stripego.Int64(mostDisputes), true
	list := c.api.V1Disputes.List(ctx, params)
	if err := list.Err(); err != nil {
		return domain.Dispute{}, err
	}
	return inAll(intent, list.Data())
}

// disputeRanks: of several disputes of one payment, those in the first of these states say what is to be done.
var disputeRanks = []domain.DisputeState{domain.DisputeOpen, domain.DisputeInquiry, domain.DisputeLost, domain.DisputeWon}

// inAll is what the disputes of an intent come to.
func inAll(intent *stripego.PaymentIntent, list []*stripego.Dispute) (domain.Dispute, error) {
	for _, state := range disputeRanks {
		sum := domain.Dispute{State: state}
		for _, d := range list {
			if disputeState(d) != state {
				continue
			}
			amount := intent.AmountReceived // of another currency's, all of it is what nobody promises too much by
			if d.Currency == intent.Currency {
				amount = min(d.Amount, amount)
			}
			sum.Amount = min(sum.Amount+amount, intent.AmountReceived)
			if due := dueOf(d); due > 0 && (sum.DueMillis == 0 || due < sum.DueMillis) {
				sum.DueMillis = due
			}
		}
		if sum.Amount == 0 {
			continue
		}
		var err error
		if sum.Amount, err = fromStripe(sum.Amount, upper(intent.Currency)); err != nil {
			return domain.Dispute{}, fmt.Errorf("%w: %w", errNotStripe, err)
		}
		return sum, nil
	}
	return domain.Dispute{}, errNotListed
}

// disputeState is Stripe's status in our words. One that is not known keeps the money where it is.
func disputeState(d *stripego.Dispute) domain.DisputeState {
	switch d.Status {
	case stripego.DisputeStatusWarningNeedsResponse, stripego.DisputeStatusWarningUnderReview:
		return domain.DisputeInquiry
	case stripego.DisputeStatusWon, stripego.DisputeStatusWarningClosed:
		return domain.DisputeWon
	case stripego.DisputeStatusLost:
		return domain.DisputeLost
	case stripego.DisputeStatusPrevented:
		for _, moved := range d.BalanceTransactions { // what was withdrawn stays with the customer
			if moved.Amount < 0 {
				return domain.DisputeLost
			}
		}
		return domain.DisputeWon
	case stripego.DisputeStatusNeedsResponse, stripego.DisputeStatusUnderReview:
	}
	return domain.DisputeOpen
}

// dueOf is until when a dispute is to be answered, in milliseconds; 0 if it is not, or not any more.
func dueOf(d *stripego.Dispute) int64 {
	awaited := d.Status == stripego.DisputeStatusNeedsResponse || d.Status == stripego.DisputeStatusWarningNeedsResponse
	if !awaited || d.EvidenceDetails == nil || d.EvidenceDetails.DueBy <= 0 {
		return 0
	}
	return d.EvidenceDetails.DueBy * 1000
}

// NameOf is the payment of an intent, whose id a webhook tells that does not name the payment; ours is false if it is none of holdfast's, or not there. Errors are
// those of domain.PaymentGateway.
func (c *Client) NameOf(ctx context.Context, intentID string) (name domain.PaymentName, ours bool, err error) {
	if !isIntent(intentID) {
		return name, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	intent, err := c.retrieve(ctx, intentID)
	if e, isStripe := asStripe(err); isStripe && e.Code == stripego.ErrorCodeResourceMissing {
		return name, false, nil
	}
	if err != nil {
		return name, false, fmt.Errorf("look up an intent: %w", said(err))
	}
	if name, err = domain.ParsePaymentName(intent.Metadata[metadataName]); err != nil {
		return domain.PaymentName{}, false, nil //nolint:nilerr // somebody else's
	}
	return name, true, nil
}
