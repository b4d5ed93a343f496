package stripe

import (
	"errors"
	"testing"

	stripego "github.com/stripe/stripe-go/v85"

	"holdfast/domain"
)

// TestInAll: what Stripe says of disputes, each of them, comes to one that says what is to be done.
func TestInAll(t *testing.T) {
	one := func(status stripego.DisputeStatus, amount, due int64) *stripego.Dispute {
		return &stripego.Dispute{Status: status, Amount: amount, Currency: "eur", EvidenceDetails: &stripego.DisputeEvidenceDetails{DueBy: due}}
	}
	withdrawn := one(stripego.DisputeStatusPrevented, 700, 5)
	withdrawn.BalanceTransactions = []*stripego.BalanceTransaction{{Amount: -700}}
	dollars := one(stripego.DisputeStatusLost, 12, 0)
	dollars.Currency = "usd"
	intent := &stripego.PaymentIntent{AmountReceived: 2500, Currency: "eur"}
	for name, row := range map[string]struct {
		list []*stripego.Dispute
		want domain.Dispute
	}{
		"asked, and to be answered":  {[]*stripego.Dispute{one("warning_needs_response", 500, 7)}, domain.Dispute{State: "inquiry", Amount: 500, DueMillis: 7000}},
		"asked, and answered":        {[]*stripego.Dispute{one("warning_under_review", 500, 7)}, domain.Dispute{State: "inquiry", Amount: 500}},
		"asked, and let be":          {[]*stripego.Dispute{one("warning_closed", 500, 7)}, domain.Dispute{State: "won", Amount: 500}},
		"to be answered":             {[]*stripego.Dispute{one("needs_response", 2500, 7)}, domain.Dispute{State: "open", Amount: 2500, DueMillis: 7000}},
		"answered":                   {[]*stripego.Dispute{one("under_review", 2500, 7)}, domain.Dispute{State: "open", Amount: 2500}},
		"won":                        {[]*stripego.Dispute{one("won", 2500, 7)}, domain.Dispute{State: "won", Amount: 2500}},
		"lost":                       {[]*stripego.Dispute{one("lost", 2500, 7)}, domain.Dispute{State: "lost", Amount: 2500}},
		"prevented":                  {[]*stripego.Dispute{one("prevented", 700, 7)}, domain.Dispute{State: "won", Amount: 700}},
		"prevented, by a withdrawal": {[]*stripego.Dispute{withdrawn}, domain.Dispute{State: "lost", Amount: 700}},
		"a status of the future":     {[]*stripego.Dispute{one("appealed", 700, 7)}, domain.Dispute{State: "open", Amount: 700}},
		"more than was paid":         {[]*stripego.Dispute{one("lost", 2600, 0)}, domain.Dispute{State: "lost", Amount: 2500}},
		"in another currency":        {[]*stripego.Dispute{dollars}, domain.Dispute{State: "lost", Amount: 2500}},
		"one won, one lost": {
			[]*stripego.Dispute{one("won", 500, 0), one("lost", 600, 0)}, domain.Dispute{State: "lost", Amount: 600},
		},
		"several open": {
			[]*stripego.Dispute{one("needs_response", 500, 9), one("lost", 600, 0), one("needs_response", 1, 8), one("under_review", 1, 7)}, domain.Dispute{State: "open", Amount: 502, DueMillis: 8000},
		},
		"several lost": {[]*stripego.Dispute{one("lost", 2000, 0), one("lost", 600, 0)}, domain.Dispute{State: "lost", Amount: 2500}},
	} {
		if got, err := inAll(intent, row.list); err != nil || got != row.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, row.want)
		}
	}
	if got, err := inAll(intent, nil); !errors.Is(err, errNotListed) {
		t.Errorf("none: %+v, %v", got, err)
	}
	krona := &stripego.PaymentIntent{AmountReceived: 250_000, Currency: "isk"}
	if got, err := inAll(krona, []*stripego.Dispute{{Status: "lost", Amount: 250_000, Currency: "isk"}}); err != nil || got.Amount != 2500 {
		t.Errorf("in hundredths: %+v, %v", got, err)
	}
}
