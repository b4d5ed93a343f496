//go:build planted

package stripe_test

import (
	"testing"

	"holdfast/e2e/torture"
)

func TestPlantedBugs(t *testing.T) {
	torture.PlantEach(t, "bugs planted in the adapter for Stripe", 3, plantedBugs, "-rapid.nofailfile")
}

var plantedBugs = []torture.Bug{
	{"each create makes another intent", "intent.go", `params.IdempotencyKey = key(a.Name, "create")`, `params.IdempotencyKey = key(a.Name, "create "+c.now().String())`},
	{"no search when the key may be forgotten", "intent.go", "a.HeldAtMillis == 0 || age > keyLife || a.Currency == \"\"", "age < 0"},
	{"a key that answers a stored fault is given up for another", "intent.go", "		case found == nil: // yet: it may be a minute late\n			return nil, err\n", "		case found == nil:\n			a.Fingerprint += \"2\"\n			a.Name.Attempt = 9\n			return c.create(ctx, a, amount)\n"},
	{"an intent is confirmed that asks for something else", "stripe.go", "unconfirmed(intent) && !asks(intent, r.Attempt) {", "unconfirmed(intent) && false {"},
	{"a confirmation under its own key each time", "intent.go", `params.IdempotencyKey = key(r.Name, "confirm")`, `params.IdempotencyKey = key(r.Name, "confirm "+c.now().String())`},
	{"a stored answer is told as what is", "intent.go", "		return c.retrieve(ctx, intent.ID) // as it is now, and not as it was\n", "		return intent, err\n"},
	{"a decline is told before it is final", "intent.go", "	if declined(intent) {\n		var err error", "	if false && declined(intent) {\n		var err error"},
	{"a void makes nothing of what is not there", "stripe.go", "		if a.Currency == \"\" {\n			a.Currency, a.Amount = markCurrency, markAmount\n		}\n", ""},
	{"a refund without a key", "intent.go", `params.IdempotencyKey = key(name, "refund after "+strconv.FormatInt(p.Refunded, 10))`, "_ = strconv.Itoa"},
	{"a refund gives back the total again", "stripe.go", "c.refund(ctx, a.Name, p, total-p.Refunded)", "c.refund(ctx, a.Name, p, total)"},
	{"a 500 is a no", "failure.go", "contended(err), status >= 500,", "contended(err), status > 599,"},
	{"no money is told for an answer that nobody knows", "intent.go", "	case stripego.PaymentIntentStatusProcessing:\n		return domain.Payment{}, errProcessing\n", ""},
	{"live and test mode are one", "intent.go", "	case intent.Livemode != c.live:\n		return nil, errForeign\n", ""},
	{"a dispute is told as over that is not", "dispute.go", "	return domain.DisputeOpen\n}", "	return domain.DisputeWon\n}"},
	{"a refund of a disputed charge is unacceptable, for ever", "intent.go", "e.Code == stripego.ErrorCodeChargeDisputed", "e.Code == \"\""},
	{"capitals are not told apart", "intent.go", "case intent.Metadata[metadataName] != name.String(): // a search does not heed capitals", "case !strings.EqualFold(intent.Metadata[metadataName], name.String()):"},
}
