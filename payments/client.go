package payments

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
	"strings"
	"time"

	"holdfast/domain"
)

// Defaults of ClientOptions.
const (
	DefaultTimeout  = 5 * time.Second
	DefaultMaxConns = 1024
)

const (
	dialTimeout         = 3 * time.Second
	clientIdleTimeout   = 30 * time.Second // shorter than servers', so that we hang up and do not write into a closing connection
	tlsHandshakeTimeout = 5 * time.Second

	maxAuthorizationIDLength = 128

	ledgerTimeout      = 10 * time.Minute
	maxLedgerBytes     = 4 << 30 // some ten million orders
	maxLedgerLineBytes = 16 << 10
)

// ClientOptions tune a Client. The zero value is fine.
type ClientOptions struct {
	// Timeout bounds each call, from waiting for a connection to the last byte of
	// the reply; DefaultTimeout if not positive. FetchBooks is bounded by 10 minutes instead.
	Timeout time.Duration
	// MaxConns bounds the connections to the gateway, and with it the calls under
	// way; others wait, within their Timeout. DefaultMaxConns if not positive.
	MaxConns int
}

// Client is a payment gateway behind the HTTP contract of the package. It makes
// one request per call and leaves retries to its caller. It is safe for
// concurrent use.
type Client struct {
	base           url.URL // Path and RawPath without the slash at the end
	timeout        time.Duration
	transport      *http.Transport
	maxLedgerBytes int64
}

var _ domain.PaymentGateway = (*Client)(nil)

// NewClient makes a Client of the gateway at baseURL: http or https, a host, and
// possibly a path under which the contract lives and a user and password for
// basic authentication; no query, no fragment. It does not connect. The error
// does not quote baseURL, which may have a password.
func NewClient(baseURL string, options ClientOptions) (*Client, error) {
	base, err := url.Parse(baseURL)
	switch {
	case err != nil:
		return nil, errors.New("gateway URL: malformed")
	case base.Scheme != "http" && base.Scheme != "https":
		return nil, errors.New("gateway URL: want http:// or https://")
	case base.Hostname() == "":
		return nil, errors.New("gateway URL: the host is missing")
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return nil, errors.New("gateway URL: want no query and no fragment")
	}
	if options.Timeout <= 0 {
		options.Timeout = DefaultTimeout
	}
	if options.MaxConns <= 0 {
		options.MaxConns = DefaultMaxConns
	}
	escaped := strings.TrimRight(base.EscapedPath(), "/")
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, errors.New("gateway URL: malformed path")
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &Client{
		base:    url.URL{Scheme: base.Scheme, Host: base.Host, User: base.User, Path: plain, RawPath: escaped},
		timeout: options.Timeout,
		transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    tlsHandshakeTimeout,
			MaxConnsPerHost:        options.MaxConns,
			MaxIdleConns:           options.MaxConns,
			MaxIdleConnsPerHost:    options.MaxConns, // the default of 2 would dial for nearly every call
			IdleConnTimeout:        clientIdleTimeout,
			MaxResponseHeaderBytes: maxBodyBytes,
			DisableCompression:     true,
		},
		maxLedgerBytes: maxLedgerBytes,
	}, nil
}

// Close closes the connections that are not in use. Calls under way end as usual.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Authorize puts the authorization of r.Amount minor units. 402 is a declined
// payment, 409 a voided one (or refunded, if its body says so): for these the HTTP
// status is the answer, and a body is needed no more than the contract promises
// one. What it returns is the gateway's word, its amount included, which is that
// of the first request. The error always wraps domain.ErrUnknownOutcome.
func (c *Client) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	body, err := json.Marshal(struct {
		Amount     int64  `json:"amount"`
		Currency   string `json:"currency"`
		CustomerID string `json:"customer_id"`
		Token      string `json:"payment_token"`
	}{r.Amount, r.Currency, r.CustomerID, string(r.Token)})
	if err != nil { // integers and strings only
		return domain.Payment{}, unknownOutcome(callAuthorize, r.Ref, errors.New("the request cannot be encoded"))
	}
	return c.do(ctx, callAuthorize, r.Ref, body)
}

// Lookup gets the payment. Errors: domain.ErrNotFound on 404, else
// domain.ErrUnknownOutcome.
func (c *Client) Lookup(ctx context.Context, ref domain.OrderRef) (domain.Payment, error) {
	return c.do(ctx, callLookup, ref, nil)
}

// Capture collects what was authorized. Errors: domain.ErrRefused on 402 and 409,
// domain.ErrNotFound on 404, else domain.ErrUnknownOutcome.
func (c *Client) Capture(ctx context.Context, ref domain.OrderRef) (domain.Payment, error) {
	return c.do(ctx, callCapture, ref, nil)
}

