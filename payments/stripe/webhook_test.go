package stripe_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"

	"holdfast/domain"
	"holdfast/payments/stripe"
)

const (
	oldSecret, newSecret = "whsec_old", "whsec_new"
	aboutPayment         = `{"id":"evt_1","object":"event","api_version":"2020-08-27","type":"payment_intent.succeeded","livemode":false,"data":{"object":{"object":"payment_intent","metadata":{"holdfast_payment":"n/e/o/attempts/2"}}}}`
)

// signed is the header of a body, as Stripe makes it.
func signed(body, secret string, at time.Time) string {
	return webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: secret, Timestamp: at}).Header
}

func newWebhooks(t testing.TB, secrets ...domain.Secret) *stripe.Webhooks {
	t.Helper()
	hooks, err := stripe.NewWebhooks(secrets)
	if err != nil {
		t.Fatal(err)
	}
	return hooks
}

// What is not signed by one of the secrets, or was long ago, is not read.
func TestWebhooksAreSigned(t *testing.T) {
	hooks, now := newWebhooks(t, oldSecret, newSecret), time.Now()
	other := strings.Replace(aboutPayment, "n/e/o", "n/e/p", 1)
	both := signed(aboutPayment, "whsec_elsewhere", now) + "," + strings.SplitN(signed(aboutPayment, newSecret, now), ",", 2)[1]
	for name, row := range map[string]struct {
		body, signature string
		ok              bool
	}{
		"old secret":                {aboutPayment, signed(aboutPayment, oldSecret, now), true},
		"new secret":                {aboutPayment, signed(aboutPayment, newSecret, now), true},
		"two signatures":            {aboutPayment, both, true},
		"four minutes ago":          {aboutPayment, signed(aboutPayment, newSecret, now.Add(-4*time.Minute)), true},
		"six minutes ago":           {aboutPayment, signed(aboutPayment, newSecret, now.Add(-6*time.Minute)), false},
		"another time than signed":  {aboutPayment, strings.Replace(signed(aboutPayment, newSecret, now.Add(-time.Hour)), "t=", "t=9", 1), false},
		"another secret":            {aboutPayment, signed(aboutPayment, "whsec_elsewhere", now), false},
		"another body":              {other, signed(aboutPayment, newSecret, now), false},
		"no signature":              {aboutPayment, "", false},
		"no time":                   {aboutPayment, "v1=00", false},
		"nonsense":                  {aboutPayment, "t=x,v1=,,=", false},
		"another kind of signature": {aboutPayment, strings.Replace(signed(aboutPayment, newSecret, now), "v1=", "v0=", 1), false},
	} {
		notice, ours, err := hooks.Read([]byte(row.body), row.signature)
		switch {
		case !row.ok && (!errors.Is(err, stripe.ErrNotSigned) || ours || notice != (stripe.Notice{})):
			t.Errorf("%s: %+v, %v, %v", name, notice, ours, err)
		case row.ok && (err != nil || !ours || notice.Name.String() != "n/e/o/attempts/2" || notice.Kind != domain.GatewayStripeTest):
			t.Errorf("%s: %+v, %v, %v", name, notice, ours, err)
		}
	}
}

// What is signed, and about something else, is heard and passed over.
func TestWebhooksAboutOtherThings(t *testing.T) {
	hooks := newWebhooks(t, newSecret)
	for name, body := range map[string]string{
		"no JSON":             "x",
		"null":                "null",
		"another object":      strings.Replace(aboutPayment, `"payment_intent","metadata"`, `"charge","metadata"`, 1),
		"not an event":        strings.Replace(aboutPayment, `"object":"event"`, `"object":"v2.core.event"`, 1),
		"a connected account": strings.Replace(aboutPayment, `"id":"evt_1"`, `"account":"acct_1"`, 1),
		"no name":             strings.Replace(aboutPayment, "holdfast_payment", "order", 1),
		"a name that is none": strings.Replace(aboutPayment, "n/e/o", "n/e/o o", 1),
		"a thin event":        `{"object":"event","data":null}`,
		"metadata of a list":  strings.Replace(aboutPayment, `{"holdfast_payment":"n/e/o/attempts/2"}`, "[]", 1),
	} {
		if notice, ours, err := hooks.Read([]byte(body), signed(body, newSecret, time.Now())); err != nil || ours {
			t.Errorf("%s: %+v, %v, %v", name, notice, ours, err)
		}
	}
	live := strings.Replace(aboutPayment, `"livemode":false`, `"livemode":true`, 1)
	if notice, ours, err := hooks.Read([]byte(live), signed(live, newSecret, time.Now())); err != nil || !ours || notice.Kind != domain.GatewayStripe {
		t.Errorf("live: %+v, %v, %v", notice, ours, err)
	}
}

