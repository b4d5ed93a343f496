// Package remote is the client of a payment gateway that speaks the HTTP
// contract of package payments.
package remote

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/payments"
)

const (
	dialTimeout         = 3 * time.Second
	clientIdleTimeout   = 30 * time.Second // shorter than servers', so that we hang up and do not write into a closing connection
	tlsHandshakeTimeout = 5 * time.Second

	maxAuthorizationIDLength = 128

	maxRetryAfter = 10 * time.Minute // what a gateway may ask for; a date that is years away is a mistake

	booksTimeout      = 10 * time.Minute
	maxBooksBytes     = 4 << 30 // some ten million orders
	maxBooksLineBytes = 16 << 10
)

// Options of a Client. The zero value of each field gets the default it names.
type Options struct {
	// Timeout bounds each call, from waiting for a connection to the last byte of
	// the reply: at least 1ms. Books is bounded by 10 minutes instead. Default 5s.
	Timeout time.Duration
	// MaxConns bounds the connections to the gateway, and with it the calls under
	// way: at least 1. Other calls wait, within their Timeout. Default 1024.
	MaxConns int
	// Token is sent with every request, as a bearer token. Default: none.
	Token domain.Secret
	// TokenFile has the token instead. It is read again when the gateway answers 401, so
	// that a new token needs no restart. Default: none.
	TokenFile string
	// TLS is whom to trust and who we are, for https. Default: the system's authorities,
	// and nobody.
	TLS *tls.Config
}

// WithDefaults returns o with every unset field set.
func (o Options) WithDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.MaxConns == 0 {
		o.MaxConns = 1024
	}
	return o
}

// Validate returns the first thing that is wrong with complete Options, of domain.ClassFatal.
func (o Options) Validate() error {
	switch {
	case o.Timeout < time.Millisecond:
		return domain.WithClass(domain.ClassFatal, errors.New("timeout: want at least 1ms"))
	case o.MaxConns < 1:
		return domain.WithClass(domain.ClassFatal, errors.New("max conns: want at least 1"))
	case o.Token != "" && o.TokenFile != "":
		return domain.WithClass(domain.ClassFatal, errors.New("gateway token: want it, or the file that has it, and not both"))
	case o.Token != "":
		return domain.WithClass(domain.ClassFatal, checkToken(o.Token))
	}
	return nil
}

// Client is a payment gateway behind the HTTP contract of package payments. It makes
// one request per call and leaves retries to its caller. It is safe for
// concurrent use.
type Client struct {
	base          url.URL // Path and RawPath without the slash at the end
	timeout       time.Duration
	bearer        *bearer
	transport     *http.Transport
	maxBooksBytes int64
}

var (
	_ domain.PaymentGateway = (*Client)(nil)
	_ domain.NextSteps      = (*Client)(nil)
)

// New makes a Client of the gateway at baseURL: http or https, a host, and
// possibly a path under which the contract lives and a user and password for
// basic authentication; no query, no fragment. It does not connect. It returns an
// error if baseURL or the options will not do, or the token's file cannot be read; that
// does not quote baseURL, which may have a password, or the token.
func New(baseURL string, options Options) (*Client, error) {
	options = options.WithDefaults()
	if err := options.Validate(); err != nil {
		return nil, err
	}
	base, err := url.Parse(baseURL)
	switch {
	case err != nil:
		return nil, errors.New("gateway URL: malformed")
	case base.Scheme != "http" && base.Scheme != "https":
		return nil, errors.New("gateway URL: want http:// or https://")
	case base.Hostname() == "":
		return nil, errors.New("gateway URL: the host is missing")
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return nil, errors.New("gateway URL: want no query and no fragment; in a password, # and ? are percent-encoded")
	case strings.Contains(base.EscapedPath(), "@"): // its host is not where it seems
		return nil, errors.New("gateway URL: want no @ in its path; in a password, / and @ are percent-encoded")
	}
	escaped := strings.TrimRight(base.EscapedPath(), "/")
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, errors.New("gateway URL: malformed path")
	}
	bearer := &bearer{file: options.TokenFile, token: options.Token}
	switch {
	case base.Scheme != "https" && options.TLS != nil:
		return nil, errors.New("gateway URL: want https:// with certificates")
	case base.User != nil && (options.Token != "" || options.TokenFile != ""):
		return nil, errors.New("gateway URL: want no user with a token: both say who asks")
	case options.TokenFile != "":
		if err := bearer.read(); err != nil {
			return nil, err
		}
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &Client{
		base:    url.URL{Scheme: base.Scheme, Host: base.Host, User: base.User, Path: plain, RawPath: escaped},
		timeout: options.Timeout,
		bearer:  bearer,
		transport: &http.Transport{
			TLSClientConfig:        options.TLS,
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    tlsHandshakeTimeout,
			MaxConnsPerHost:        options.MaxConns,
			MaxIdleConns:           options.MaxConns,
			MaxIdleConnsPerHost:    options.MaxConns, // the default of 2 would dial for nearly every call
			IdleConnTimeout:        clientIdleTimeout,
			MaxResponseHeaderBytes: payments.MaxBodyBytes,
			DisableCompression:     true,
		},
		maxBooksBytes: maxBooksBytes,
	}, nil
}

