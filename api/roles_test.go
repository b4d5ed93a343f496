package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/producer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a namespace of which a test says what is in it.
type world struct {
	keys      []domain.APIKey
	err       error // of every look at keys
	used      map[string]int64
	published []domain.Request
	event     domain.Event
	ids       []string // of events; default: e1 and e2
	orders    map[domain.OrderRef]domain.Order
	setAside  []domain.SetAside
	invoices  []InvoiceLine

	mu   sync.Mutex
	away []map[domain.RefusedDemand]int64
	full bool // nobody can be counted
}

func (w *world) TurnAway(_ context.Context, places map[domain.RefusedDemand]int64) (map[domain.RefusedDemand]int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.full {
		return places, errors.New("full")
	}
	w.away = append(w.away, places)
	return nil, nil
}

// countNobody says whether nobody can be counted from now on.
func (w *world) countNobody(full bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.full = full
}

// counted is what was turned away so far.
func (w *world) counted() []map[domain.RefusedDemand]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.away)
}

func (w *world) List(context.Context) ([]domain.APIKey, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.keys, w.err
}

func (w *world) Used(_ context.Context, millis map[string]int64) error {
	w.used = millis
	return nil
}

func (w *world) Append(_ context.Context, batch []domain.Request, _ domain.Confirmation) []domain.Appended {
	w.published = append(w.published, batch...)
	list := make([]domain.Appended, len(batch))
	for i := range list {
		list[i].EntryID = "1700000000000-0"
	}
	return list
}

func (w *world) Partition(string) int { return 0 }

func (w *world) Look(_ context.Context, refs []domain.OrderRef) []domain.Looked {
	list := make([]domain.Looked, len(refs))
	for i, ref := range refs {
		list[i].Order, list[i].SetAside = w.orders[ref], w.setAside
	}
	return list
}

func (w *world) SeatNames(context.Context, string, domain.Items) (map[string][]string, error) {
	return nil, nil
}

func (w *world) InLine(context.Context, int, string) (domain.InLine, error) {
	return domain.InLine{State: domain.LineWaiting, Ahead: 7, Wait: time.Second}, nil
}

func (w *world) Watch(ctx context.Context, _ int, sink domain.OutcomeSink) error {
	sink.Connected()
	<-ctx.Done()
	return ctx.Err()
}

func (w *world) IDs(context.Context) ([]string, error) {
	if w.ids != nil {
		return w.ids, nil
	}
	return []string{"e1", "e2"}, nil
}

func (w *world) Get(_ context.Context, id string) (domain.Event, error) {
	if id != "e1" && id != "e2" && !slices.Contains(w.ids, id) {
		return domain.Event{}, domain.WithClass(domain.ClassReject, domain.ErrNotFound)
	}
	return w.event, nil
}

func (w *world) Sales(context.Context, string) (Sales, error) { return Sales{}, nil }

func (w *world) Refused(context.Context, string, domain.Event) ([]Refused, error) { return nil, nil }

func (w *world) Series(context.Context, string, int64, int64) ([]SalesStep, int64, error) {
	return nil, 0, nil
}

func (w *world) Invoices(context.Context, string) ([]InvoiceLine, error) {
	return slices.Clone(w.invoices), nil
}

// staff does whatever is asked, which is nothing.
type staff struct{}

func (staff) Create(context.Context, string, domain.Terms, domain.Cause) (bool, error) {
	return true, nil
}

func (staff) Adjust(_ context.Context, _ string, change func(domain.Event) (domain.Terms, error), _ domain.Cause) (bool, error) {
	_, err := change(domain.Event{Name: "E", Currency: "EUR", Sections: []domain.Section{{Name: "general", Price: 1, Capacity: 2, Available: 2}}})
	return err == nil, err
}
func (staff) Close(context.Context, string, domain.Cause) (bool, error)  { return true, nil }
func (staff) Reopen(context.Context, string, domain.Cause) (bool, error) { return true, nil }
func (staff) CallOff(context.Context, string, domain.Cause) (CalledOff, error) {
	return CalledOff{}, nil
}
func (staff) Pending(context.Context) ([]json.RawMessage, error) { return nil, nil }
func (staff) Explain(context.Context, domain.OrderRef, string) ([]json.RawMessage, error) {
	return nil, nil
}
func (staff) Workers(context.Context) ([]json.RawMessage, error) { return nil, nil }
func (staff) Check(context.Context) ([]json.RawMessage, error)   { return nil, nil }
func (staff) Doctor(context.Context) ([]json.RawMessage, error)  { return nil, nil }
func (staff) DeadLetters(context.Context, string, int) ([]json.RawMessage, error) {
	return nil, nil
}
func (staff) DeadLetter(context.Context, string) ([]json.RawMessage, error)  { return nil, nil }
func (staff) HandledLetters(context.Context, int) ([]json.RawMessage, error) { return nil, nil }

