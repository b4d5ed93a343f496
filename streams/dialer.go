package streams

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// dialer makes the connections of a client, to servers, sentinels and nodes alike.
type dialer struct {
	net    net.Dialer
	secure *tls.Config // nil: no TLS
	host   string      // of the URL

	// lastError is why the latest attempt failed. Who waits for a connection of the pool is
	// not told if the time is over first.
	lastError atomic.Pointer[error]
}

// dialTimeout bounds what the client does not: a connection and its TLS handshake. It is go-redis's default.
const dialTimeout = 5 * time.Second

func newDialer(u *url.URL, query url.Values, secure *tls.Config) *dialer {
	d := &dialer{
		net: net.Dialer{KeepAliveConfig: net.KeepAliveConfig{ // as go-redis's own
			Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3,
		}},
		host: u.Hostname(),
	}
	if u.Scheme != "rediss" {
		return d
	}
	d.secure = &tls.Config{MinVersion: tls.VersionTLS12}
	if secure != nil {
		d.secure = secure.Clone()
	}
	if skip := query.Get("skip_verify"); skip == "true" || skip == "1" {
		d.secure.InsecureSkipVerify = true
	}
	return d
}

// dial is what the client calls.
func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, dialTimeout)
		defer cancel()
	}
	c, err := d.connect(ctx, network, addr)
	if err != nil {
		d.lastError.Store(&err)
		return nil, err
	}
	return c, nil
}

func (d *dialer) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	if port, found := strings.CutPrefix(addr, ":"); found {
		addr = net.JoinHostPort(d.host, port) // of a Cluster's node that does not know its own name
	}
	socket, err := d.net.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if d.secure == nil {
		return newConnection(socket, socket), nil
	}
	config := d.secure.Clone()
	if config.ServerName == "" {
		config.ServerName = d.serverName(addr)
	}
	secured := tls.Client(socket, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = socket.Close() // nothing was sent but the handshake
		return nil, &handshakeError{addr, err}
	}
	return newConnection(secured, socket), nil
}

// serverName is the name that a server's certificate must have: that of its address. If
// that is an IP address, as sentinels and Clusters announce them, the name in the URL.
func (d *dialer) serverName(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || net.ParseIP(host) != nil && d.host != "" && net.ParseIP(d.host) == nil {
		return d.host
	}
	return host
}

// handshakeError: there is a connection, and no TLS on it.
type handshakeError struct {
	addr string
	err  error
}

func (e *handshakeError) Error() string {
	return fmt.Sprintf("TLS handshake with %s: %v", e.addr, e.err)
}
func (e *handshakeError) Unwrap() error { return e.err }

// NotSent marks an error of connecting.
func (e *handshakeError) NotSent() {}

// refusal is why a connection that came about is not used.
type refusal string

func (r refusal) Error() string { return string(r) }

// NotSent marks an error of connecting.
func (refusal) NotSent() {}

// unusedTime is after how long a connection that nobody uses is closed. The pool hands out those that were
// used last, and looks at no other: as many as were ever used at once would stay for ever.
const unusedTime = 10 * time.Second

// connection is one to a server. The pool asks an idle one for its socket, and looks
// there whether the server has hung up meanwhile; crypto/tls does not show its own, so
// that the first command on such a connection would find out.
type connection struct {
	net.Conn
	socket   net.Conn // below TLS, if there is any
	answered bool
	unused   *time.Timer

	mu      sync.Mutex
	used    time.Time // last
	waiting bool      // for what the server says
	closed  bool
}

func newConnection(conn, socket net.Conn) *connection {
	c := &connection{Conn: conn, socket: socket, used: time.Now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unused = time.AfterFunc(unusedTime, c.closeUnused)
	return c
}

// closeUnused runs when the connection may have been unused for long enough.
func (c *connection) closeUnused() {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := unusedTime - time.Since(c.used)
	switch {
	case c.closed: // just when it was looked
	case c.waiting:
		c.unused.Reset(unusedTime)
	case left > 0:
		c.unused.Reset(left)
	default:
		c.closed = true
		_ = c.Conn.Close() // nothing is on its way, and nobody is there to be told
	}
}

// use notes that somebody has the connection. It reports false if it is closed already.
func (c *connection) use(waiting bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used, c.waiting = time.Now(), waiting
	return !c.closed
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.unused.Stop()
	return c.Conn.Close()
}

// Write implements net.Conn.
func (c *connection) Write(b []byte) (int, error) {
	c.use(true) // for the answer
	return c.Conn.Write(b)
}

// SyscallConn is the socket's. The pool asks for it before it hands the connection out, so from
// here on it counts as used, and is not closed under the hands of whoever gets it.
func (c *connection) SyscallConn() (syscall.RawConn, error) {
	if !c.use(false) {
		return nil, net.ErrClosed
	}
	socket, ok := c.socket.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return socket.SyscallConn()
}

// What a server may say before it hangs up. It says it to the greeting, whose errors the client passes over.
const (
	errMaxClients refusal = "the server has as many clients as it takes (maxclients)"
	errSpeaksTLS  refusal = "the server speaks TLS"
)

const tlsAlert = 0x15 // the type of a TLS record

// Read looks at the first answer.
func (c *connection) Read(b []byte) (int, error) {
	c.use(true)
	n, err := c.Conn.Read(b)
	c.use(false)
	if c.answered || n == 0 {
		return n, err
	}
	c.answered = true
	switch {
	case bytes.HasPrefix(b[:n], []byte("-ERR max number of clients")):
		return 0, errMaxClients
	case c.Conn == c.socket && b[0] == tlsAlert:
		return 0, errSpeaksTLS
	}
	return n, err
}
