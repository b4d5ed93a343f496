package stripe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	stripego "github.com/stripe/stripe-go/v85"

	"holdfast/domain"
)

// What an intent's metadata says of its order.
const (
	metadataName        = "holdfast_payment" // domain.PaymentName
	metadataCustomer    = "holdfast_customer"
	metadataFingerprint = "holdfast_fingerprint"
)

var (
	errSeveral    = errors.New("several intents have its name")
	errProcessing = errors.New("the payment is being processed")
)

// key is the idempotency key of a call about a payment. Names may be longer than keys, so it is a hash.
func key(name domain.PaymentName, call string) *string {
	sum := sha256.Sum256([]byte(name.String() + "\n" + call))
	return stripego.String("holdfast-" + hex.EncodeToString(sum[:]))
}

// expanded has the charge come with the intent: what was given back is told there.
func expanded() []*string { return []*string{stripego.String("latest_charge")} }

// intent finds the intent of an attempt, and makes it if there is none, unconfirmed. errNeverMade: Stripe would not; ErrNotFound:
// nothing is known to make it of.
func (c *Client) intent(ctx context.Context, a domain.Attempt) (*stripego.PaymentIntent, error) {
	switch {
	case isIntent(a.AuthorizationID):
		return c.retrieve(ctx, a.AuthorizationID)
	case a.AuthorizationID != "":
		return nil, fmt.Errorf("%w: the order's payment was not made by Stripe", domain.ErrUnacceptable)
	}
	var amount int64
	if a.Currency != "" {
		var err error
		if amount, err = checkAmount(a); err != nil {
			return nil, fmt.Errorf("%w: %w", errNeverMade, err)
		}
	}
	if age := c.now().Sub(time.UnixMilli(a.HeldAtMillis)); a.HeldAtMillis == 0 || age > keyLife || a.Currency == "" {
		if intent, err := c.search(ctx, a.Name); err != nil || intent != nil {
			return intent, err
		}
	}
	if a.Currency == "" {
		return nil, domain.ErrNotFound
	}
	intent, err := c.create(ctx, a, amount)
	switch {
	case otherParameters(err), stored(err) && serverFault(err):
		found, searched := c.search(ctx, a.Name)
		switch {
		case searched != nil:
			return nil, searched
		case found == nil: // yet: it may be a minute late
			return nil, err
		}
		return found, nil
	case err == nil && intent.LastResponse != nil && intent.LastResponse.Header.Get(replayedHeader) == "true":
		return c.retrieve(ctx, intent.ID) // as it is now, and not as it was
	}
	return intent, err
}

func serverFault(err error) bool {
	e, ok := asStripe(err)
	return ok && e.HTTPStatusCode >= 500
}

// isIntent reports whether an id is that of an intent, and can be part of a path.
func isIntent(id string) bool {
	rest := strings.TrimPrefix(id, "pi_")
	return rest != id && rest != "" && word(id) == id && !strings.ContainsAny(id, ".[]-")
}

func (c *Client) create(ctx context.Context, a domain.Attempt, amount int64) (*stripego.PaymentIntent, error) {
	params := &stripego.PaymentIntentCreateParams{
		Amount: stripego.Int64(amount), Currency: stripego.String(lower(a.Currency)),
		CaptureMethod: stripego.String(string(stripego.PaymentIntentCaptureMethodManual)),
		// What needs a page to come back to is left out: nobody here knows one.
		AutomaticPaymentMethods: &stripego.PaymentIntentCreateAutomaticPaymentMethodsParams{Enabled: stripego.Bool(true), AllowRedirects: stripego.String("never")},
		Metadata:                metadataOf(a),
		Expand:                  expanded(),
	}
	params.IdempotencyKey = key(a.Name, "create")
	intent, err := patiently(ctx, func() (*stripego.PaymentIntent, error) { return c.api.V1PaymentIntents.Create(ctx, params) })
	if e, ok := asStripe(err); ok && e.HTTPStatusCode == http.StatusBadRequest && e.Type == stripego.ErrorTypeInvalidRequest {
		return nil, fmt.Errorf("%w: %w", errNeverMade, err)
	}
	return c.checked(intent, err)
}

// update makes an intent that nobody was asked to pay what the attempt asks for. Should somebody else make it another thing before it is
// confirmed, that shows in the answer, and is not believed.
func (c *Client) update(ctx context.Context, id string, a domain.Attempt) (*stripego.PaymentIntent, error) {
	amount, err := checkAmount(a)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNeverMade, err)
	}
	intent, err := patiently(ctx, func() (*stripego.PaymentIntent, error) {
		return c.api.V1PaymentIntents.Update(ctx, id, &stripego.PaymentIntentUpdateParams{
			Amount: &amount, Currency: stripego.String(lower(a.Currency)), Metadata: metadataOf(a), Expand: expanded(),
		})
	})
	if unexpected(err) {
		return c.retrieve(ctx, id)
	}
	return c.checked(intent, err)
}