// Void releases the authorization, and forbids one to come. 409 is a captured
// payment, unless its body names another status. The error always wraps
// domain.ErrUnknownOutcome.
func (c *Client) Void(ctx context.Context, ref domain.OrderRef) (domain.Payment, error) {
	return c.do(ctx, callVoid, ref, nil)
}

// Refund gives back what was captured. Errors: domain.ErrRefused on 402 and 409,
// domain.ErrNotFound on 404, else domain.ErrUnknownOutcome.
func (c *Client) Refund(ctx context.Context, ref domain.OrderRef) (domain.Payment, error) {
	return c.do(ctx, callRefund, ref, nil)
}

func (c *Client) do(ctx context.Context, name call, ref domain.OrderRef, body []byte) (domain.Payment, error) {
	if !validRef(ref) { // it would name another resource, or none
		return domain.Payment{}, unknownOutcome(name, ref, errInvalidRef)
	}
	method, action := http.MethodPost, "/"+string(name)
	switch name {
	case callAuthorize:
		method, action = http.MethodPut, ""
	case callLookup:
		method, action = http.MethodGet, ""
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	response, err := c.send(ctx, method,
		"/authorizations/"+ref.EventID+"/"+ref.OrderID+action,
		"/authorizations/"+escapeSegment(ref.EventID)+"/"+escapeSegment(ref.OrderID)+action, body)
	if err != nil {
		return domain.Payment{}, unknownOutcome(name, ref, err)
	}
	defer func() { _ = response.Body.Close() }() // it is drained: nothing depends on it
	if response.StatusCode == http.StatusSwitchingProtocols {
		// Its body is the bare connection, which never ends and does not heed ctx.
		return domain.Payment{}, unknownOutcome(name, ref, errors.New("the gateway answered 101"))
	}
	reply, err := readAllBounded(response.Body)
	if err != nil {
		return domain.Payment{}, unknownOutcome(name, ref, fmt.Errorf("the gateway answered %d: %w", response.StatusCode, err))
	}
	p, err := understand(name, response.StatusCode, reply)
	switch {
	case err == nil:
		return p, nil
	case errors.Is(err, domain.ErrNotFound), errors.Is(err, domain.ErrRefused):
		return domain.Payment{}, fmt.Errorf("%s %s: %w", name, ref, err)
	}
	return domain.Payment{}, unknownOutcome(name, ref, fmt.Errorf("the gateway answered %d: %w", response.StatusCode, err))
}

// send makes one request, through the transport and not through an http.Client:
// that would follow redirects, and quote them in errors.
func (c *Client) send(ctx context.Context, method, path, escapedPath string, body []byte) (*http.Response, error) {
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
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return nil, withoutReply(err)
	}
	return response, nil
}

// withoutReply is err if it tells of the network, of TLS or of ctx. Others of
// net/http may quote what the gateway sent, and that may be a payment token.
func withoutReply(err error) error {
	var (
		network     net.Error
		certificate *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.As(err, &network), errors.As(err, &certificate):
		return err
	}
	return errMalformedHTTP
}

// escapeSegment encodes a path segment such that nothing on the way takes it for a dot segment.
func escapeSegment(id string) string {
	if strings.Trim(id, ".") == "" {
		return strings.Repeat("%2E", len(id))
	}
	return url.PathEscape(id)
}

var (
	errBodyTooLarge  = errors.New("a body that is too large")
	errMalformed     = errors.New("a malformed body")
	errMalformedHTTP = errors.New("malformed HTTP")
	errContradictory = errors.New("a status that makes no sense for the call")
	errUnexpected    = errors.New("not part of the contract")
)

// readAllBounded reads to the end, so that the connection can be used again.
func readAllBounded(body io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, maxBodyBytes+1))
	if err != nil {
		return nil, withoutReply(err)
	}
	if len(b) > maxBodyBytes {
		return nil, errBodyTooLarge
	}
	return b, nil
}

