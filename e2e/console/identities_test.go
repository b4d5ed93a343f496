package console

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"
)

// identities is a provider of them that takes everybody for ann, who is in the group night-shift, and checks PKCE. It returns its URL.
func identities(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked := map[string]url.Values{} // by code
	provider := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: key.Public(), KeyID: "k1", Algorithm: oidc.RS256}}}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	provider.SetIssuer(server.URL)
	mux.Handle("/", provider)
	mux.HandleFunc("GET /auth", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		code := rand.Text()
		asked[code] = r.URL.Query()
		back := url.Values{"code": {code}, "state": {r.FormValue("state")}}
		http.Redirect(w, r, r.FormValue("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		was, known := asked[r.FormValue("code")]
		delete(asked, r.FormValue("code"))
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		w.Header().Set("Content-Type", "application/json")
		if !known || was.Get("code_challenge_method") != "S256" || was.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || was.Get("redirect_uri") != r.FormValue("redirect_uri") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_grant"}`)) // whoever asked has gone
			return
		}
		claims, err := json.Marshal(map[string]any{
			"iss": server.URL, "aud": was.Get("client_id"), "sub": "1", "exp": time.Now().Add(time.Hour).Unix(), "nonce": was.Get("nonce"),
			"email": "ann@shop.example", "email_verified": true, "groups": []string{"night-shift"},
		})
		if err != nil {
			t.Error(err)
		}
		token := oidctest.SignIDToken(key, "k1", oidc.RS256, string(claims))
		if err := json.NewEncoder(w).Encode(map[string]string{"access_token": "opaque", "token_type": "Bearer", "id_token": token}); err != nil {
			t.Error(err)
		}
	})
	return server.URL
}