func (staff) Redrive(context.Context, []string, domain.Cause) (done, failed []json.RawMessage, err error) {
	return nil, nil, nil
}

func (staff) Reroute(context.Context, []string, domain.Cause) (done, failed []json.RawMessage, err error) {
	return nil, nil, nil
}

func (staff) Discard(context.Context, []string, domain.Cause) (done, failed []json.RawMessage, err error) {
	return nil, nil, nil
}

func (staff) Orders(context.Context, OrderSearch) ([]json.RawMessage, error) { return nil, nil }

func (staff) OrdersNamed(context.Context, string) ([]json.RawMessage, error) { return nil, nil }

func (staff) History(context.Context, domain.OrderRef) ([]json.RawMessage, error) { return nil, nil }

func (staff) Pauses(context.Context) ([]json.RawMessage, error)  { return nil, nil }
func (staff) Audited(context.Context) ([]json.RawMessage, error) { return nil, nil }
func (staff) Pause(context.Context, string, time.Duration, domain.Cause) ([]json.RawMessage, error) {
	return nil, nil
}

func (staff) Resume(context.Context, string, domain.Cause) ([]json.RawMessage, error) {
	return nil, nil
}

func (staff) AddKey(context.Context, domain.APIKey) error { return nil }

func (staff) RevokeKey(context.Context, string) error { return nil }

func (staff) Webhooks(context.Context) ([]json.RawMessage, error)        { return nil, nil }
func (staff) Webhook(context.Context, string) ([]json.RawMessage, error) { return nil, nil }
func (staff) AddWebhook(context.Context, string, []string, string) ([]json.RawMessage, error) {
	return nil, nil
}
func (staff) RotateWebhook(context.Context, string) ([]json.RawMessage, error)  { return nil, nil }
func (staff) EnableWebhook(context.Context, string) ([]json.RawMessage, error)  { return nil, nil }
func (staff) DisableWebhook(context.Context, string) ([]json.RawMessage, error) { return nil, nil }
func (staff) RemoveWebhook(context.Context, string) ([]json.RawMessage, error)  { return nil, nil }
func (staff) TestWebhook(context.Context, string) ([]json.RawMessage, error)    { return nil, nil }
func (staff) ReplayWebhook(context.Context, string, int64, int64) ([]json.RawMessage, error) {
	return nil, nil
}

func (staff) Audit(_ context.Context, progress func(AuditProgress)) (json.RawMessage, error) {
	progress(AuditProgress{Partitions: 1, Of: 2})
	return json.RawMessage(`{"ok":true}`), nil
}

// serverOf is a server of a world, which ends with the test.
func serverOf(t *testing.T, w *world, o Options) *Server {
	t.Helper()
	p := producer.New(w, w, producer.Options{})
	t.Cleanup(p.Close)
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return New(Deps{Producer: p, Outcomes: w, Events: w, Books: w, Keys: w, Demand: w, Organising: staff{}, Operating: staff{}, Finding: staff{}, Managing: staff{}, NextSteps: steps{}}, o)
}

// key adds one to the world, and returns it.
func (w *world) key(t *testing.T, role domain.APIRole, events ...string) string {
	t.Helper()
	secret, key, err := NewKey(role, "name", events, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.keys = append(w.keys, key)
	return secret
}

// ask sends a request, and returns the answer.
func ask(s *Server, method, target, key, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), method, target, strings.NewReader(body))
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if strings.HasSuffix(target, "/updates") { // they would go on
		ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
		defer cancel()
		r = r.WithContext(ctx)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer := httptest.NewRecorder()
	s.Handler().ServeHTTP(answer, r)
	return answer
}

