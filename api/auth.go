package api

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"holdfast/domain"
)

// Keys is where API keys are.
type Keys interface {
	// List returns all keys there are now.
	List(ctx context.Context) ([]domain.APIKey, error)
	// Used notes when keys were used last, in milliseconds, by their ids.
	Used(ctx context.Context, millis map[string]int64) error
}

// roleCustomer is that of whoever has a customer's token. No key has it.
const roleCustomer domain.APIRole = "customer"

// Roles that endpoints have in common.
var (
	anyone   = append(slices.Clone(domain.APIRoles), roleCustomer)
	sellers  = []domain.APIRole{domain.APICheckout, domain.APIAdmin}
	givers   = []domain.APIRole{domain.APICheckout, domain.APIOrganiser, domain.APIAdmin, roleCustomer} // customers: if their token says so
	lookers  = []domain.APIRole{domain.APICheckout, domain.APICustomerView, domain.APIOrganiser, domain.APISRE, domain.APIAdmin, roleCustomer}
	counters = []domain.APIRole{domain.APISales, domain.APIOrganiser, domain.APISRE, domain.APIAdmin}
)

const (
	keyPrefix   = "hf_"
	tokenPrefix = "hfc_"
	idLength    = 10
	secretBytes = 32
)

var inKeys = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewKey makes an API key: the key itself, which nobody can tell again, and what is to be stored of it.
func NewKey(role domain.APIRole, name string, events []string, by string, now time.Time) (secret string, key domain.APIKey, err error) {
	var random [idLength + secretBytes]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", key, fmt.Errorf("making an api key: %w", err)
	}
	id := inKeys.EncodeToString(random[:idLength])[:idLength]
	secret = keyPrefix + id + "_" + inKeys.EncodeToString(random[idLength:])
	key = domain.APIKey{ID: id, Hash: hashOf(secret), Role: role, Name: name, Events: events, CreatedMillis: now.UnixMilli(), By: by}
	return secret, key, key.Validate()
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// principal is who calls.
type principal struct {
	key      domain.APIKey
	role     domain.APIRole
	customer string // of roleCustomer: whose token it is
	person   bool   // they are known by a provider of identities, and have no key
	cancels  bool   // of roleCustomer: it may cancel what is theirs, and only held

	until time.Time // when what they have shown is over; zero: a key, that lasts as long as it is there
}

// limitedBy is who shares a limit with whom.
func (p principal) limitedBy() string {
	if p.role == roleCustomer {
		return "customer/" + p.customer
	}
	return "key/" + p.key.ID
}

// by is who did what the caller does, for people.
func (p principal) by() string {
	if p.role == roleCustomer {
		return "customer " + p.customer
	}
	return p.key.Name
}

type principalKey struct{}

func callerOf(ctx context.Context) principal { p, _ := ctx.Value(principalKey{}).(principal); return p }

// mayEvent says why the caller may not do anything with an event; nil if they may.
func (p principal) mayEvent(eventID string) error {
	if p.key.MayEvent(eventID) {
		return nil
	}
	return problemOf(http.StatusForbidden, domain.CodeDenied, "this key is not for that event")
}

// admit lets in who may call an endpoint, before anything of the body is read.
func (s *Server) admit(ctx huma.Context, next func(huma.Context)) {
	op := ctx.Operation()
	s.stats.begin(ctx.Context(), op.OperationID)
	if op.Metadata[openToAll] == true {
		if s.rates.take("open/"+op.OperationID, signInsPerSecond, time.Now()) < 0 {
			s.refuse(ctx, errRateLimited)
			return
		}
		next(ctx)
		return
	}
	p, err := s.principal(ctx.Context(), ctx.Header("Authorization"))
	if err == nil {
		err = s.admitted(ctx, p)
	}
	if err != nil {
		s.refuse(ctx, err)
		return
	}
	next(huma.WithValue(ctx, principalKey{}, p))
}

// refuse answers who is not let in.
func (s *Server) refuse(ctx huma.Context, err error) {
	refused := s.problem(err)
	for name, values := range refused.GetHeaders() {
		ctx.SetHeader(name, values[0])
	}
	_ = huma.WriteErr(s.huma, ctx, refused.Status, refused.Detail, refused) // whoever asked has gone
}