func TestWebhookSecrets(t *testing.T) {
	for _, secrets := range [][]domain.Secret{nil, {"sk_test_1"}, {""}, {"whsec_a b"}, {"whsec_" + domain.Secret(strings.Repeat("x", 300))}, {"whsec_1", "whsec_2", "whsec_3"}} {
		if _, err := stripe.NewWebhooks(secrets); domain.ClassOf(err) != domain.ClassFatal || strings.Contains(err.Error(), "_1") {
			t.Errorf("%d secrets: %v", len(secrets), err)
		}
	}
}

// FuzzWebhooks reads whatever is signed.
func FuzzWebhooks(f *testing.F) {
	for _, body := range []string{aboutPayment, "", "{}", "null", `{"object":"event","data":{"object":{"object":"payment_intent","metadata":{"holdfast_payment":"e/o"}}}}`} {
		f.Add(body, "t=1,v1=00")
	}
	f.Fuzz(func(t *testing.T, body, signature string) {
		hooks := newWebhooks(t, newSecret)
		if notice, ours, err := hooks.Read([]byte(body), signature); !errors.Is(err, stripe.ErrNotSigned) || ours {
			t.Errorf("not signed: %+v, %v, %v", notice, ours, err)
		}
		notice, ours, err := hooks.Read([]byte(body), signed(body, newSecret, time.Now()))
		if err != nil || ours != (notice.Name.OrderID != "") {
			t.Errorf("%+v, %v, %v", notice, ours, err)
		}
		if name, err := domain.ParsePaymentName(notice.Name.String()); ours && (err != nil || name != notice.Name) {
			t.Errorf("%+v: %v", notice, err)
		}
	})
}

// A dispute has no metadata: what it says is of which intent it is, and nothing else of it is read.
func TestWebhooksOfDisputes(t *testing.T) {
	hooks := newWebhooks(t, newSecret)
	for _, what := range []string{"created", "updated", "closed"} {
		body := `{"id":"evt_2","object":"event","api_version":"2025-09-30","type":"charge.dispute.` + what + `","livemode":false,"data":{"object":{"id":"dp_1","object":"dispute",` +
			`"amount":2500,"currency":"eur","charge":"ch_1","payment_intent":"pi_1","status":"needs_response","metadata":{"holdfast_payment":"n/e/o"}}}}`
		notice, ours, err := hooks.Read([]byte(body), signed(body, newSecret, time.Now()))
		if want := (stripe.Notice{Type: "charge.dispute." + what, Disputed: "pi_1", Kind: domain.GatewayStripeTest}); err != nil || !ours || notice != want {
			t.Errorf("%s: %+v, %v, %v, want %+v", what, notice, ours, err, want)
		}
		if _, _, err := hooks.Read([]byte(body), signed(body, "whsec_elsewhere", time.Now())); !errors.Is(err, stripe.ErrNotSigned) {
			t.Errorf("%s, not signed: %v", what, err)
		}
		for _, none := range []string{`"payment_intent":null`, `"payment_intent":"ch_1"`, `"payment_intent":"pi_1/capture"`, `"payment_intent":""`} {
			body := strings.Replace(body, `"payment_intent":"pi_1"`, none, 1)
			if notice, ours, err := hooks.Read([]byte(body), signed(body, newSecret, time.Now())); err != nil || ours {
				t.Errorf("%s with %s: %+v, %v, %v", what, none, notice, ours, err)
			}
		}
	}
}