// understand reads a reply by the contract. The error wraps domain.ErrNotFound
// or domain.ErrRefused, or else the outcome is not known. Errors never quote the
// body: a gateway may echo the token.
func understand(name call, httpStatus int, body []byte) (domain.Payment, error) {
	if httpStatus == http.StatusOK {
		p, err := parsePayment(body)
		if err != nil {
			return domain.Payment{}, err
		}
		if !makesSense(name, p.Status) {
			return domain.Payment{}, errContradictory
		}
		return p, nil
	}
	switch name {
	case callAuthorize:
		switch httpStatus {
		case http.StatusPaymentRequired:
			return parseRefusal(body, domain.PaymentStatusDeclined)
		case http.StatusConflict:
			return parseRefusal(body, domain.PaymentStatusVoided, domain.PaymentStatusRefunded)
		}
	case callLookup:
		if httpStatus == http.StatusNotFound {
			return domain.Payment{}, domain.ErrNotFound
		}
	case callVoid:
		if httpStatus == http.StatusConflict {
			return parseRefusal(body, domain.PaymentStatusCaptured, domain.PaymentStatusVoided,
				domain.PaymentStatusDeclined, domain.PaymentStatusRefunded)
		}
	case callCapture, callRefund:
		switch httpStatus {
		case http.StatusNotFound:
			return domain.Payment{}, domain.ErrNotFound
		case http.StatusPaymentRequired, http.StatusConflict:
			// Refused because it is done already would be no refusal at all.
			if p, err := parsePayment(body); err == nil && makesSense(name, p.Status) {
				return domain.Payment{}, errContradictory
			}
			return domain.Payment{}, domain.ErrRefused
		}
	}
	return domain.Payment{}, errUnexpected
}

// makesSense reports whether a call that succeeded can have left the payment in this status.
func makesSense(name call, status domain.PaymentStatus) bool {
	switch name {
	case callCapture:
		return status == domain.PaymentStatusCaptured
	case callRefund:
		return status == domain.PaymentStatusRefunded
	case callVoid:
		return status != domain.PaymentStatusAuthorized
	}
	return true
}

// parsePayment reads the body of a 200. What has no authorization (declined,
// voided before it came) may lack the id and the amount.
func parsePayment(body []byte) (domain.Payment, error) {
	var wire wirePayment
	if err := json.Unmarshal(body, &wire); err != nil {
		return domain.Payment{}, errMalformed
	}
	p := domain.Payment{AuthorizationID: wire.AuthorizationID, Status: wire.Status}
	switch p.Status {
	case domain.PaymentStatusAuthorized, domain.PaymentStatusCaptured, domain.PaymentStatusRefunded:
		if p.AuthorizationID == "" || wire.Amount == nil {
			return domain.Payment{}, errMalformed
		}
	case domain.PaymentStatusDeclined, domain.PaymentStatusVoided:
	default:
		return domain.Payment{}, errMalformed
	}
	if wire.Amount != nil {
		p.Amount = *wire.Amount
	}
	if !storableAuthorizationID(p.AuthorizationID) || p.Amount < 0 || p.Amount > domain.MaxAmount {
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
		return domain.Payment{Status: statuses[0]}, nil
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

// FetchBooks gets the gateway's own books, as sorted as the gateway sends it,
// all of it or an error. It takes at most 10 minutes and 4 GiB. Errors:
// domain.ErrNotFound if this gateway has no ledger (404); any other may be tried again.
func (c *Client) FetchBooks(ctx context.Context) ([]domain.BooksLine, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	response, err := c.send(ctx, http.MethodGet, "/ledger", "/ledger", nil)
	if err != nil {
		return nil, fmt.Errorf("fetch the payment books: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // it is drained: nothing depends on it
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		_, _ = readAllBounded(response.Body)
		return nil, fmt.Errorf("fetch the payment books: %w", domain.ErrNotFound)
	default:
		return nil, fmt.Errorf("fetch the payment books: the gateway answered %d", response.StatusCode)
	}
	limited := &io.LimitedReader{R: response.Body, N: c.maxLedgerBytes}
	scanner := bufio.NewScanner(limited)
	scanner.Buffer(make([]byte, 0, 4<<10), maxLedgerLineBytes)
	var lines []domain.BooksLine
	for scanner.Scan() {
		if len(scanner.Bytes()) == 0 {
			continue
		}
		var line domain.BooksLine
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil || !validRef(domain.OrderRef{EventID: line.EventID, OrderID: line.OrderID}) {
			if limited.N <= 0 {
				break // cut off by our own limit
			}
			return nil, fmt.Errorf("fetch the payment books: line %d is malformed", len(lines)+1)
		}
		lines = append(lines, line)
	}
	switch err := scanner.Err(); {
	case err == nil:
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("fetch the payment books: line %d is longer than %d bytes", len(lines)+1, maxLedgerLineBytes)
	default:
		return nil, fmt.Errorf("fetch the payment books: after %d lines: %w", len(lines), withoutReply(err))
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("fetch the payment books: more than %d bytes", c.maxLedgerBytes)
	}
	return lines, nil
}