// Close closes the connections that are not in use. Calls under way end as usual.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Authorize puts the authorization of r.Amount minor units. 402 is a declined
// payment, 409 a voided one (or refunded, if its body says so): for these the HTTP
// status is the answer, and a body is needed no more than the contract promises
// one. What it returns is the gateway's word, its amount included, which is that
// of the first request. The errors are those of domain.PaymentGateway, but not
// domain.ErrNotFound and domain.ErrRefused.
func (c *Client) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	body, err := json.Marshal(struct {
		Amount      int64  `json:"amount"`
		Currency    string `json:"currency"`
		CustomerID  string `json:"customer_id"`
		Fingerprint string `json:"fingerprint,omitempty"`
		Token       string `json:"payment_token"`
	}{r.Amount, r.Currency, r.CustomerID, r.Fingerprint, string(r.Token)})
	if err != nil { // integers and strings only
		return domain.Payment{}, payments.UnknownOutcome(payments.CallAuthorize, r.Name, errors.New("the request cannot be encoded"))
	}
	return c.payment(ctx, payments.CallAuthorize, r.Name, body, 0)
}

// Lookup gets the payment. Errors: domain.ErrNotFound on 404, and those that every call has.
func (c *Client) Lookup(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return c.payment(ctx, payments.CallLookup, a.Name, nil, 0)
}

// Capture collects what was authorized. Errors: domain.ErrRefused on 402 and 409,
// domain.ErrNotFound on 404, and those that every call has.
func (c *Client) Capture(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return c.payment(ctx, payments.CallCapture, a.Name, nil, 0)
}

// Void releases the authorization, and forbids one to come. 409 is a captured
// payment, unless its body names another status. Errors: those that every call has.
func (c *Client) Void(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return c.payment(ctx, payments.CallVoid, a.Name, nil, 0)
}

// Refund gives back what was captured, up to total. An answer that says of less is none. Errors: domain.ErrRefused on 402 and 409,
// domain.ErrNotFound on 404, domain.ErrUnacceptable of a negative total, and those that every call has.
func (c *Client) Refund(ctx context.Context, a domain.Attempt, total int64) (domain.Payment, error) {
	if total < 0 {
		return domain.Payment{}, payments.Failed(payments.CallRefund, a.Name, fmt.Errorf("%w: total %d: want 0 or more", domain.ErrUnacceptable, total))
	}
	body, err := json.Marshal(payments.RefundBody{Total: &total})
	if err != nil { // an integer only
		return domain.Payment{}, payments.UnknownOutcome(payments.CallRefund, a.Name, errors.New("the request cannot be encoded"))
	}
	return c.payment(ctx, payments.CallRefund, a.Name, body, total)
}

// NextStep gets what the customer must do. Errors: domain.ErrRefused on 409, domain.ErrNotFound on 404, and
// those that every call has.
func (c *Client) NextStep(ctx context.Context, a domain.Attempt) (step domain.NextStep, err error) {
	err = c.do(ctx, payments.CallNextStep, a.Name, nil, func(status int, body []byte) error {
		switch {
		case status == http.StatusConflict:
			return domain.ErrRefused
		case status == http.StatusNotFound && isObject(body):
			return domain.ErrNotFound
		case status != http.StatusOK:
			return errUnexpected
		}
		var wire payments.NextStepReply
		if json.Unmarshal(body, &wire) != nil || wire == (payments.NextStepReply{}) {
			return errMalformed
		}
		step = domain.NextStep{RedirectURL: domain.Secret(wire.RedirectURL), ClientSecret: domain.Secret(wire.ClientSecret)}
		return nil
	})
	return step, err
}

