package streams

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

// DefaultURL is where Redis is looked for if nobody says.
const DefaultURL = "redis://127.0.0.1:6379/0"

// Dial returns a client for a URL:
//
//	redis://[[user]:password@]host:port/db, rediss://… (TLS), unix:///path?db=N
//	redis://[[user]:password@]host1:port/db?master_name=NAME&username=…&password=…&addr=host2:port …   Sentinel
//	redis://[[user]:password@]host1:port?cluster=true, or ?addr=host2:port …                           Redis Cluster
//
// With Sentinel, what stands before the @ is for the sentinels, and username and
// password are for the servers. In a password every character but letters, digits and
// -._~ is percent-encoded. Further query parameters are go-redis's. A client of a
// URL that says something else than it seems to is refused.
//
// secure is Options.TLS. The client does not send a command twice by itself: whoever
// calls knows whether that is harmless. Only that of a Cluster does when a connection
// breaks, but for reads that hand out entries. Nothing is sent yet. Errors are of
// ClassFatal, and do not repeat the URL.
func Dial(rawURL string, secure *tls.Config) (redis.UniversalClient, error) {
	e, err := parseURL(rawURL, secure)
	if err != nil {
		return nil, err
	}
	return e.client(0, nil)
}

// CheckURL returns the error that Dial and Open would return for a URL.
func CheckURL(rawURL string, secure *tls.Config) error {
	_, err := parseURL(rawURL, secure)
	return err
}

// kind is what a URL leads to.
type kind string

const (
	kindServer   kind = "server"
	kindSentinel kind = "sentinel"
	kindCluster  kind = "cluster"
)

// endpoint is what a URL says: where Redis is, and how it is spoken to.
type endpoint struct {
	kind   kind
	url    *url.URL // as go-redis wants it
	query  url.Values
	db     int
	dialer *dialer
}

// parameters are those of a URL's query that may be used. What would make the client read
// from replicas is not among them: they lag behind.
var parameters = []string{
	"addr", "client_name", "cluster", "conn_max_idle_time", "conn_max_lifetime", "conn_max_lifetime_jitter", "db", "dial_timeout",
	"dialer_retries", "dialer_retry_timeout", "failing_timeout_seconds", "idle_timeout", "master_name", "max_active_conns",
	"max_concurrent_dials", "max_conn_age", "max_idle_conns", "max_redirects", "max_retries", "max_retry_backoff", "min_idle_conns",
	"min_retry_backoff", "password", "pipeline_pool_size", "pipeline_read_buffer_size", "pipeline_write_buffer_size", "pool_fifo",
	"pool_size", "pool_timeout", "protocol", "read_timeout", "skip_verify", "username", "write_timeout",
}

// parseURL reads a URL strictly. A password with a bare # / or ? in it makes a
// well-formed URL of another host, port and path, which url.Parse and go-redis would
// take at its word: connect elsewhere, and tell everybody. The errors say nothing of
// what stands in it but the names of known parameters.
func parseURL(raw string, secure *tls.Config) (*endpoint, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, urlError("cannot be read: want redis://host:port/db", encodeHint)
	}
	// A last @ behind the host, or a fragment, is what a password with such a character looks like.
	if strings.Contains(raw, "#") || strings.Contains(u.EscapedPath()+u.RawQuery, "@") || u.Opaque != "" {
		return nil, urlError("is not redis://user:password@host:port/db", encodeHint)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, urlError("has a query that cannot be read", encodeHint)
	}
	if u.User != nil {
		if password, _ := u.User.Password(); password == "" {
			return nil, urlError("has an @ and no password before it: want redis://user:password@host:port/db, or :password@ for the default user")
		}
	}
	for i, pair := range strings.Split(u.RawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if name, err = url.QueryUnescape(name); err != nil || pair != "" && !slices.Contains(parameters, name) {
			return nil, urlError(fmt.Sprintf("has a query whose parameter %d is not known", i+1), encodeHint)
		}
	}
	e := &endpoint{kind: kindServer, url: u, query: query, dialer: newDialer(u, query, secure)}
	if query.Has("master_name") {
		e.kind = kindSentinel
	} else if query.Has("cluster") || query.Has("addr") {
		e.kind = kindCluster
	}
	if err := e.check(secure); err != nil {
		return nil, err
	}
	return e, e.checkParameters()
}

const encodeHint = "characters of a password such as # / ? @ & % must be percent-encoded"

func urlError(what string, hint ...string) error {
	return domain.WithCode(domain.ClassFatal, domain.CodeInvalid, errors.New(strings.Join(append([]string{"the Redis URL " + what}, hint...), "; ")))
}

