package webhooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"holdfast/domain"
)

const (
	maxURL         = 2048
	mostOfHeaders  = 16 << 10
	mostOfBody     = 4 << 10 // of an answer is read, so that its connection can be used again; nothing of it is kept
	connectTimeout = 5 * time.Second
	idleTimeout    = 30 * time.Second
)

// CheckURL says what is wrong with the URL of an endpoint, of ClassReject. A name is not looked up: where it leads is checked whenever a
// connection is made.
func CheckURL(raw string, allowPrivate bool) error {
	return domain.WithCode(domain.ClassReject, domain.CodeInvalid, checkURL(raw, allowPrivate))
}

func checkURL(raw string, allowPrivate bool) error {
	u, err := url.Parse(raw)
	switch {
	case len(raw) > maxURL:
		return fmt.Errorf("url: want at most %d bytes", maxURL)
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return errors.New("url: want one such as https://shop.example/hooks")
	case u.Scheme != "https" && (u.Scheme != "http" || !allowPrivate):
		return errors.New("url: want https; http only with --allow-private")
	case u.User != nil:
		return errors.New("url: want no user and password in it: messages are signed")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return errors.New("url: want no #")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !allowPrivate && !public(ip) {
		return fmt.Errorf("url: %w", errNotPublic)
	}
	return nil
}

// errNotPublic is why a connection is refused.
var errNotPublic = errors.New("the address is not a public one: --allow-private allows it")

// Addresses of the Internet that are not for everybody: special ones, and those in which an IPv4 address is hidden.
var (
	special = prefixes(
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"168.63.129.16/32", // metadata of a cloud
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	)
	globalUnicast = netip.MustParsePrefix("2000::/3")
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// public reports whether anybody on the Internet may have that address.
func public(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.Is6() && !globalUnicast.Contains(ip) {
		return false
	}
	for _, p := range special {
		if p.Contains(ip) {
			return false
		}
	}
	return true
}

// onlyPublic refuses a connection once its name has been resolved, just before it is made.
func onlyPublic(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !public(at.Addr()) {
		return errNotPublic
	}
	return nil
}

// Client sends messages.
type Client struct{ public, private *http.Client }

// NewClient makes one whose calls take so long at most.
func NewClient(timeout time.Duration) *Client {
	client := func(dialer *net.Dialer) *http.Client {
		return &http.Client{
			Timeout: timeout,
			Transport: &http.Transport{ // no proxy: it would connect to where this must not
				DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: connectTimeout, MaxIdleConnsPerHost: 8, IdleConnTimeout: idleTimeout,
				MaxResponseHeaderBytes: mostOfHeaders, DisableCompression: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &Client{
		public:  client(&net.Dialer{Timeout: connectTimeout, Control: onlyPublic}),
		private: client(&net.Dialer{Timeout: connectTimeout}),
	}
}

// Close closes connections that nobody uses.
func (c *Client) Close() {
	c.public.CloseIdleConnections()
	c.private.CloseIdleConnections()
}

// Answer is what came of a try.
type Answer struct {
	Status int           // of HTTP; 0: there was none
	Why    string        // what went wrong, without the URL, which may have something secret in it; empty: the message was taken
	After  time.Duration // how long it asked to be left alone; 0: it did not
	Took   time.Duration
}

// Send sends a message, signed with each of the secrets. It never fails: what went wrong is said in the answer.
func (c *Client) Send(ctx context.Context, w domain.Webhook, secrets [][]byte, id string, at time.Time, body []byte) (a Answer) {
	began := time.Now()
	defer func() { a.Took = time.Since(began) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return Answer{Why: "the url cannot be used"}
	}
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		signatures[i] = sign(secret, id, at, body)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "holdfast")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
	req.Header.Set("Webhook-Signature", strings.Join(signatures, " "))
	client := c.public
	if w.AllowPrivate {
		client = c.private
	}
	response, err := client.Do(req)
	if err != nil {
		return Answer{Why: inShort(err)}
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, mostOfBody)); err != nil {
		return Answer{Status: response.StatusCode, Why: inShort(err)}
	}
	a.Status = response.StatusCode
	if a.Status < 200 || a.Status > 299 {
		a.Why = "HTTP status " + strconv.Itoa(a.Status)
		if a.Status >= 300 && a.Status <= 399 {
			a.Why += ": redirects are not followed"
		}
		if a.Status == http.StatusTooManyRequests || a.Status == http.StatusServiceUnavailable {
			a.After = retryAfter(response.Header.Get("Retry-After"), time.Now())
		}
	}
	return a
}

// inShort is why there was no answer. What the client says has the URL in it.
func inShort(err error) string {
	var quoted *url.Error
	if errors.As(err, &quoted) {
		err = quoted.Err
	}
	const most = 200
	var timeout net.Error
	switch text := err.Error(); {
	case errors.Is(err, errNotPublic):
		return errNotPublic.Error()
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case len(text) > most:
		return text[:most]
	default:
		return text
	}
}

// retryAfter reads the header: seconds, or a time.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, mostRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(now)), mostRetryAfter)
	}
	return 0
}
