package stripe

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/stripe/stripe-go/v85/webhook"

	"holdfast/domain"
)

// ErrNotSigned says that a webhook is not signed with one of the secrets, or was too long ago (5 minutes): it may be anybody's, or come again.
var ErrNotSigned = errors.New("want a Stripe-Signature of this body, by the secret of the endpoint, that is younger than 5 minutes")

// maxSecrets of a webhook endpoint are those of a rotation: the old one and the new one.
const maxSecrets = 2

// Webhooks reads what Stripe sends of its own accord. It is safe for concurrent use.
type Webhooks struct{ secrets []string }

// NewWebhooks takes the signing secrets of the endpoint (whsec_…): one, or two while it is rotated. Errors are of
// domain.ClassFatal, and quote none.
func NewWebhooks(secrets []domain.Secret) (*Webhooks, error) {
	w := &Webhooks{}
	for _, s := range secrets {
		secret := string(s)
		if !strings.HasPrefix(secret, "whsec_") || len(secret) > maxKeyLength || strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, domain.WithClass(domain.ClassFatal, errors.New("stripe webhook secret: want one that begins with whsec_"))
		}
		w.secrets = append(w.secrets, secret)
	}
	if n := len(w.secrets); n < 1 || n > maxSecrets {
		return nil, domain.WithClass(domain.ClassFatal, errors.New("stripe webhook secrets: want one, or two while it is rotated"))
	}
	return w, nil
}

// Notice is what a webhook is about.
type Notice struct {
	Type string // Stripe's word, such as payment_intent.succeeded; for people
	Name domain.PaymentName
	// Disputed is the id of the intent of which a dispute has news. Then it has no Name: Client.NameOf finds that.
	Disputed string
	Kind     domain.GatewayKind // the mode
}

// Read returns what a webhook is about; ours is false if that is no payment of holdfast's: whatever its name, nothing is
// to be done. signature is the header Stripe-Signature. ErrNotSigned: it is not Stripe's, and nothing of it was read.
func (w *Webhooks) Read(body []byte, signature string) (notice Notice, ours bool, err error) {
	signed := false
	for _, secret := range w.secrets {
		signed = signed || webhook.ValidatePayload(body, signature, secret) == nil
	}
	if !signed {
		return Notice{}, false, ErrNotSigned
	}
	// Whatever version of Stripe's API the endpoint has: these do not change.
	var event struct {
		Object   string `json:"object"`
		Account  string `json:"account"` // somebody else's, who is connected to this one
		Type     string `json:"type"`
		Livemode bool   `json:"livemode"`
		Data     struct {
			Object struct {
				Object   string            `json:"object"`
				Metadata map[string]string `json:"metadata"`
				Intent   string            `json:"payment_intent"` // of a dispute
			} `json:"object"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &event); err != nil || event.Object != "event" || event.Account != "" {
		return Notice{}, false, nil //nolint:nilerr // another thing, that somebody has asked Stripe to send here
	}
	notice = Notice{Type: word(event.Type), Kind: domain.GatewayStripeTest}
	switch about := event.Data.Object; about.Object {
	case "payment_intent":
		if notice.Name, err = domain.ParsePaymentName(about.Metadata[metadataName]); err != nil {
			return Notice{}, false, nil //nolint:nilerr // somebody else's
		}
	case "dispute":
		if notice.Disputed = about.Intent; !isIntent(about.Intent) {
			return Notice{}, false, nil
		}
	default:
		return Notice{}, false, nil
	}
	if event.Livemode {
		notice.Kind = domain.GatewayStripe
	}
	return notice, true, nil
}