// Minimums gets the smallest amounts. A gateway that does not know the question (404 or 405, whatever the body) says
// none. On an error nothing is known of them: domain.ErrUnacceptable, domain.ErrMisconfigured of an answer that is not of
// the contract, else domain.ErrUnknownOutcome.
func (c *Client) Minimums(ctx context.Context) (domain.Minimums, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	response, err := c.send(ctx, http.MethodGet, "/minimums", "/minimums", nil)
	if err != nil {
		return nil, fmt.Errorf("fetch the minimum amounts: %w", unlessMisconfigured(err))
	}
	defer func() { _ = response.Body.Close() }() // it is drained: nothing depends on it
	var minimums domain.Minimums
	err = answer(response, func(status int, body []byte) error {
		switch {
		case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
			return nil
		case status != http.StatusOK:
			return errUnexpected
		case json.Unmarshal(body, &minimums) != nil || minimums == nil:
			return errMalformed
		}
		for currency, least := range minimums {
			if !domain.ValidCurrency(currency) || least < 0 || least > domain.MaxAmount {
				return errMalformed
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("fetch the minimum amounts: the gateway answered %d: %w", response.StatusCode, unlessMisconfigured(err))
	}
	return minimums, nil
}

// unlessMisconfigured is an error that says nothing for good, or that nobody is served, as a domain.PaymentGateway's.
func unlessMisconfigured(err error) error {
	if errors.Is(err, domain.ErrMisconfigured) || errors.Is(err, domain.ErrUnacceptable) {
		return err
	}
	return domain.WithClass(domain.ClassRetry, fmt.Errorf("%w: %w", domain.ErrUnknownOutcome, err))
}

// payment makes one call that is answered with a payment.
func (c *Client) payment(ctx context.Context, call payments.Call, name domain.PaymentName, body []byte, total int64) (p domain.Payment, err error) {
	err = c.do(ctx, call, name, body, func(status int, body []byte) (err error) {
		p, err = understand(call, total, status, body)
		return err
	})
	return p, err
}

// do makes one call. What its answer says is for understand, see answer.
func (c *Client) do(ctx context.Context, call payments.Call, name domain.PaymentName, body []byte, understand func(status int, body []byte) error) error {
	if err := payments.CheckName(name); err != nil { // it would call another resource, or none
		return payments.Failed(call, name, fmt.Errorf("%w: %w", domain.ErrUnacceptable, err))
	}
	method, action := http.MethodPost, "/"+string(call)
	switch call {
	case payments.CallAuthorize:
		method, action = http.MethodPut, ""
	case payments.CallLookup:
		method, action = http.MethodGet, ""
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	response, err := c.send(ctx, method,
		pathOf(name, func(id string) string { return id })+action, pathOf(name, escapeSegment)+action, body)
	if err != nil {
		if errors.Is(err, domain.ErrMisconfigured) {
			return payments.Failed(call, name, err)
		}
		return &domain.LaterError{Err: payments.UnknownOutcome(call, name, err)}
	}
	defer func() { _ = response.Body.Close() }() // it is drained: nothing depends on it
	err = answer(response, understand)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("the gateway answered %d: %w", response.StatusCode, err)
	for _, final := range []error{domain.ErrNotFound, domain.ErrRefused, domain.ErrUnacceptable, domain.ErrMisconfigured} {
		if errors.Is(err, final) {
			return payments.Failed(call, name, err)
		}
	}
	return &domain.LaterError{
		After: retryAfter(response.Header, time.Now()),
		Busy:  response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable,
		Err:   payments.UnknownOutcome(call, name, err),
	}
}

// answer reads a reply as the contract does for every call, and leaves what the status says of this one to understand.
// An error wraps domain.ErrNotFound, ErrRefused, ErrUnacceptable or ErrMisconfigured; after any other the outcome is not known.
func answer(response *http.Response, understand func(status int, body []byte) error) error {
	status := response.StatusCode
	if status == http.StatusSwitchingProtocols {
		// Its body is the bare connection, which never ends and does not heed ctx.
		return errUnexpected
	}
	body, err := readAllBounded(response.Body)
	switch {
	case status == http.StatusBadRequest, status == http.StatusUnprocessableEntity, status == http.StatusRequestEntityTooLarge,
		status == http.StatusRequestURITooLong, status == http.StatusRequestHeaderFieldsTooLarge:
		return domain.ErrUnacceptable
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		return errNotNow
	case err != nil:
		return err
	}
	return understand(status, body)
}

// retryAfter is when a gateway wants to be asked again, in seconds or as a date, by its
// own clock if it tells that; 0 if it does not say, or not so that it can be read.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// misconfigured reports whether what failed before there was a reply will go on failing
// until somebody changes something: one side does not accept the other's certificate, or
// does not speak TLS.
func misconfigured(err error) bool {
	var (
		certificate *tls.CertificateVerificationError
		noTLS       tls.RecordHeaderError
		alert       *net.OpError
	)
	return errors.As(err, &certificate) || errors.As(err, &noTLS) ||
		errors.As(err, &alert) && alert.Op == "remote error" // an alert of TLS
}

// send makes one request, and once more if the gateway does not know the bearer token
// and there is a new one by now.
func (c *Client) send(ctx context.Context, method, path, escapedPath string, body []byte) (*http.Response, error) {
	token := c.bearer.current()
	response, err := c.roundTrip(ctx, method, path, escapedPath, body, token)
	if err != nil || response.StatusCode != http.StatusUnauthorized || token == "" {
		return response, err
	}
	renewed, err := c.bearer.renewed(token)
	if !renewed {
		if err != nil {
			_ = response.Body.Close() // nothing depends on it
			return nil, fmt.Errorf("the gateway answered 401: %w: %w", domain.ErrMisconfigured, err)
		}
		return response, nil
	}
	_, _ = readAllBounded(response.Body) // so that the connection can be used again
	_ = response.Body.Close()
	return c.roundTrip(ctx, method, path, escapedPath, body, c.bearer.current())
}

// roundTrip goes through the transport and not through an http.Client: that would follow
// redirects, and quote them in errors.
func (c *Client) roundTrip(ctx context.Context, method, path, escapedPath string, body []byte, token domain.Secret) (*http.Response, error) {
	target := url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Path: c.base.Path + path, RawPath: c.base.RawPath + escapedPath}
	header := http.Header{"Accept": {"application/json"}}
	if body != nil {
		header.Set("Content-Type", "application/json")
	}
	request := (&http.Request{Method: method, URL: &target, Host: target.Host, Header: header}).WithContext(ctx)
	if body != nil {
		request.ContentLength = int64(len(body))
		request.Body = io.NopCloser(bytes.NewReader(body))
		// Lets the transport begin anew on a connection that was closed before the first byte.
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	if user := c.base.User; user != nil {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	if token != "" {
		header.Set("Authorization", "Bearer "+string(token))
	}
	response, err := c.transport.RoundTrip(request)
	switch {
	case err == nil:
		return response, nil
	case misconfigured(err):
		return nil, fmt.Errorf("%w: %w", domain.ErrMisconfigured, err)
	}
	return nil, withoutReply(err)
}

// withoutReply is err if it tells of the network or of ctx. Others of net/http may quote
// what the gateway sent, and that may be a payment token.
func withoutReply(err error) error {
	var network net.Error
	if errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) {
		return err
	}
	return errMalformedHTTP
}

func pathOf(name domain.PaymentName, segment func(string) string) string {
	path := "/authorizations/"
	if name.Namespace != "" {
		path += segment(name.Namespace) + "/"
	}
	path += segment(name.EventID) + "/" + segment(name.OrderID)
	if name.Attempt != 0 {
		path += "/attempts/" + strconv.Itoa(name.Attempt)
	}
	return path
}

// escapeSegment encodes a path segment such that nothing on the way takes it for a dot segment.
func escapeSegment(id string) string {
	if strings.Trim(id, ".") == "" {
		return strings.Repeat("%2E", len(id))
	}
	return url.PathEscape(id)
}

var (
	errMalformedHTTP = errors.New("malformed HTTP")
	errContradictory = errors.New("a status that makes no sense for the call")
	errNotNow        = errors.New("not now")

	// What is not of the contract is not from the gateway, or not for us.
	errBodyTooLarge = fmt.Errorf("a body that is too large: %w", domain.ErrMisconfigured)
	errMalformed    = fmt.Errorf("a malformed body: %w", domain.ErrMisconfigured)
	errUnexpected   = fmt.Errorf("not part of the contract: %w", domain.ErrMisconfigured)
)

// readAllBounded reads to the end, so that the connection can be used again.
func readAllBounded(body io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, payments.MaxBodyBytes+1))
	if err != nil {
		return nil, withoutReply(err)
	}
	if len(b) > payments.MaxBodyBytes {
		return nil, errBodyTooLarge
	}
	return b, nil
}

// understand reads a reply about a payment of which the table of the contract says more: see answer.
// Errors never quote the body: a gateway may echo the token.
func understand(name payments.Call, total int64, httpStatus int, body []byte) (domain.Payment, error) {
	if httpStatus == http.StatusOK {
		p, err := parsePayment(body)
		if err != nil {
			return domain.Payment{}, err
		}
		if !makesSense(name, total, p) {
			return domain.Payment{}, errContradictory
		}
		return p, nil
	}
	switch name {
	case payments.CallAuthorize:
		switch httpStatus {
		case http.StatusPaymentRequired:
			return parseRefusal(body, domain.PaymentStatusDeclined)
		case http.StatusConflict:
			return parseRefusal(body, domain.PaymentStatusVoided, domain.PaymentStatusRefunded)
		}
	case payments.CallLookup:
		if httpStatus == http.StatusNotFound && (len(body) == 0 || isObject(body)) {
			return domain.Payment{}, domain.ErrNotFound
		}
	case payments.CallVoid:
		if httpStatus == http.StatusConflict {
			return parseRefusal(body, domain.PaymentStatusCaptured, domain.PaymentStatusVoided,
				domain.PaymentStatusDeclined, domain.PaymentStatusRefunded)
		}
	case payments.CallCapture, payments.CallRefund:
		switch httpStatus {
		case http.StatusNotFound:
			if isObject(body) {
				return domain.Payment{}, domain.ErrNotFound
			}
		case http.StatusPaymentRequired, http.StatusConflict:
			// Refused because it is done already would be no refusal at all.
			if p, err := parsePayment(body); err == nil && makesSense(name, total, p) {
				return domain.Payment{}, errContradictory
			}
			return domain.Payment{}, domain.ErrRefused
		}
	}
	return domain.Payment{}, errUnexpected
}

// makesSense reports whether a call that succeeded can have left the payment like this. total is a refund's.
func makesSense(name payments.Call, total int64, p domain.Payment) bool {
	switch name {
	case payments.CallCapture:
		return p.Status == domain.PaymentStatusCaptured
	case payments.CallRefund:
		return (p.Status == domain.PaymentStatusRefunded || p.Status == domain.PaymentStatusCaptured) && p.Refunded >= total
	case payments.CallVoid:
		return p.Status != domain.PaymentStatusAuthorized && p.Status != domain.PaymentStatusActionRequired
	}
	return true
}

// isObject tells a 404 of the gateway from that of a proxy, or of another server.
func isObject(body []byte) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(body, &object) == nil && object != nil
}

// parsePayment reads the body of a 200. What has no authorization (declined,
// voided before it came) may lack the id and the amount.
func parsePayment(body []byte) (domain.Payment, error) {
	var wire payments.Reply
	if err := json.Unmarshal(body, &wire); err != nil {
		return domain.Payment{}, errMalformed
	}
	p := domain.Payment{
		AuthorizationID: wire.AuthorizationID, Status: wire.Status,
		Currency: wire.Currency, CustomerID: wire.CustomerID, Fingerprint: wire.Fingerprint, Dispute: wire.Dispute,
	}
	if wire.Dispute != (domain.Dispute{}) && !wire.Dispute.Valid(domain.MaxAmount) {
		return domain.Payment{}, errMalformed
	}
	switch p.Status {
	case domain.PaymentStatusAuthorized, domain.PaymentStatusActionRequired, domain.PaymentStatusCaptured, domain.PaymentStatusRefunded:
		if p.AuthorizationID == "" || wire.Amount == nil {
			return domain.Payment{}, errMalformed
		}
	case domain.PaymentStatusDeclined, domain.PaymentStatusVoided:
	default:
		return domain.Payment{}, errMalformed
	}
	if !storableAuthorizationID(p.AuthorizationID) {
		return domain.Payment{}, errMalformed
	}
	if p.Amount = domain.AmountNotTold; wire.Amount != nil {
		if p.Amount = *wire.Amount; p.Amount < 0 || p.Amount > domain.MaxAmount {
			return domain.Payment{}, errMalformed
		}
	}
	switch p.Status {
	case domain.PaymentStatusCaptured:
		p.Refunded = wire.Refunded
	case domain.PaymentStatusRefunded:
		p.Refunded = p.Amount // that is what it means
	case domain.PaymentStatusAuthorized, domain.PaymentStatusActionRequired, domain.PaymentStatusDeclined, domain.PaymentStatusVoided:
	}
	if wire.Refunded != 0 && wire.Refunded != p.Refunded || p.Refunded < 0 || p.Refunded > max(p.Amount, 0) {
		return domain.Payment{}, errMalformed
	}
	return p, nil
}

// parseRefusal reads the body of a 402 or 409, where the contract promises none:
// without a usable one the payment is in the first of the statuses; one that
// names a status which is not among them contradicts the reply.
func parseRefusal(body []byte, statuses ...domain.PaymentStatus) (domain.Payment, error) {
	p, err := parsePayment(body)
	if err != nil {
		return domain.Payment{Status: statuses[0], Amount: domain.AmountNotTold}, nil
	}
	for _, s := range statuses {
		if p.Status == s {
			return p, nil
		}
	}
	return domain.Payment{}, errContradictory
}

// storableAuthorizationID: it becomes a field of a record separated by "|". Empty is none.
func storableAuthorizationID(id string) bool {
	if len(id) > maxAuthorizationIDLength {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' || id[i] == '|' {
			return false
		}
	}
	return true
}

