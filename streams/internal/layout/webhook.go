package layout

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/domain"
)

// webhook is how an endpoint is stored. What a later version adds, this one passes over.
type webhook struct {
	URL          string              `json:"url"`
	Types        []domain.FactType   `json:"types"`
	AllowPrivate bool                `json:"allow_private,omitempty"`
	State        domain.WebhookState `json:"state"`
	Why          string              `json:"why,omitempty"`
	Since        int64               `json:"since"`
	From         int64               `json:"from"`
	By           string              `json:"by,omitempty"`
}

// EncodeWebhook is what is stored of an endpoint under its id.
func EncodeWebhook(w domain.Webhook) (string, error) {
	text, err := json.Marshal(webhook{w.URL, w.Types, w.AllowPrivate, w.State, w.Why, w.SinceMillis, w.FromMillis, w.By})
	if err != nil {
		return "", fmt.Errorf("webhook %s: %w", w.ID, err)
	}
	return string(text), nil
}

// DecodeWebhook is the inverse.
func DecodeWebhook(id, text string) (domain.Webhook, error) {
	var w webhook
	if json.Unmarshal([]byte(text), &w) != nil || w.URL == "" {
		return domain.Webhook{}, damaged("webhook", id)
	}
	return domain.Webhook{
		ID: id, URL: w.URL, Types: w.Types, AllowPrivate: w.AllowPrivate, State: w.State, Why: w.Why, SinceMillis: w.Since, FromMillis: w.From, By: w.By,
	}, nil
}

// webhookSecrets is how an endpoint's secrets are stored.
type webhookSecrets struct {
	Current             []byte `json:"current"`
	Previous            []byte `json:"previous,omitempty"`
	PreviousUntilMillis int64  `json:"previous_until,omitempty"`
}

// EncodeWebhookSecrets is what is stored of them.
func EncodeWebhookSecrets(s domain.WebhookSecrets) (string, error) {
	text, err := json.Marshal(webhookSecrets(s))
	if err != nil {
		return "", fmt.Errorf("secrets of a webhook: %w", err)
	}
	return string(text), nil
}

// DecodeWebhookSecrets is the inverse. Its error does not repeat what is stored.
func DecodeWebhookSecrets(id, text string) (domain.WebhookSecrets, error) {
	var s webhookSecrets
	if json.Unmarshal([]byte(text), &s) != nil || len(s.Current) == 0 {
		return domain.WebhookSecrets{}, damaged("secrets of webhook", id)
	}
	return domain.WebhookSecrets(s), nil
}

// WebhookMark is up to where the log of a partition was copied for an endpoint.
type WebhookMark struct {
	Branch      string
	Position    LogID
	UntilMillis int64 // of a replay: facts that are younger are not sent again; 0: it is none
}

// String is how it is stored.
func (m WebhookMark) String() string {
	return m.Branch + "|" + m.Position.String() + "|" + strconv.FormatInt(m.UntilMillis, 10)
}

// DecodeWebhookMark reads it; nothing is the zero mark.
func DecodeWebhookMark(text string) (WebhookMark, error) {
	if text == "" {
		return WebhookMark{}, nil
	}
	values := strings.Split(text, "|")
	if len(values) != 3 {
		return WebhookMark{}, damaged("mark of a webhook", text)
	}
	until, err := strconv.ParseInt(values[2], 10, 64)
	m := WebhookMark{Branch: values[0], Position: ParseLogID(values[1]), UntilMillis: until}
	if err != nil || m.String() != text {
		return WebhookMark{}, damaged("mark of a webhook", text)
	}
	return m, nil
}

// DecodeWebhookLease reads until when somebody sends; 0 if nobody ever did.
func DecodeWebhookLease(text string) int64 {
	until, _, _ := strings.Cut(text, "|")
	return domain.EntryMillis(until)
}

// DecodeWebhookCount reads WebhookWaiting, WebhookTaken or WebhookFailed.
func DecodeWebhookCount(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, damaged("how many messages of a webhook there are", text)
	}
	return n, nil
}

// WebhookHeader is what stands above the messages of an order: how often, and since when, the first of them was tried.
func WebhookHeader(m domain.WebhookMessage) string {
	return strconv.FormatInt(m.Attempts, 10) + "|" + strconv.FormatInt(m.FirstMillis, 10)
}

// WebhookLine is a message as it waits.
func WebhookLine(m domain.WebhookMessage) string { return m.Fact + " " + string(m.Type) }

// DecodeWebhookMessage reads a message as it was given out: its order, the header and its line.
func DecodeWebhookMessage(order, header, line string) (domain.WebhookMessage, error) {
	ref, ok := domain.ParseOrderRef(order)
	attempts, first, _ := strings.Cut(header, "|")
	fact, kind, _ := strings.Cut(line, " ")
	n := numbers{}
	m := domain.WebhookMessage{Fact: fact, Type: domain.FactType(kind), Ref: ref, Attempts: n.parse(attempts), FirstMillis: n.parse(first)}
	if !ok || n.err != nil || domain.EntryMillis(strings.SplitN(fact, "#", 2)[0]) == 0 || !m.Type.Known() {
		return domain.WebhookMessage{}, damaged("message of a webhook", order+" "+header+" "+line)
	}
	return m, nil
}

// webhookTry is how a try is stored.
type webhookTry struct {
	At      int64           `json:"at"`
	Fact    string          `json:"fact"`
	Type    domain.FactType `json:"type"`
	Order   string          `json:"order"`
	Attempt int64           `json:"attempt"`
	Status  int             `json:"status,omitempty"`
	Why     string          `json:"why,omitempty"`
	Took    int64           `json:"took"`
}

// EncodeWebhookTry is what is stored of a try.
func EncodeWebhookTry(t domain.WebhookTry) (string, error) {
	text, err := json.Marshal(webhookTry{t.AtMillis, t.Fact, t.Type, t.Ref.String(), t.Attempt, t.Status, t.Why, t.TookMillis})
	if err != nil {
		return "", fmt.Errorf("try of a webhook: %w", err)
	}
	return string(text), nil
}

// DecodeWebhookTry is the inverse.
func DecodeWebhookTry(text string) (domain.WebhookTry, error) {
	var t webhookTry
	if json.Unmarshal([]byte(text), &t) != nil {
		return domain.WebhookTry{}, damaged("try of a webhook", text)
	}
	ref, ok := domain.ParseOrderRef(t.Order)
	if !ok {
		return domain.WebhookTry{}, damaged("try of a webhook", text)
	}
	return domain.WebhookTry{AtMillis: t.At, Fact: t.Fact, Type: t.Type, Ref: ref, Attempt: t.Attempt, Status: t.Status, Why: t.Why, TookMillis: t.Took}, nil
}

// DecodeWebhooks reads all endpoints that are stored, the oldest first.
func DecodeWebhooks(stored map[string]string) ([]domain.Webhook, error) {
	hooks := make([]domain.Webhook, 0, len(stored))
	for id, text := range stored {
		w, err := DecodeWebhook(id, text)
		if err != nil {
			return nil, err
		}
		hooks = append(hooks, w)
	}
	slices.SortFunc(hooks, func(a, b domain.Webhook) int {
		return cmp.Or(cmp.Compare(a.FromMillis, b.FromMillis), cmp.Compare(a.ID, b.ID))
	})
	return hooks, nil
}

// WebhookIDs are the endpoints that fields of WebhookMarks are of.
func WebhookIDs(fields []string) []string {
	var ids []string
	for _, field := range fields {
		id, _, _ := strings.Cut(field, "#")
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
