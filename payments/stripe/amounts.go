package stripe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	stripego "github.com/stripe/stripe-go/v85"

	"holdfast/domain"
)

// MaxAmount is the largest amount of a payment that Stripe takes, in Stripe's unit: eight digits.
const MaxAmount = 99_999_999

// A mark is a payment that is made only to be cancelled, for an order of which no amount is known. It is above every minimum.
const (
	markCurrency = "USD"
	markAmount   = 1000
)

// minimums are https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts, as of API 2026-03-25.
func minimums() domain.Minimums {
	return domain.Minimums{
		"AED": 200, "AUD": 50, "BGN": 100, "BRL": 50, "CAD": 50, "CHF": 50, "CZK": 1500, "DKK": 250, "EUR": 50, "GBP": 30,
		"HKD": 400, "HUF": 17500, "INR": 50, "JPY": 50, "MXN": 1000, "MYR": 200, "NOK": 300, "NZD": 50, "PLN": 200, "RON": 200,
		"SEK": 300, "SGD": 50, "THB": 1000, "USD": 50,
	}
}

// Where Stripe's unit is not the minor unit of ISO 4217.
var (
	// hundredths: they have no cents, but Stripe counts some.
	hundredths = []string{"ISK", "UGX"}
	// whole: they have cents that Stripe does not count.
	whole = []string{"MGA"}
	// tens: Stripe counts the third digit, and wants it to be 0.
	tens = []string{"BHD", "JOD", "KWD", "OMR", "TND"}
)

var (
	errNotOfStripe = errors.New("an amount that Stripe's unit of the currency cannot say")
	errAmount      = errors.New("an amount that Stripe does not take")
)

// toStripe is an amount in minor units as Stripe counts it.
func toStripe(amount int64, currency string) (int64, error) {
	switch {
	case slices.Contains(hundredths, currency):
		return amount * 100, nil
	case slices.Contains(whole, currency):
		if amount%100 != 0 {
			return 0, errNotOfStripe
		}
		return amount / 100, nil
	case slices.Contains(tens, currency) && amount%10 != 0:
		return 0, errNotOfStripe
	}
	return amount, nil
}

// fromStripe is an amount that Stripe tells, in minor units.
func fromStripe(amount int64, currency string) (int64, error) {
	switch {
	case amount < 0 || amount > domain.MaxAmount/100:
		return 0, errAmount
	case slices.Contains(whole, currency):
		return amount * 100, nil
	case slices.Contains(hundredths, currency):
		if amount%100 != 0 {
			return 0, errNotOfStripe
		}
		return amount / 100, nil
	}
	return amount, nil
}

// checkAmount returns Stripe's amount of an attempt that can be paid for at Stripe.
func checkAmount(a domain.Attempt) (int64, error) {
	if !domain.ValidCurrency(a.Currency) || a.CustomerID != "" && !domain.ValidID(a.CustomerID) {
		return 0, errors.New("not a valid currency and customer_id")
	}
	if a.Amount < max(minimums()[a.Currency], 1) || a.Amount > domain.MaxAmount/100 {
		return 0, fmt.Errorf("%w: %d %s", errAmount, a.Amount, a.Currency)
	}
	amount, err := toStripe(a.Amount, a.Currency)
	if err == nil && (amount < 1 || amount > MaxAmount) {
		err = errAmount
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %d %s", err, a.Amount, a.Currency)
	}
	return amount, nil
}

func lower(currency string) string { return strings.ToLower(currency) }

func upper(currency stripego.Currency) string { return strings.ToUpper(string(currency)) }
