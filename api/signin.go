package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"holdfast/domain"
)

// SignIn is where people sign in.
type SignIn struct {
	URL string `json:"url,omitempty" doc:"Of the provider of identities, with all that it is to be told but redirect_uri, state, nonce and code_challenge (S256). Left out: there is none, and only keys are let in."`
}

// SignInRequest is what the provider has given to a browser, and what that has kept to itself (PKCE).
type SignInRequest struct {
	Code        string `json:"code" minLength:"1" maxLength:"4096"`
	Verifier    string `json:"code_verifier" minLength:"43" maxLength:"128"`
	Nonce       string `json:"nonce" minLength:"16" maxLength:"128"`
	RedirectURI string `json:"redirect_uri" minLength:"1" maxLength:"2048" doc:"As the provider was told it."`
}

// SignedIn is the token of a person.
type SignedIn struct {
	Token       string `json:"token" doc:"For the header Authorization: Bearer TOKEN."`
	UntilMillis int64  `json:"until"`
}

// signInsPerSecond is how often a process is asked, by all together who have no key yet.
const signInsPerSecond = 20

// registerSignIn adds what the console asks before anybody has signed in.
func (s *Server) registerSignIn() {
	registerOpen(s, huma.Operation{
		OperationID: "sign-in", Method: http.MethodGet, Path: "/v1/sign-in", Summary: "Where people sign in", Tags: []string{"keys"},
		Description: "For everybody, as the console asks it before anybody has signed in.",
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body SignIn }, error) {
		if s.deps.People == nil {
			return &struct{ Body SignIn }{}, nil
		}
		at, err := s.deps.People.signInURL(ctx)
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct{ Body SignIn }{SignIn{at}}, nil
	})
	registerOpen(s, huma.Operation{
		OperationID: "signed-in", Method: http.MethodPost, Path: "/v1/sign-in", Summary: "Exchange the code of a sign-in for the token of a person", Tags: []string{"keys"},
		Description: "What the token may do, and for how long, the provider of identities says.",
	}, func(ctx context.Context, in *struct{ Body SignInRequest }) (*struct {
		CacheControl string `header:"Cache-Control"`
		Body         SignedIn
	}, error,
	) {
		if s.deps.People == nil {
			return nil, problemOf(http.StatusNotFound, domain.CodeNotFound, "this process was started without a provider of identities")
		}
		token, until, err := s.deps.People.signIn(ctx, in.Body)
		if err != nil {
			return nil, s.problem(err)
		}
		return &struct {
			CacheControl string `header:"Cache-Control"`
			Body         SignedIn
		}{"no-store", SignedIn{token, until.UnixMilli()}}, nil
	})
}

// signInURL is where the browser of somebody is to be sent.
func (p *People) signInURL(ctx context.Context) (string, error) {
	provider, _, err := p.known(ctx)
	if err != nil {
		return "", err
	}
	at := provider.Endpoint().AuthURL
	separator := "?"
	if strings.Contains(at, "?") {
		separator = "&"
	}
	return at + separator + url.Values{
		"response_type": {"code"}, "client_id": {p.config.ClientID}, "scope": {strings.Join(append([]string{"openid"}, p.config.Scopes...), " ")}, "code_challenge_method": {"S256"},
	}.Encode(), nil
}