// calls are a request for each endpoint that would do, and who may call it: C checkout, V customer-view, S sales, O organiser, R sre,
// A admin, and c whoever has a customer's token.
var calls = map[string]struct{ method, target, body, may string }{
	"order":          {http.MethodPost, "/v1/orders", `{"event_id":"e1","order_id":"o","customer_id":"fred","quantity":1}`, "CA"},
	"pay":            {http.MethodPost, "/v1/orders/e1/o/pay", `{"payment_token":"t"}`, "CA"},
	"payment-update": {http.MethodPost, "/v1/orders/e1/o/payment-update", `{}`, "CA"},
	"next-step":      {http.MethodGet, "/v1/orders/e1/o/next-step", "", "CA"},
	"cancel":         {http.MethodPost, "/v1/orders/e1/o/cancel", ``, "COA"},
	"refund":         {http.MethodPost, "/v1/orders/e1/o/refund", `{"change":1,"amount":1}`, "OA"},
	"change":         {http.MethodPost, "/v1/orders/e1/o/change", `{"change":1,"items":[{"section":"general","quantity":1}]}`, "CA"},
	"order-show":     {http.MethodGet, "/v1/orders/e1/o", ``, "CVORAc"},
	"order-updates":  {http.MethodGet, "/v1/orders/e1/o/updates", ``, "CVORAc"},
	"event-updates":  {http.MethodGet, "/v1/events/e1/updates", ``, "CVSORAc"},
	"events":         {http.MethodGet, "/v1/events", ``, "CVSORAc"},
	"event":          {http.MethodGet, "/v1/events/e1", ``, "CVSORAc"},
	"event-seats":    {http.MethodGet, "/v1/events/e1/seats", ``, "CVSORAc"},
	"purchases":      {http.MethodGet, "/v1/customers/fred/purchases", ``, "CVAc"},
	"customer-token": {http.MethodPost, "/v1/customers/fred/tokens", ``, "CA"},
	"sales":          {http.MethodGet, "/v1/sales", ``, "SORA"},

	"sales-series": {http.MethodGet, "/v1/sales/series?event=e1&step=5m", ``, "SORA"},
	"orders-bulk":  {http.MethodPost, "/v1/orders/bulk", `{"event_id":"e2","order_id":"o","customer_id":"fred","quantity":1}`, "CA"},

	"event-create":   {http.MethodPost, "/v1/events", `{"event_id":"e1","currency":"EUR","name":"E","sections":[{"section":"general","price":1,"capacity":2}]}`, "OA"},
	"event-adjust":   {http.MethodPost, "/v1/events/e1/adjust", `{"name":"E"}`, "OA"},
	"event-close":    {http.MethodPost, "/v1/events/e1/close", ``, "OA"},
	"event-reopen":   {http.MethodPost, "/v1/events/e1/reopen", ``, "OA"},
	"event-call-off": {http.MethodPost, "/v1/events/e1/call-off", `{"reason":"ill"}`, "OA"},

	"pending":              {http.MethodGet, "/v1/pending", ``, "RA"},
	"explain":              {http.MethodGet, "/v1/pending/e1/o", ``, "RA"},
	"workers":              {http.MethodGet, "/v1/workers", ``, "RA"},
	"check":                {http.MethodGet, "/v1/check", ``, "RA"},
	"doctor":               {http.MethodGet, "/v1/doctor", ``, "RA"},
	"pauses":               {http.MethodGet, "/v1/pauses", ``, "RA"},
	"pause":                {http.MethodPost, "/v1/pauses", `{"event_id":"e1","reason":"ill"}`, "RA"},
	"resume":               {http.MethodPost, "/v1/pauses/resume", `{"event_id":"e1","reason":"well"}`, "RA"},
	"audited":              {http.MethodGet, "/v1/audit", ``, "RA"},
	"audit":                {http.MethodPost, "/v1/audit", ``, "RA"},
	"dead-letters":         {http.MethodGet, "/v1/dead-letters", ``, "RA"},
	"dead-letter":          {http.MethodGet, "/v1/dead-letters/0:1-0", ``, "RA"},
	"self":                 {http.MethodGet, "/v1/self", ``, "CVSORAc"},
	"orders":               {http.MethodGet, "/v1/orders?event=e1", ``, "RA"},
	"order-history":        {http.MethodGet, "/v1/orders/e1/o/history", ``, "RA"},
	"keys":                 {http.MethodGet, "/v1/keys", ``, "RA"},
	"key-create":           {http.MethodPost, "/v1/keys", `{"role":"admin","name":"ann","events":["e1"]}`, "A"},
	"key-revoke":           {http.MethodDelete, "/v1/keys/none", ``, "A"},
	"webhooks":             {http.MethodGet, "/v1/webhooks", ``, "RA"},
	"webhook":              {http.MethodGet, "/v1/webhooks/wh_1", ``, "RA"},
	"webhook-add":          {http.MethodPost, "/v1/webhooks", `{"url":"https://shop.example","events":["order.held"]}`, "A"},
	"webhook-rotate":       {http.MethodPost, "/v1/webhooks/wh_1/rotate", ``, "A"},
	"webhook-enable":       {http.MethodPost, "/v1/webhooks/wh_1/enable", ``, "RA"},
	"webhook-disable":      {http.MethodPost, "/v1/webhooks/wh_1/disable", ``, "RA"},
	"webhook-test":         {http.MethodPost, "/v1/webhooks/wh_1/test", ``, "RA"},
	"webhook-replay":       {http.MethodPost, "/v1/webhooks/wh_1/replay", `{"since":1}`, "RA"},
	"webhook-remove":       {http.MethodDelete, "/v1/webhooks/wh_1", ``, "A"},
	"dead-letters-handled": {http.MethodGet, "/v1/dead-letters/handled", ``, "RA"},
	"dead-letters-redrive": {http.MethodPost, "/v1/dead-letters/redrive", `{"ids":["0:1-0"]}`, "RA"},
	"dead-letters-reroute": {http.MethodPost, "/v1/dead-letters/reroute", `{"ids":["0:1-0"]}`, "RA"},
	"dead-letters-discard": {http.MethodPost, "/v1/dead-letters/discard", `{"ids":["0:1-0"]}`, "RA"},
}