func metadataOf(a domain.Attempt) map[string]string {
	metadata := map[string]string{metadataName: a.Name.String()}
	for name, value := range map[string]string{metadataCustomer: a.CustomerID, metadataFingerprint: a.Fingerprint} {
		if value != "" {
			metadata[name] = value
		}
	}
	return metadata
}

func (c *Client) retrieve(ctx context.Context, id string) (*stripego.PaymentIntent, error) {
	return c.checked(c.api.V1PaymentIntents.Retrieve(ctx, id, &stripego.PaymentIntentRetrieveParams{Expand: expanded()}))
}

// search finds the intent by its name in the metadata; nil if there is none yet. What was made within the last minute may be missing.
func (c *Client) search(ctx context.Context, name domain.PaymentName) (*stripego.PaymentIntent, error) {
	params := &stripego.PaymentIntentSearchParams{}
	params.Query = "metadata['" + metadataName + "']:'" + name.String() + "'"
	var id string
	for intent, err := range c.api.V1PaymentIntents.Search(ctx, params).All(ctx) {
		switch {
		case err != nil:
			return nil, err
		case intent.Metadata[metadataName] != name.String(): // a search does not heed capitals
		case id != "" && id != intent.ID:
			return nil, fmt.Errorf("%w: %w", domain.ErrUnacceptable, errSeveral)
		default:
			id = intent.ID
		}
	}
	if id == "" {
		return nil, nil //nolint:nilnil // it is not there (yet), which is no error
	}
	if !isIntent(id) {
		return nil, errNotStripe
	}
	return c.retrieve(ctx, id)
}

// confirm has the customer pay, once. What came of it is what the intent says then.
func (c *Client) confirm(ctx context.Context, id string, r domain.PaymentRequest) (*stripego.PaymentIntent, error) {
	params := &stripego.PaymentIntentConfirmParams{Expand: expanded()}
	if token := string(r.Token); strings.HasPrefix(token, "ctoken_") {
		params.ConfirmationToken = &token
	} else {
		params.PaymentMethod = &token
	}
	params.IdempotencyKey = key(r.Name, "confirm")
	intent, err := patiently(ctx, func() (*stripego.PaymentIntent, error) { return c.api.V1PaymentIntents.Confirm(ctx, id, params) })
	e, isStripe := asStripe(err)
	switch {
	case isStripe && e.HTTPStatusCode == http.StatusPaymentRequired:
		intent, err = c.retrieve(ctx, id)
		if err == nil && unconfirmed(intent) { // the decline has left no trace: it is made one
			return c.cancel(ctx, id, stripego.PaymentIntentCancellationReasonAbandoned)
		}
		return intent, err
	case unexpected(err), otherParameters(err), stored(err) && serverFault(err):
		return c.retrieve(ctx, id)
	case err == nil && intent.LastResponse != nil && intent.LastResponse.Header.Get(replayedHeader) == "true":
		return c.retrieve(ctx, id)
	}
	return c.checked(intent, err)
}

// capture takes what was authorized, unless the intent's state says otherwise.
func (c *Client) capture(ctx context.Context, id string) (*stripego.PaymentIntent, error) {
	intent, err := patiently(ctx, func() (*stripego.PaymentIntent, error) {
		return c.api.V1PaymentIntents.Capture(ctx, id, &stripego.PaymentIntentCaptureParams{Expand: expanded()})
	})
	if unexpected(err) {
		return c.retrieve(ctx, id)
	}
	if e, ok := asStripe(err); ok && e.Code == stripego.ErrorCodeChargeExpiredForCapture {
		return nil, fmt.Errorf("%w: the authorization has expired", domain.ErrRefused)
	}
	return c.checked(intent, err)
}

// cancel ends what is not captured. If the intent's state does not allow that, it is returned as it is.
func (c *Client) cancel(ctx context.Context, id string, reason stripego.PaymentIntentCancellationReason) (*stripego.PaymentIntent, error) {
	intent, err := patiently(ctx, func() (*stripego.PaymentIntent, error) {
		return c.api.V1PaymentIntents.Cancel(ctx, id, &stripego.PaymentIntentCancelParams{CancellationReason: stripego.String(string(reason)), Expand: expanded()})
	})
	if unexpected(err) {
		return c.retrieve(ctx, id)
	}
	return c.checked(intent, err)
}

// refund gives back amount minor units more than p says.
func (c *Client) refund(ctx context.Context, name domain.PaymentName, p domain.Payment, amount int64) error {
	more, err := toStripe(amount, p.Currency)
	if err != nil {
		return fmt.Errorf("%w: %w", domain.ErrUnacceptable, err)
	}
	params := &stripego.RefundCreateParams{
		PaymentIntent: &p.AuthorizationID, Amount: &more, Metadata: map[string]string{metadataName: name.String()},
	}
	params.IdempotencyKey = key(name, "refund after "+strconv.FormatInt(p.Refunded, 10))
	_, err = patiently(ctx, func() (*stripego.Refund, error) { return c.api.V1Refunds.Create(ctx, params) })
	if e, isStripe := asStripe(err); isStripe && e.Code == stripego.ErrorCodeChargeDisputed {
		return fmt.Errorf("%w: its charge is disputed", domain.ErrRefused)
	}
	return err
}

