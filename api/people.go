package api

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"holdfast/domain"
)

// GroupRole says which role those have who are in a group.
type GroupRole struct {
	Role  domain.APIRole
	Group string
}

// PeopleConfig says whose word is taken for who people are.
type PeopleConfig struct {
	// Issuer is the URL of the provider, and ClientID for whom its tokens must be.
	Issuer, ClientID string
	// ClientSecret is what the provider wants to hear when somebody signs in; empty: nothing, PKCE is enough.
	ClientSecret string
	// GroupsClaim is where tokens say the groups of a person. Default groups.
	GroupsClaim string
	// Scopes are asked for beside openid when somebody signs in. Default email.
	Scopes []string
	// Roles are those of groups: the first whose group a person is in counts. Who is in none is let in nowhere.
	Roles []GroupRole
}

// personRoles are those that people may have: a checkout is none, and the tokens of its customers are signed with its key.
var personRoles = []domain.APIRole{domain.APICustomerView, domain.APISales, domain.APIOrganiser, domain.APISRE, domain.APIAdmin}

// Limits of what a provider of identities is asked.
const (
	providerPatience = 5 * time.Second
	providerPause    = time.Second // between two questions, whoever has caused them
)

// People tell who holds a token of a provider of identities (OpenID Connect). The provider is asked when somebody comes, and not before:
// while it is away keys work as ever, and tokens do that its keys are known of.
type People struct {
	config PeopleConfig
	client *http.Client

	mu       sync.Mutex
	provider *oidc.Provider
	verifier *oidc.IDTokenVerifier
	failed   time.Time
	err      error
}

// NewPeople returns them. Error: ClassReject, if what is configured cannot be.
func NewPeople(c PeopleConfig) (*People, error) {
	c.GroupsClaim = cmp.Or(c.GroupsClaim, "groups")
	if len(c.Scopes) == 0 {
		c.Scopes = []string{"email"}
	}
	switch {
	case c.Issuer == "" || c.ClientID == "":
		return nil, errors.New("want an issuer, and the client id that its tokens are for")
	case !strings.HasPrefix(c.Issuer, "https://") && !strings.HasPrefix(c.Issuer, "http://127.0.0.1:"):
		return nil, errors.New("the issuer: want https")
	case len(c.Roles) == 0:
		return nil, errors.New("want the role of at least one group: else nobody is let in")
	}
	for _, r := range c.Roles {
		if r.Group == "" || !slices.Contains(personRoles, r.Role) {
			return nil, fmt.Errorf("want ROLE=GROUP, with a role of %v", personRoles)
		}
	}
	client := &http.Client{Timeout: providerPatience, Transport: &paced{pause: providerPause, next: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConns: 2, IdleConnTimeout: idleTimeout, ForceAttemptHTTP2: true,
	}}}
	return &People{config: c, client: client}, nil
}

// Close ends the connections.
func (p *People) Close() { p.client.CloseIdleConnections() }

// paced asks for keys once in a while at most: whoever makes up tokens shall not have the provider asked each time.
type paced struct {
	next  http.RoundTripper
	pause time.Duration

	mu    sync.Mutex
	asked map[string]time.Time // by path
}

// RoundTrip implements http.RoundTripper.
func (t *paced) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet { // of the same URLs ever: what it is, and its keys
		t.mu.Lock()
		last := t.asked[r.URL.Path]
		early := time.Since(last) < t.pause
		if !early {
			if t.asked == nil {
				t.asked = make(map[string]time.Time)
			}
			t.asked[r.URL.Path] = time.Now()
		}
		t.mu.Unlock()
		if early {
			return nil, &askedJustNow{last}
		}
	}
	return t.next.RoundTrip(r)
}

// askedJustNow says that the provider was asked for that at a time that is no second ago.
type askedJustNow struct{ at time.Time }

func (*askedJustNow) Error() string { return "the provider was asked for that just now" }