// Every endpoint with every role, and with none.
func TestRoles(t *testing.T) {
	w := &world{orders: map[domain.OrderRef]domain.Order{}}
	s := serverOf(t, w, Options{})
	callers := map[byte]string{
		'C': w.key(t, domain.APICheckout), 'V': w.key(t, domain.APICustomerView), 'S': w.key(t, domain.APISales),
		'O': w.key(t, domain.APIOrganiser), 'R': w.key(t, domain.APISRE), 'A': w.key(t, domain.APIAdmin), 'n': "",
	}
	token, err := mint(w.keys[slices.IndexFunc(w.keys, func(k domain.APIKey) bool { return k.Role == domain.APICheckout })], "fred", false, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	callers['c'] = token
	other := w.key(t, domain.APIAdmin, "e9")
	// What a key for some events is answered: about these alone. All else is about an event that is not among them, or about all.
	bounded := map[string]bool{
		"self": true, "events": true, "sales": true, "purchases": true, "customer-token": true, "orders-bulk": true, "keys": true, "key-revoke": true,
	}
	seen := 0
	for path, item := range s.huma.OpenAPI().Paths {
		for _, op := range []*struct{ id string }{operation(item.Get), operation(item.Post), operation(item.Put), operation(item.Delete), operation(item.Patch)} {
			if op == nil {
				continue
			}
			seen++
			call, known := calls[op.id]
			if !known {
				t.Errorf("%s (%s): nobody has said who may call it", op.id, path)
				continue
			}
			w.orders[domain.OrderRef{EventID: "e1", OrderID: "o"}] = domain.Order{State: domain.OrderConfirmed, CustomerID: "fred"}
			for role, caller := range callers {
				s.rates = &rates{} // these are many
				a := ask(s, call.method, call.target, caller, call.body)
				switch want := strings.IndexByte(call.may, role) >= 0; {
				case role == 'n' && a.Code != http.StatusUnauthorized:
					t.Errorf("%s without a key: %d", op.id, a.Code)
				case role != 'n' && want == (a.Code == http.StatusForbidden), a.Code >= 500, want && a.Code == http.StatusUnauthorized:
					t.Errorf("%s as %c: %d %s", op.id, role, a.Code, a.Body)
				}
			}
			if a := ask(s, call.method, call.target, other, call.body); !bounded[op.id] && a.Code != http.StatusForbidden {
				t.Errorf("%s with a key for another event: %d %s", op.id, a.Code, a.Body)
			}
		}
	}
	if seen != len(calls) {
		t.Errorf("%d endpoints, %d calls", seen, len(calls))
	}
	if a := ask(s, http.MethodGet, "/v1/events", other, ""); strings.Contains(a.Body.String(), `"e1"`) {
		t.Errorf("a key for another event lists %s", a.Body)
	}
	if a := ask(s, http.MethodGet, "/v1/sales?event=e1", other, ""); a.Code != http.StatusForbidden {
		t.Errorf("sales with a key for another event: %d", a.Code)
	}
}

// A customer sees what is theirs, and of all else not even whether it is there.
func TestCustomersSeeTheirs(t *testing.T) {
	w := &world{orders: map[domain.OrderRef]domain.Order{
		{EventID: "e1", OrderID: "mine"}:   {State: domain.OrderConfirmed, CustomerID: "fred"},
		{EventID: "e1", OrderID: "theirs"}: {State: domain.OrderConfirmed, CustomerID: "amy"},
	}}
	s := serverOf(t, w, Options{})
	w.key(t, domain.APICheckout)
	token, err := mint(w.keys[0], "fred", false, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]int{
		"/v1/orders/e1/mine": http.StatusOK, "/v1/orders/e1/theirs": http.StatusNotFound, "/v1/orders/e1/theirs?receipt=pay~~1~0~x": http.StatusNotFound,
		"/v1/orders/e1/none": http.StatusNotFound, "/v1/customers/fred/purchases": http.StatusOK, "/v1/customers/amy/purchases": http.StatusForbidden,
	} {
		if a := ask(s, http.MethodGet, target, token, ""); a.Code != want {
			t.Errorf("%s: %d, want %d: %s", target, a.Code, want, a.Body)
		}
	}
	w.setAside = []domain.SetAside{{Type: domain.RequestPurchase, Reason: "secret"}}
	if a := ask(s, http.MethodGet, "/v1/orders/e1/none", token, ""); a.Code != http.StatusNotFound || strings.Contains(a.Body.String(), "secret") {
		t.Errorf("of a request that was set aside: %d %s", a.Code, a.Body)
	}
}

// A customer cancels what is theirs, as a whole and while it is held, if the checkout has said so when it made the token; and nothing else.
func TestCustomersCancelWhatIsHeld(t *testing.T) {
	w := &world{orders: map[domain.OrderRef]domain.Order{
		{EventID: "e1", OrderID: "held"}:   {State: domain.OrderHeld, CustomerID: "fred"},
		{EventID: "e1", OrderID: "lapsed"}: {State: domain.OrderLapsed, CustomerID: "fred"},
		{EventID: "e1", OrderID: "bought"}: {State: domain.OrderConfirmed, CustomerID: "fred"},
		{EventID: "e1", OrderID: "over"}:   {State: domain.OrderCancelled, CustomerID: "fred"},
		{EventID: "e1", OrderID: "theirs"}: {State: domain.OrderHeld, CustomerID: "amy"},
	}}
	s := serverOf(t, w, Options{})
	w.key(t, domain.APICheckout)
	token := func(cancels bool) string {
		t.Helper()
		made, err := mint(w.keys[0], "fred", cancels, time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	may, mayNot := token(true), token(false)
	for _, c := range []struct {
		order, token, body string
		want               int
	}{
		{"held", mayNot, ``, http.StatusForbidden},
		{"bought", may, ``, http.StatusForbidden},
		{"theirs", may, ``, http.StatusNotFound},
		{"none", may, ``, http.StatusNotFound},
		{"held", may, `{"no_refund":true}`, http.StatusForbidden},
		{"held", may, `{"change":1,"items":[{"section":"general","quantity":1}]}`, http.StatusForbidden},
		{"held", may, `{"reason":"ill"}`, http.StatusAccepted},
		{"lapsed", may, ``, http.StatusAccepted},
		{"over", may, ``, http.StatusAccepted}, // as whoever had no answer asks again
	} {
		before := len(w.published)
		a := ask(s, http.MethodPost, "/v1/orders/e1/"+c.order+"/cancel", c.token, c.body)
		if a.Code != c.want || (len(w.published) > before) != (c.want == http.StatusAccepted) {
			t.Errorf("%s %s: %d, want %d; %d published: %s", c.order, c.body, a.Code, c.want, len(w.published)-before, a.Body)
		}
	}
	if first := w.published[0]; first.Type != domain.RequestCancel || first.OrderID != "held" || first.Cause != (domain.Cause{Reason: "ill", By: "customer fred"}) {
		t.Errorf("published: %+v", first)
	}
}

// Keys and tokens that are not what they seem to be let nobody in.
func TestForgeries(t *testing.T) {
	w := &world{}
	s := serverOf(t, w, Options{})
	secret := w.key(t, domain.APICheckout)
	sales := w.key(t, domain.APISales)
	good, err := mint(w.keys[0], "fred", false, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	late, err := mint(w.keys[0], "fred", false, time.Now().Add(-time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	bySales, err := mint(w.keys[1], "fred", false, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	head, tail, _ := strings.Cut(strings.TrimPrefix(good, tokenPrefix), ".")
	byHolder := domain.APIKey{ID: w.keys[0].ID, Hash: "guessed"}
	guessed, err := mint(byHolder, "fred", false, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for _, forged := range []string{
		"", "x", "hf_", "hf__", secret + "a", secret[:len(secret)-1], keyPrefix + w.keys[0].ID + "_", keyPrefix + w.keys[1].ID + secret[3+idLength:], w.keys[0].Hash,
		late, bySales, guessed, tokenPrefix, tokenPrefix + head, tokenPrefix + head + ".", tokenPrefix + "." + tail, tokenPrefix + head + "x." + tail, good + "A", tokenPrefix + "e30." + tail,
	} {
		if a := ask(s, http.MethodGet, "/v1/events", forged, ""); a.Code != http.StatusUnauthorized || a.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%q: %d", forged, a.Code)
		} else if forged != "" && strings.Contains(a.Body.String(), forged) && len(forged) > 3 {
			t.Errorf("%q is repeated: %s", forged, a.Body)
		}
	}
	for _, right := range []string{secret, sales, good} {
		if a := ask(s, http.MethodGet, "/v1/events", right, ""); a.Code != http.StatusOK {
			t.Errorf("a key, or a token, that is right: %d %s", a.Code, a.Body)
		}
	}
}

// A revoked key lets nobody in half a second later, nor do its tokens; and while the keys cannot be read, nobody gets in.
func TestRevoked(t *testing.T) {
	w := &world{}
	k := newKeyring(w, zap.NewNop())
	w.key(t, domain.APICheckout)
	id := w.keys[0].ID
	if _, found, err := k.find(t.Context(), id); !found || err != nil {
		t.Fatalf("found %v, %v", found, err)
	}
	kept := w.keys
	w.keys = nil
	if _, found, err := k.find(t.Context(), id); !found || err != nil {
		t.Errorf("it is looked for each time: %v, %v", found, err)
	}
	k.read = k.read.Add(-keysStale)
	if _, found, err := k.find(t.Context(), id); found || err != nil {
		t.Errorf("revoked: %v, %v", found, err)
	}
	if w.used[id] == 0 {
		t.Error("when it was used is not noted")
	}
	w.keys = kept
	if _, found, err := k.find(t.Context(), id); !found || err != nil {
		t.Errorf("a new one is not looked for: %v, %v", found, err)
	}
	w.err = errors.New("away")
	k.read = k.read.Add(-keysStale)
	if _, found, err := k.find(t.Context(), id); found || err == nil {
		t.Errorf("the keys cannot be read: %v, %v", found, err)
	}
}

func TestRates(t *testing.T) {
	w := &world{}
	s := serverOf(t, w, Options{Rate: 3})
	key, other := w.key(t, domain.APISales), w.key(t, domain.APISales)
	limited := 0
	for range 8 { // of two seconds at most
		a := ask(s, http.MethodGet, "/v1/events", key, "")
		if a.Code == http.StatusTooManyRequests {
			limited++
			if a.Header().Get("Retry-After") != "1" || a.Header().Get("RateLimit") != `"second";r=0;t=1` {
				t.Errorf("headers %v", a.Header())
			}
		}
	}
	if limited == 0 {
		t.Error("no request was one too many")
	}
	if a := ask(s, http.MethodGet, "/v1/events", other, ""); a.Code != http.StatusOK || a.Header().Get("RateLimit-Policy") != `"second";q=3;w=1` {
		t.Errorf("another key: %d %v", a.Code, a.Header())
	}
	r, now := &rates{}, time.Unix(100, 0)
	if a, b, c := r.take("a", 1, now), r.take("a", 1, now), r.take("a", 1, now.Add(time.Second)); a != 0 || b != -1 || c != 0 {
		t.Errorf("left %d, %d, %d", a, b, c)
	}
}
