package api

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"

	"holdfast/domain"
)

// identities is a provider of them, for tests.
type identities struct {
	*httptest.Server
	t    *testing.T
	key  *rsa.PrivateKey
	gets atomic.Int64
	away atomic.Bool
	mute atomic.Bool // it says what it is, but not its keys
	// of a sign-in: what is exchanged for what
	code, verifier, token string
}

func newIdentities(t *testing.T) *identities {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &identities{t: t, key: key}
	of := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: key.Public(), KeyID: "k1", Algorithm: oidc.RS256}}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case p.away.Load(), p.mute.Load() && r.URL.Path == "/keys":
			w.WriteHeader(http.StatusBadGateway)
		case r.URL.Path == "/token":
			p.exchange(w, r)
		default:
			p.gets.Add(1)
			of.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(p.Close)
	of.SetIssuer(p.URL)
	return p
}

func (p *identities) exchange(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.FormValue("code") != p.code || r.FormValue("code_verifier") != p.verifier || r.FormValue("redirect_uri") != "https://shop.example/console/" {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`)) // whoever asked has gone
		return
	}
	if err := json.NewEncoder(w).Encode(map[string]any{"access_token": "opaque", "token_type": "Bearer", "id_token": p.token}); err != nil {
		p.t.Error(err)
	}
}

// says is a token with these claims beside those that make it one of ann's.
func (p *identities) says(claims map[string]any) string {
	p.t.Helper()
	all := map[string]any{
		"iss": p.URL, "aud": "holdfast", "sub": "ann|1", "exp": time.Now().Add(time.Hour).Unix(), "groups": []string{"staff", "night-shift"},
		"email": "ann@shop.example", "email_verified": true,
	}
	for name, value := range claims {
		all[name] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		p.t.Fatal(err)
	}
	return oidctest.SignIDToken(p.key, "k1", oidc.RS256, string(text))
}

// lets is a server that lets those in who it knows.
func (p *identities) lets(w *world) *Server {
	p.t.Helper()
	people, err := NewPeople(PeopleConfig{Issuer: p.URL, ClientID: "holdfast", Roles: []GroupRole{{domain.APIAdmin, "owners"}, {domain.APISRE, "night-shift"}, {domain.APISales, "staff"}}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(people.Close)
	s := serverOf(p.t, w, Options{})
	s.deps.People = people
	return s
}

// Who a provider of identities says that they are is let in with the role of their first group, and what they do is done in a name that they did not choose.
func TestPeople(t *testing.T) {
	p := newIdentities(t)
	s := p.lets(&world{})
	self := func(token string) Self {
		t.Helper()
		a := ask(s, http.MethodGet, "/v1/self", token, "")
		var who Self
		if err := json.Unmarshal(a.Body.Bytes(), &who); err != nil || a.Code != http.StatusOK {
			t.Fatalf("%d %s %v", a.Code, a.Body, err)
		}
		return who
	}
	if who := self(p.says(nil)); who.Role != "sre" || who.Name != "ann@shop.example" || who.KeyID != "" {
		t.Errorf("ann is %+v", who)
	}
	if who := self(p.says(map[string]any{"groups": "owners", "email_verified": false})); who.Role != "admin" || who.Name != "ann|1" {
		t.Errorf("an owner without an address that was verified is %+v", who)
	}
	if a := ask(s, http.MethodGet, "/v1/pending", p.says(nil), ""); a.Code != http.StatusOK {
		t.Errorf("an SRE: %d", a.Code)
	}
	if a := ask(s, http.MethodPost, "/v1/keys", p.says(nil), `{"role":"sales","name":"x"}`); a.Code != http.StatusForbidden {
		t.Errorf("an SRE makes a key: %d", a.Code)
	}
	if a := ask(s, http.MethodPost, "/v1/customers/fred/tokens", p.says(map[string]any{"groups": "owners"}), ""); a.Code != http.StatusForbidden {
		t.Errorf("a person makes a customer's token, which nothing would sign: %d", a.Code)
	}
	for what, want := range map[string]struct {
		token string
		code  int
	}{
		"in no group":         {p.says(map[string]any{"groups": []string{"guests"}}), http.StatusForbidden},
		"without groups":      {p.says(map[string]any{"groups": nil}), http.StatusForbidden},
		"for somebody else":   {p.says(map[string]any{"aud": "shop"}), http.StatusUnauthorized},
		"of another provider": {p.says(map[string]any{"iss": "https://other.example"}), http.StatusUnauthorized},
		"over":                {p.says(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), http.StatusUnauthorized},
		"of nobody":           {p.says(map[string]any{"sub": ""}), http.StatusUnauthorized},
		"of an ugly name":     {p.says(map[string]any{"sub": "a\nb", "email": ""}), http.StatusUnauthorized},
		"changed":             {p.says(nil) + "A", http.StatusUnauthorized},
		"unsigned":            {"eyJhbGciOiJub25lIn0." + strings.Split(p.says(nil), ".")[1] + ".", http.StatusUnauthorized},
		"signed by others":    {newIdentities(t).says(map[string]any{"iss": p.URL}), http.StatusUnauthorized},
		"nothing":             {"..", http.StatusUnauthorized},
	} {
		if a := ask(s, http.MethodGet, "/v1/self", want.token, ""); a.Code != want.code || len(want.token) > 2 && strings.Contains(a.Body.String(), want.token) {
			t.Errorf("a token %s: %d, want %d", what, a.Code, want.code)
		}
	}
}

// Made-up tokens do not have the provider asked each time; while it is away, those that its keys are known of are let in, and keys anyway.
func TestProviderIsAwayOrPestered(t *testing.T) {
	p := newIdentities(t)
	w := &world{}
	p.away.Store(true)
	s := p.lets(w)
	key := w.key(t, domain.APISRE)
	if a := ask(s, http.MethodGet, "/v1/self", p.says(nil), ""); a.Code != http.StatusServiceUnavailable || a.Header().Get("Retry-After") == "" {
		t.Errorf("the provider was never there: %d %v", a.Code, a.Header())
	}
	if a := ask(s, http.MethodGet, "/v1/self", key, ""); a.Code != http.StatusOK {
		t.Errorf("a key: %d", a.Code)
	}
	p.away.Store(false)
	s.deps.People.failed = time.Time{}
	s.deps.People.client.Transport.(*paced).asked = nil
	if a := ask(s, http.MethodGet, "/v1/self", p.says(nil), ""); a.Code != http.StatusOK {
		t.Fatalf("it is there: %d %s", a.Code, a.Body)
	}
	before, forged := p.gets.Load(), newIdentities(t).says(map[string]any{"iss": p.URL})
	for range 100 {
		ask(s, http.MethodGet, "/v1/self", forged, "")
	}
	if asked := p.gets.Load() - before; asked > 10 { // one a second
		t.Errorf("asked %d times for 100 forged tokens", asked)
	}
	p.away.Store(true)
	if a := ask(s, http.MethodGet, "/v1/self", p.says(nil), ""); a.Code != http.StatusOK {
		t.Errorf("it is away, and its keys are known: %d", a.Code)
	}
}

// A provider whose keys cannot be had says nothing about a token: that is not the caller's fault, and is over when it answers again. What it has said
// of its keys counts on, also for what they have not signed.
func TestProviderTellsNoKeys(t *testing.T) {
	p := newIdentities(t)
	w := &world{}
	s := p.lets(w)
	key := w.key(t, domain.APISRE)
	again := func() { s.deps.People.client.Transport.(*paced).asked = nil } // as if a second had passed
	asks := func(what, token string, want int) {
		t.Helper()
		a := ask(s, http.MethodGet, "/v1/self", token, "")
		if a.Code != want {
			t.Errorf("%s: %d, want %d: %s", what, a.Code, want, a.Body)
		}
		if got := a.Header().Get("Retry-After"); (got != "") != (want == http.StatusServiceUnavailable) {
			t.Errorf("%s: Retry-After %q", what, got)
		}
	}
	forged := newIdentities(t).says(map[string]any{"iss": p.URL})
	p.mute.Store(true)
	asks("no keys", p.says(nil), http.StatusServiceUnavailable)
	asks("no keys, and asked for them just now", p.says(nil), http.StatusServiceUnavailable)
	asks("no keys, and a forged token, of which that cannot be told", forged, http.StatusServiceUnavailable)
	asks("no token", "..", http.StatusUnauthorized)
	asks("a key", key, http.StatusOK)
	p.code, p.verifier, p.token = "c1", strings.Repeat("v", 43), p.says(map[string]any{"nonce": strings.Repeat("n", 16)})
	signIn := fmt.Sprintf(`{"code":"c1","code_verifier":%q,"nonce":%q,"redirect_uri":"https://shop.example/console/"}`, p.verifier, strings.Repeat("n", 16))
	if a := ask(s, http.MethodPost, "/v1/sign-in", "", signIn); a.Code != http.StatusServiceUnavailable {
		t.Errorf("a sign-in without keys: %d %s", a.Code, a.Body)
	}
	p.mute.Store(false)
	again()
	asks("the keys are there", p.says(nil), http.StatusOK)
	asks("the keys are there, and a forged token", forged, http.StatusUnauthorized)
	p.mute.Store(true)
	asks("no keys any more, but they are known", p.says(nil), http.StatusOK)
	again()
	asks("no keys any more, and none of those that are known has signed: perhaps another one has", forged, http.StatusServiceUnavailable)
	asks("no keys any more, and a token that is over", p.says(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), http.StatusUnauthorized)
	p.mute.Store(false)
	again()
	asks("the keys are there again", forged, http.StatusUnauthorized)
	asks("likewise, and asked for them just now", forged, http.StatusUnauthorized)
}

// A browser exchanges the code of a sign-in, with what it has kept to itself; nothing else is exchanged.
func TestSignIn(t *testing.T) {
	p := newIdentities(t)
	s := p.lets(&world{})
	var at SignIn
	a := ask(s, http.MethodGet, "/v1/sign-in", "", "")
	if err := json.Unmarshal(a.Body.Bytes(), &at); err != nil || !strings.HasPrefix(at.URL, p.URL+"/auth?") || !strings.Contains(at.URL, "scope=openid+email") || !strings.Contains(at.URL, "client_id=holdfast") {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	p.code, p.verifier = "c1", strings.Repeat("v", 43)
	body := func(code, verifier, nonce, redirect string) string {
		return fmt.Sprintf(`{"code":%q,"code_verifier":%q,"nonce":%q,"redirect_uri":%q}`, code, verifier, nonce, redirect)
	}
	nonce, here := strings.Repeat("n", 16), "https://shop.example/console/"
	for what, c := range map[string]struct {
		body, token string
		want        int
	}{
		"right":                {body("c1", p.verifier, nonce, here), p.says(map[string]any{"nonce": nonce}), http.StatusOK},
		"another code":         {body("c2", p.verifier, nonce, here), p.says(map[string]any{"nonce": nonce}), http.StatusUnauthorized},
		"another verifier":     {body("c1", strings.Repeat("w", 43), nonce, here), p.says(map[string]any{"nonce": nonce}), http.StatusUnauthorized},
		"another page":         {body("c1", p.verifier, nonce, "https://evil.example/"), p.says(map[string]any{"nonce": nonce}), http.StatusUnauthorized},
		"of another sign-in":   {body("c1", p.verifier, nonce, here), p.says(map[string]any{"nonce": strings.Repeat("m", 16)}), http.StatusUnauthorized},
		"of another provider":  {body("c1", p.verifier, nonce, here), newIdentities(t).says(map[string]any{"nonce": nonce}), http.StatusUnauthorized},
		"without a token":      {body("c1", p.verifier, nonce, here), "", http.StatusUnauthorized},
		"of who may nothing":   {body("c1", p.verifier, nonce, here), p.says(map[string]any{"nonce": nonce, "groups": "guests"}), http.StatusForbidden},
		"a verifier too short": {body("c1", "v", nonce, here), p.says(map[string]any{"nonce": nonce}), http.StatusUnprocessableEntity},
	} {
		s.rates, p.token = &rates{}, c.token
		a := ask(s, http.MethodPost, "/v1/sign-in", "", c.body)
		if a.Code != c.want {
			t.Errorf("%s: %d, want %d: %s", what, a.Code, c.want, a.Body)
		}
		if a.Code == http.StatusOK && (!strings.Contains(a.Body.String(), c.token) || a.Header().Get("Cache-Control") != "no-store") {
			t.Errorf("%s: %v %s", what, a.Header(), a.Body)
		}
	}
	limited := false
	for range 3 * signInsPerSecond { // of two seconds at most
		limited = limited || ask(s, http.MethodGet, "/v1/sign-in", "", "").Code == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("whoever has no key may ask without end")
	}
	none := serverOf(t, &world{}, Options{})
	if a := ask(none, http.MethodGet, "/v1/sign-in", "", ""); a.Code != http.StatusOK || strings.TrimSpace(a.Body.String()) != "{}" {
		t.Errorf("without a provider: %d %s", a.Code, a.Body)
	}
	if a := ask(none, http.MethodPost, "/v1/sign-in", "", body("c1", p.verifier, nonce, here)); a.Code != http.StatusNotFound {
		t.Errorf("without a provider: %d %s", a.Code, a.Body)
	}
}

func TestPeopleConfig(t *testing.T) {
	good := PeopleConfig{Issuer: "https://id.example", ClientID: "holdfast", Roles: []GroupRole{{domain.APISRE, "ops"}}}
	if p, err := NewPeople(good); err != nil || p.config.GroupsClaim != "groups" {
		t.Errorf("%v", err)
	}
	for what, spoil := range map[string]func(*PeopleConfig){
		"no issuer":           func(c *PeopleConfig) { c.Issuer = "" },
		"no client":           func(c *PeopleConfig) { c.ClientID = "" },
		"an issuer in clear":  func(c *PeopleConfig) { c.Issuer = "http://id.example" },
		"nobody":              func(c *PeopleConfig) { c.Roles = nil },
		"people as checkouts": func(c *PeopleConfig) { c.Roles = []GroupRole{{domain.APICheckout, "ops"}} },
		"people as customers": func(c *PeopleConfig) { c.Roles = []GroupRole{{roleCustomer, "ops"}} },
		"no group":            func(c *PeopleConfig) { c.Roles = []GroupRole{{domain.APISRE, ""}} },
	} {
		c := good
		spoil(&c)
		if _, err := NewPeople(c); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}