// known is the provider, which is asked what it is if that is not known yet.
func (p *People) known(ctx context.Context) (*oidc.Provider, *oidc.IDTokenVerifier, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.provider != nil {
		return p.provider, p.verifier, nil
	}
	if time.Since(p.failed) < providerPause {
		return nil, nil, p.err
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.client), p.config.Issuer)
	var says struct {
		KeysURL    string   `json:"jwks_uri"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err == nil {
		err = provider.Claims(&says)
	}
	if err != nil {
		p.failed, p.err = time.Now(), domain.WithClass(domain.ClassRetry, fmt.Errorf("asking the provider of identities: %w", err))
		return nil, nil, p.err
	}
	keys := &signers{remote: oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), p.client), says.KeysURL)}
	p.provider, p.verifier = provider, oidc.NewVerifier(p.config.Issuer, keys, &oidc.Config{
		ClientID:             p.config.ClientID,
		SupportedSigningAlgs: slices.DeleteFunc(says.Algorithms, func(name string) bool { return !slices.Contains(signedWith, name) }),
	})
	return p.provider, p.verifier, nil
}

// signedWith are the algorithms of signatures that anybody can check and only the provider can make.
var signedWith = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

// signers are the keys of the provider. The library's verifier tells that they could not be had and that none of them has signed
// with errors that only their words tell apart: these tell it whoever asks beside the error.
type signers struct {
	remote oidc.KeySet

	mu       sync.Mutex
	failed   error // of the last try to get them that came to nothing
	failedAt time.Time
}

type unansweredKey struct{}

// VerifySignature implements oidc.KeySet.
func (s *signers) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	payload, err := s.remote.VerifySignature(ctx, token)
	if err == nil {
		return payload, nil
	}
	cause := errors.Unwrap(err) // why the keys could not be had; nil: none of them has signed
	var early *askedJustNow
	s.mu.Lock()
	switch {
	case errors.As(err, &early) && s.failedAt.After(early.at):
		cause = s.failed
	case early != nil: // they were had just now
		cause = nil
	case cause != nil && ctx.Err() == nil:
		s.failed, s.failedAt = cause, time.Now()
	}
	s.mu.Unlock()
	if unanswered, ok := ctx.Value(unansweredKey{}).(*error); ok {
		*unanswered = cause
	}
	return nil, err
}

// verify is what a token says that the provider has signed. Errors: refused; ClassRetry if it would take keys of the provider that it does not tell.
func verify(ctx context.Context, verifier *oidc.IDTokenVerifier, token string, refused error) (*oidc.IDToken, error) {
	var unanswered error
	said, err := verifier.Verify(context.WithValue(ctx, unansweredKey{}, &unanswered), token)
	switch {
	case err == nil:
		return said, nil
	case unanswered != nil:
		return nil, domain.WithClass(domain.ClassRetry, fmt.Errorf("asking the provider of identities for its keys: %w", unanswered))
	}
	return nil, refused
}

// who is whose token this is. Errors: errUnauthenticated; ClassRetry if the provider had to be asked and does not answer.
func (p *People) who(ctx context.Context, token string) (principal, error) {
	_, verifier, err := p.known(ctx)
	if err != nil {
		return principal{}, err
	}
	said, err := verify(ctx, verifier, token, errUnauthenticated)
	if err != nil {
		return principal{}, err
	}
	claims := map[string]any{}
	if err := said.Claims(&claims); err != nil || said.Subject == "" {
		return principal{}, errUnauthenticated
	}
	role, found := p.role(claims[p.config.GroupsClaim])
	if !found {
		return principal{}, errNoGroup
	}
	name := said.Subject
	// Of what a provider says of people, this and the subject are what they do not choose themselves.
	if email, _ := claims["email"].(string); email != "" && claims["email_verified"] == true {
		name = email
	}
	if (domain.Cause{By: name}).Validate() != nil {
		return principal{}, errUnauthenticated
	}
	return principal{key: domain.APIKey{ID: "person/" + said.Subject, Name: name, Role: role}, role: role, person: true, until: said.Expiry}, nil
}

var errNoGroup = problemOf(http.StatusForbidden, domain.CodeDenied, "you are in no group that may do anything here")

// signIn exchanges what the provider has given the browser of somebody for their token.
func (p *People) signIn(ctx context.Context, r SignInRequest) (token string, until time.Time, err error) {
	provider, verifier, err := p.known(ctx)
	if err != nil {
		return "", until, err
	}
	asked := oauth2.Config{ClientID: p.config.ClientID, ClientSecret: p.config.ClientSecret, Endpoint: provider.Endpoint(), RedirectURL: r.RedirectURI}
	given, err := asked.Exchange(oidc.ClientContext(ctx, p.client), r.Code, oauth2.VerifierOption(r.Verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) && refused.Response.StatusCode < http.StatusInternalServerError {
			return "", until, errNotSignedIn
		}
		return "", until, domain.WithClass(domain.ClassRetry, errors.New("the provider of identities does not answer")) // its error may tell the code
	}
	token, _ = given.Extra("id_token").(string)
	said, err := verify(ctx, verifier, token, errNotSignedIn)
	if err != nil {
		return "", until, err
	}
	if subtle.ConstantTimeCompare([]byte(said.Nonce), []byte(r.Nonce)) != 1 {
		return "", until, errNotSignedIn
	}
	_, err = p.who(ctx, token)
	return token, said.Expiry, err
}

var errNotSignedIn = problemOf(http.StatusUnauthorized, codeUnauthenticated, "the provider of identities does not know of this sign-in, or not any more: begin anew")

// role is that of the first group that somebody is in. said is an array, or one name.
func (p *People) role(said any) (domain.APIRole, bool) {
	groups, _ := said.([]any)
	if one, ok := said.(string); ok {
		groups = []any{one}
	}
	for _, r := range p.config.Roles {
		if slices.Contains(groups, any(r.Group)) {
			return r.Role, true
		}
	}
	return "", false
}