// check looks at the parts of the URL.
func (e *endpoint) check(secure *tls.Config) error {
	switch e.url.Scheme {
	case "unix":
		if e.url.Host != "" || e.url.Path == "" {
			return urlError("of a socket is unix:///path")
		}
		if e.kind != kindServer {
			return urlError("of a socket leads to one server: no master_name, cluster or addr")
		}
	case "redis", "rediss":
		if port := e.url.Port(); port != "" {
			if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
				return urlError("has a port that is none", encodeHint)
			}
		} else if strings.HasSuffix(e.url.Host, ":") {
			return urlError("has a : and no port behind it", encodeHint)
		}
		if path := strings.Trim(e.url.Path, "/"); path != "" {
			var err error
			if e.db, err = strconv.Atoi(path); err != nil || e.db < 0 {
				return urlError("has a path that is no number of a database", encodeHint)
			}
		}
	default:
		return urlError("begins with neither redis://, rediss:// nor unix://")
	}
	if secure != nil && e.url.Scheme != "rediss" {
		return urlError("does not begin with rediss://, so that certificates would do nothing")
	}
	if db := e.query.Get("db"); db != "" {
		var err error
		if e.db, err = strconv.Atoi(db); err != nil || e.db < 0 {
			return urlError("has a db that is no number of a database")
		}
	}
	switch e.kind {
	case kindCluster:
		if e.db != 0 {
			return urlError("names a database, and a Redis Cluster has only database 0")
		}
		if yes, err := strconv.ParseBool(e.query.Get("cluster")); e.query.Has("cluster") && (err != nil || !yes) {
			return urlError("has a cluster that is not true")
		}
	case kindSentinel:
		if e.query.Get("master_name") == "" {
			return urlError("has an empty master_name")
		}
	case kindServer:
	}
	return nil
}

// checkParameters finds the one that go-redis does not take, because its errors repeat values.
func (e *endpoint) checkParameters() error {
	for _, values := range e.query {
		for _, value := range values {
			if n, err := strconv.Atoi(value); err == nil && (n < -1 || n > 1_000_000) {
				return urlError("has a parameter whose number is out of all proportion")
			}
		}
	}
	if _, err := e.options(e.query); err == nil {
		return nil
	}
	for _, name := range parameters {
		query := url.Values{}
		for _, kept := range []string{"master_name", name} {
			if e.query.Has(kept) {
				query[kept] = e.query[kept]
			}
		}
		if _, err := e.options(query); err != nil {
			return urlError(fmt.Sprintf("has a parameter %s that will not do here, or whose value will not", name))
		}
	}
	return urlError("cannot be used", encodeHint)
}

// options is the URL with this query as go-redis reads it.
func (e *endpoint) options(query url.Values) (any, error) {
	u := *e.url
	u.RawQuery = query.Encode()
	switch e.kind {
	case kindSentinel:
		return redis.ParseFailoverURL(u.String())
	case kindCluster:
		query = maps.Clone(query)
		query.Del("cluster")
		u.RawQuery = query.Encode()
		return redis.ParseClusterURL(u.String())
	case kindServer:
	}
	return redis.ParseURL(u.String())
}

// client returns a new one, with a look at each connection before it is used, but for
// those to nodes of a Cluster. blocking is how many connections block at a time; the
// pool is that much larger, and a reply may take as much longer as a blocking read does.
func (e *endpoint) client(blocking int, onConnect func(context.Context, *redis.Conn) error) (redis.UniversalClient, error) {
	options, err := e.options(e.query)
	if err != nil {
		return nil, urlError("cannot be used") // it was read before
	}
	poolSize := 16 + blocking
	switch o := options.(type) {
	case *redis.FailoverOptions:
		o.MaxRetries, o.Protocol, o.PoolSize, o.ContextTimeoutEnabled = -1, 2, max(o.PoolSize, poolSize), true
		o.ReadTimeout = readTimeout(o.ReadTimeout, blocking)
		o.Dialer, o.OnConnect = e.dialer.dial, masterOnly(onConnect)
		return redis.NewFailoverClient(o), nil
	case *redis.ClusterOptions:
		o.MaxRetries, o.Protocol, o.PoolSize, o.ContextTimeoutEnabled = -1, 2, max(o.PoolSize, poolSize), true
		o.ReadTimeout = readTimeout(o.ReadTimeout, blocking)
		o.Dialer = e.dialer.dial
		o.MaxRedirects = 8 // MOVED and ASK: the command was not executed where it was sent first
		// A master that died says nothing about who took its slots over, and go-redis
		// would ask the others once a minute.
		o.ClusterStateReloadInterval = time.Second
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		return redis.NewClusterClient(o), nil
	case *redis.Options:
		o.MaxRetries, o.Protocol, o.PoolSize, o.ContextTimeoutEnabled = -1, 2, max(o.PoolSize, poolSize), true
		o.ReadTimeout = readTimeout(o.ReadTimeout, blocking)
		o.Dialer, o.OnConnect = e.dialer.dial, onConnect
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		return redis.NewClient(o), nil
	}
	return nil, urlError("cannot be used") // the three above are all there are
}

// readTimeout is what the URL says a reply may take. A read that waits for work
// answers after that time: on a client for those, it comes on top.
func readTimeout(said time.Duration, blocking int) time.Duration {
	if said > 0 && blocking > 0 {
		return said + readBlock
	}
	return said // 0 is go-redis's default, which is longer, and less is none
}

// errNoMaster: a sentinel named a server that is none (any more).
const errNoMaster refusal = "the server is no master"

// masterOnly refuses a server that is no master (any more), before then sees it. A
// sentinel may name one that was replaced a moment ago; it would answer everything
// that only reads, and nobody would notice. Connections to the sentinels come here, too.
func masterOnly(then func(context.Context, *redis.Conn) error) func(context.Context, *redis.Conn) error {
	return func(ctx context.Context, conn *redis.Conn) error {
		reply, err := conn.Do(ctx, "ROLE").Slice()
		if err != nil {
			return err
		}
		var role string
		if len(reply) > 0 {
			role = layout.AsString(reply[0])
		}
		switch {
		case role == "sentinel", role == "master" && then == nil:
			return nil
		case role == "master":
			return then(ctx, conn)
		}
		return fmt.Errorf("%w, but %q", errNoMaster, role)
	}
}