// checked is an answer that is an intent of the key's mode.
func (c *Client) checked(intent *stripego.PaymentIntent, err error) (*stripego.PaymentIntent, error) {
	switch {
	case err != nil:
		return nil, err
	case intent == nil || !isIntent(intent.ID):
		return nil, errNotStripe
	case intent.Livemode != c.live:
		return nil, errForeign
	}
	return intent, nil
}

// asks reports whether an intent is what the attempt asks for.
func asks(intent *stripego.PaymentIntent, a domain.Attempt) bool {
	amount, err := checkAmount(a)
	return err == nil && intent.Amount == amount && string(intent.Currency) == lower(a.Currency) && intent.Metadata[metadataName] == a.Name.String() &&
		intent.Metadata[metadataCustomer] == a.CustomerID && intent.Metadata[metadataFingerprint] == a.Fingerprint
}

// unconfirmed: nobody was ever asked to pay it.
func unconfirmed(intent *stripego.PaymentIntent) bool {
	switch intent.Status { //nolint:exhaustive // of the others it is not so
	case stripego.PaymentIntentStatusRequiresPaymentMethod, stripego.PaymentIntentStatusRequiresConfirmation:
		return intent.LastPaymentError == nil
	}
	return false
}

// declined: somebody was asked, and did not pay. Stripe would let them try again.
func declined(intent *stripego.PaymentIntent) bool {
	return intent.Status == stripego.PaymentIntentStatusRequiresPaymentMethod && intent.LastPaymentError != nil
}

// open: it can be cancelled.
func open(intent *stripego.PaymentIntent) bool {
	switch intent.Status { //nolint:exhaustive // the others cannot
	case stripego.PaymentIntentStatusRequiresPaymentMethod, stripego.PaymentIntentStatusRequiresConfirmation,
		stripego.PaymentIntentStatusRequiresAction, stripego.PaymentIntentStatusRequiresCapture:
		return true
	}
	return false
}

// outcome is what an intent says. One that was declined is cancelled before that is told. ErrNotFound: it was never confirmed.
func (c *Client) outcome(ctx context.Context, intent *stripego.PaymentIntent) (domain.Payment, error) {
	if declined(intent) {
		var err error
		if intent, err = c.cancel(ctx, intent.ID, stripego.PaymentIntentCancellationReasonAbandoned); err != nil {
			return domain.Payment{}, err
		}
		if declined(intent) {
			return domain.Payment{}, errUnderWay
		}
	}
	return payment(intent)
}

// payment reads an intent.
func payment(intent *stripego.PaymentIntent) (domain.Payment, error) {
	p := domain.Payment{
		AuthorizationID: intent.ID, Currency: upper(intent.Currency),
		CustomerID: intent.Metadata[metadataCustomer], Fingerprint: intent.Metadata[metadataFingerprint],
	}
	amount, refunded := intent.Amount, int64(0)
	switch intent.Status {
	case stripego.PaymentIntentStatusRequiresPaymentMethod, stripego.PaymentIntentStatusRequiresConfirmation:
		return domain.Payment{}, domain.ErrNotFound
	case stripego.PaymentIntentStatusRequiresAction:
		p.Status = domain.PaymentStatusActionRequired
	case stripego.PaymentIntentStatusProcessing:
		return domain.Payment{}, errProcessing
	case stripego.PaymentIntentStatusRequiresCapture:
		p.Status, amount = domain.PaymentStatusAuthorized, intent.AmountCapturable
	case stripego.PaymentIntentStatusSucceeded:
		p.Status, amount = domain.PaymentStatusCaptured, intent.AmountReceived
		if intent.LatestCharge == nil {
			return domain.Payment{}, errNotStripe
		}
		if refunded = intent.LatestCharge.AmountRefunded; refunded >= amount {
			p.Status, refunded = domain.PaymentStatusRefunded, amount
		}
	case stripego.PaymentIntentStatusCanceled:
		p.Status = domain.PaymentStatusVoided
		switch {
		case intent.CancellationReason == stripego.PaymentIntentCancellationReasonAbandoned:
			p.Status = domain.PaymentStatusDeclined
		case intent.PaymentMethod == nil && intent.LatestCharge == nil: // it was made to be cancelled
			return domain.Payment{Status: domain.PaymentStatusVoided, Amount: domain.AmountNotTold}, nil
		}
	default:
		return domain.Payment{}, errNotStripe
	}
	var err error
	if p.Amount, err = fromStripe(amount, p.Currency); err == nil {
		p.Refunded, err = fromStripe(refunded, p.Currency)
	}
	if err != nil {
		return domain.Payment{}, fmt.Errorf("%w: %w", errNotStripe, err)
	}
	return p, nil
}