// admitted says why a caller may not call an endpoint now; nil if they may.
func (s *Server) admitted(ctx huma.Context, p principal) error {
	most := s.options.Rate
	if p.role == roleCustomer {
		most = min(most, customerRate)
	}
	left := s.rates.take(p.limitedBy(), most, time.Now())
	ctx.SetHeader("Ratelimit-Policy", `"second";q=`+strconv.Itoa(most)+`;w=1`) // as Go writes these names anyway
	ctx.SetHeader("Ratelimit", `"second";r=`+strconv.Itoa(max(left, 0))+`;t=1`)
	roles, _ := ctx.Operation().Metadata[rolesOf].([]domain.APIRole)
	switch {
	case left < 0:
		return errRateLimited
	case !slices.Contains(roles, p.role):
		return problemOf(http.StatusForbidden, domain.CodeDenied, "the role "+string(p.role)+" may not do this")
	}
	eventID := ctx.Param("event")
	if eventID == "" { // it is about none, or in the body
		return nil
	}
	if err := domain.CheckID("event", eventID); err != nil {
		return domain.WithCode(domain.ClassReject, domain.CodeInvalid, err)
	}
	return p.mayEvent(eventID)
}

var errRateLimited = problemOf(http.StatusTooManyRequests, codeRateLimited, "more requests in this second than this key may make")

var errUnauthenticated = problemOf(http.StatusUnauthorized, codeUnauthenticated, "want Authorization: Bearer KEY, with a key that is valid")

// principal is who an Authorization names.
func (s *Server) principal(ctx context.Context, authorization string) (principal, error) {
	scheme, secret, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return principal{}, errUnauthenticated
	}
	if token, ok := strings.CutPrefix(secret, tokenPrefix); ok {
		return s.customer(ctx, token)
	}
	if s.deps.People != nil && strings.Count(secret, ".") == 2 { // a key has none, and a customer's token one
		return s.deps.People.who(ctx, secret)
	}
	rest, ok := strings.CutPrefix(secret, keyPrefix)
	id, _, two := strings.Cut(rest, "_")
	if !ok || !two {
		return principal{}, errUnauthenticated
	}
	key, found, err := s.keys.find(ctx, id)
	if err != nil {
		return principal{}, err
	}
	if !found || subtle.ConstantTimeCompare([]byte(key.Hash), []byte(hashOf(secret))) != 1 {
		return principal{}, errUnauthenticated
	}
	return principal{key: key, role: key.Role}, nil
}

// claims are what a customer's token says.
type claims struct {
	Key         string `json:"k"` // id of the key that minted it
	Customer    string `json:"c"`
	UntilMillis int64  `json:"u"`
	Cancels     bool   `json:"x,omitempty"` // they may cancel what is held
}