// Books gets the gateway's own books, one line an order, as sorted as the gateway sends it,
// all of it or an error. It takes at most 10 minutes and 4 GiB. Errors:
// domain.ErrNotFound if this gateway shows none (404); any other may be tried again.
func (c *Client) Books(ctx context.Context) ([]domain.BooksLine, error) {
	ctx, cancel := context.WithTimeout(ctx, booksTimeout)
	defer cancel()
	response, err := c.send(ctx, http.MethodGet, "/ledger", "/ledger", nil)
	if err != nil {
		return nil, fmt.Errorf("fetch the gateway's books: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // it is drained: nothing depends on it
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		_, _ = readAllBounded(response.Body)
		return nil, fmt.Errorf("fetch the gateway's books: %w", domain.ErrNotFound)
	default:
		return nil, fmt.Errorf("fetch the gateway's books: the gateway answered %d", response.StatusCode)
	}
	limited := &io.LimitedReader{R: response.Body, N: c.maxBooksBytes}
	scanner := bufio.NewScanner(limited)
	scanner.Buffer(make([]byte, 0, 4<<10), maxBooksLineBytes)
	var lines []domain.BooksLine
	for scanner.Scan() {
		if len(scanner.Bytes()) == 0 {
			continue
		}
		var line domain.BooksLine
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil || payments.CheckName(line.Name()) != nil {
			if limited.N <= 0 {
				break // cut off by our own limit
			}
			return nil, fmt.Errorf("fetch the gateway's books: line %d is malformed", len(lines)+1)
		}
		lines = append(lines, line)
	}
	switch err := scanner.Err(); {
	case err == nil:
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("fetch the gateway's books: line %d is longer than %d bytes", len(lines)+1, maxBooksLineBytes)
	default:
		return nil, fmt.Errorf("fetch the gateway's books: after %d lines: %w", len(lines), withoutReply(err))
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("fetch the gateway's books: more than %d bytes", c.maxBooksBytes)
	}
	return lines, nil
}