// mint makes a customer's token. It is signed with what is stored of the key that asks for it, so whoever revokes that ends its tokens, too.
func mint(key domain.APIKey, customerID string, cancels bool, until time.Time) (string, error) {
	said, err := json.Marshal(claims{key.ID, customerID, until.UnixMilli(), cancels})
	if err != nil {
		return "", fmt.Errorf("minting a token: %w", err)
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(said) + "." + base64.RawURLEncoding.EncodeToString(sign(key, said)), nil
}

func sign(key domain.APIKey, said []byte) []byte {
	mac := hmac.New(sha256.New, []byte("holdfast customer token\n"+key.Hash))
	mac.Write(said) // never fails
	return mac.Sum(nil)
}

// customer is whose token it is.
func (s *Server) customer(ctx context.Context, token string) (principal, error) {
	head, tail, _ := strings.Cut(token, ".")
	said, err := base64.RawURLEncoding.DecodeString(head)
	signature, signatureErr := base64.RawURLEncoding.DecodeString(tail)
	var c claims
	if err != nil || signatureErr != nil || json.Unmarshal(said, &c) != nil {
		return principal{}, errUnauthenticated
	}
	key, found, err := s.keys.find(ctx, c.Key)
	if err != nil {
		return principal{}, err
	}
	if !found || !hmac.Equal(signature, sign(key, said)) || time.Now().UnixMilli() >= c.UntilMillis || !slices.Contains(sellers, key.Role) {
		return principal{}, errUnauthenticated
	}
	return principal{key: key, role: roleCustomer, customer: c.Customer, cancels: c.Cancels, until: time.UnixMilli(c.UntilMillis)}, nil
}

// stays reports whether somebody who was let in still is. What they have shown was checked then: it can only be over since, or its key.
func (s *Server) stays(ctx context.Context, p principal) bool {
	if !p.until.IsZero() && !time.Now().Before(p.until) {
		return false
	}
	if p.person {
		return true
	}
	_, found, _, err := s.keys.known(ctx, p.key.ID, keysStale)
	return found && err == nil
}

// How old what is known of the keys may be: a revoked one works no longer. A new one, that is not known yet, is looked for sooner.
const (
	keysStale  = 500 * time.Millisecond
	newKeysDue = 50 * time.Millisecond
	keysLook   = 2 * time.Second
	usedEvery  = time.Minute
)

// keyring remembers the keys for a moment. When they cannot be read nobody is let in: a key may have been revoked.
type keyring struct {
	keys Keys
	log  *zap.Logger

	mu     sync.Mutex
	table  map[string]domain.APIKey
	read   time.Time // when the look began that found them
	failed time.Time
	err    error
	used   map[string]int64 // that is still to be noted
}

func newKeyring(keys Keys, log *zap.Logger) *keyring {
	return &keyring{keys: keys, log: log, used: make(map[string]int64)}
}

func (k *keyring) find(ctx context.Context, id string) (key domain.APIKey, found bool, err error) {
	asked := time.Now()
	key, found, read, err := k.known(ctx, id, keysStale)
	if err != nil || found || !read.Before(asked) {
		return key, found, err
	}
	// It may have been made since. Whoever guesses keys shall not keep Redis busy: several wait for one look.
	pause := time.NewTimer(time.Until(read.Add(newKeysDue)))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
		return key, false, fmt.Errorf("looking at the api keys: %w", ctx.Err())
	}
	key, found, _, err = k.known(ctx, id, newKeysDue)
	return key, found, err
}

// known is what a look tells of a key that is not older than that, and when that look began.
func (k *keyring) known(ctx context.Context, id string, old time.Duration) (key domain.APIKey, found bool, read time.Time, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fresh(ctx, old); err != nil {
		return key, false, k.read, err
	}
	if key, found = k.table[id]; found {
		if now := time.Now().UnixMilli(); now-max(key.UsedMillis, k.used[id]) >= usedEvery.Milliseconds() {
			k.used[id] = now
		}
	}
	return key, found, k.read, nil
}

// check says why the keys cannot be read; nil if they can.
func (k *keyring) check(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fresh(ctx, keysStale)
}

// fresh takes care that what is known is not older than that. Whoever comes meanwhile waits for the same look.
func (k *keyring) fresh(ctx context.Context, old time.Duration) error {
	began := time.Now()
	if began.Sub(k.read) < old {
		return nil
	}
	if began.Sub(k.failed) < newKeysDue {
		return k.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysLook)
	defer cancel()
	list, err := k.keys.List(ctx)
	if err != nil {
		k.failed, k.err = time.Now(), fmt.Errorf("looking at the api keys: %w", err)
		return k.err
	}
	k.table, k.read = make(map[string]domain.APIKey, len(list)), began
	for _, key := range list {
		k.table[key.ID] = key
	}
	if len(k.used) > 0 {
		if err := k.keys.Used(ctx, k.used); err != nil { // nobody is kept out for that
			k.log.Warn("when api keys were used cannot be noted", zap.Error(err))
		}
		k.used = make(map[string]int64)
	}
	return nil
}

// customerRate is how many requests a second one customer may make of a process.
const customerRate = 20

// rates counts requests of the present second.
type rates struct {
	mu     sync.Mutex
	second int64
	counts map[string]int
}

// take counts one more, and returns how many are left: below 0 if that was one too many.
func (r *rates) take(who string, most int, now time.Time) (left int) { return r.add(who, 1, most, now) }

// add is take of several.
func (r *rates) add(who string, n, most int, now time.Time) (left int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if second := now.Unix(); second != r.second || r.counts == nil {
		r.second, r.counts = second, make(map[string]int)
	}
	r.counts[who] += n
	return most - r.counts[who]
}
