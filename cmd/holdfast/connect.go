package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"holdfast/domain"
	"holdfast/streams"
)

func (e *environment) url() string {
	if e.redis == "" {
		return streams.DefaultURL
	}
	return e.redis
}

// tlsFiles are whom to trust and who we are, as files in PEM. The flags that name them
// begin with whose, such as --redis.
type tlsFiles struct{ whose, ca, cert, key string }

// config is nil if no file is named.
func (f tlsFiles) config() (*tls.Config, error) {
	if f.ca == "" && f.cert == "" && f.key == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, badUsage("%s-ca: %w", f.whose, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, badUsage("%s-ca: no certificate in %s", f.whose, f.ca)
		}
	}
	if f.cert == "" && f.key == "" {
		return c, nil
	}
	if f.cert == "" || f.key == "" {
		return nil, badUsage("%[1]s-cert, %[1]s-key: one without the other", f.whose)
	}
	if _, err := tls.LoadX509KeyPair(f.cert, f.key); err != nil {
		return nil, badUsage("%[1]s-cert, %[1]s-key: %[2]w", f.whose, err)
	}
	// Read each time, so that a worker goes on when they are renewed.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		return &pair, err
	}
	return c, nil
}

// checkConnection finds mistakes in the global flags before anything is tried. It
// returns what streams.Options.TLS has to be.
func (e *environment) checkConnection() (*tls.Config, error) {
	if !domain.ValidID(e.namespace) {
		return nil, badUsage("--namespace: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength)
	}
	secure, err := e.tls.config()
	if err != nil {
		return nil, err
	}
	if err := streams.CheckURL(e.url(), secure); err != nil {
		return nil, badUsage("--redis: %w", err)
	}
	return secure, nil
}

// open opens the store; the error says what to do.
func (e *environment) open(ctx context.Context, o streams.Options) (*streams.Store, error) {
	secure, err := e.checkConnection()
	if err != nil {
		return nil, err
	}
	o.Namespace, o.TLS = e.namespace, secure
	store, err := streams.Open(ctx, e.url(), o)
	if err != nil {
		return nil, e.withHint(openError(e.url(), err))
	}
	return store, nil
}

// openWhenUp opens the namespace with patience, because containers start in any order. How long it
// waits counts from when Redis last said that it is loading its data, or from when somebody last had something to see to.
func (e *environment) openWhenUp(ctx context.Context, o streams.Options, patience time.Duration) (*streams.Store, error) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, 2*time.Second
	giveUp := time.Now().Add(patience)
	for told := ""; ; {
		store, err := e.open(ctx, o)
		if err == nil || domain.ClassOf(err) != domain.ClassRetry {
			return store, err
		}
		waiting := "redis does not answer yet, waiting"
		if domain.CodeOf(err) == domain.CodeLoading && patience > 0 {
			waiting = "redis is loading its data, waiting"
			giveUp = time.Now().Add(patience)
		}
		if forPeople, waits := waitsForPeople(err); waits && patience > 0 {
			waiting, giveUp = forPeople, time.Now().Add(patience)
		}
		left := time.Until(giveUp)
		if left <= 0 || ctx.Err() != nil {
			return nil, err
		}
		if waiting != told {
			told = waiting
			o.Log.Info(waiting, zap.String("redis", redactURL(e.url())), zap.Duration("at_most", patience), zap.Error(err))
		}
		timer := time.NewTimer(min(wait.NextBackOff(), left))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// openHints are what to do about an error of opening.
var openHints = map[domain.Code]string{
	domain.CodeUnavailable: "start one, or name another with --redis",
	domain.CodeLoading:     "try again in a moment",
	domain.CodeUntrusted:   "name its certificate with --redis-ca",
}

// openError says which Redis cannot be opened, and what to do.
func openError(url string, err error) error {
	at, code := "redis at "+redactURL(url), domain.CodeOf(err)
	hint := openHints[code]
	switch {
	case code == domain.CodeUnavailable:
		return &helpfulError{fmt.Errorf("%s does not answer (%w)", at, err), hint}
	case hint != "":
		return &helpfulError{fmt.Errorf("%s: %w", at, err), hint}
	}
	return fmt.Errorf("%s: %w", at, err)
}

// withHint adds what to type to an error about a namespace. What is below does not know of
// commands; nil stays nil.
func (e *environment) withHint(err error) error {
	hint := map[domain.Code]string{
		domain.CodeNoSuchNamespace:  e.typed("init") + " makes one",
		domain.CodeNamespaceDamaged: "if you know it: " + e.typed("init --restore-meta --partitions N --payment-names plain|namespaced") + "; see docs/operations.md",
		domain.CodeSchemaBefore:     "stop all workers and run: " + e.typed("migrate") + "; see docs/operations.md",
		domain.CodeRestoring:        "if nobody does that any more, go on with it: " + e.typed("restore --archive URL"),
		domain.CodeOtherGateway:     "to change that, for all workers: " + e.typed("namespace set --gateway simulator|remote|stripe|stripe-test"),
	}[domain.CodeOf(err)]
	if hint != "" {
		return fmt.Errorf("%w (%s)", err, hint)
	}
	return err
}

// helpfulError is an error with what to do about it.
type helpfulError struct {
	err error
	do  string
}

func (e *helpfulError) Error() string { return e.err.Error() + ": " + e.do }
func (e *helpfulError) Unwrap() error { return e.err }

// withStore runs do with a store of a namespace that is there, which is closed afterwards.
func (e *environment) withStore(ctx context.Context, do func(*streams.Store) error) error {
	return e.withStoreOf(ctx, streams.Options{}, do)
}

func (e *environment) withStoreOf(ctx context.Context, o streams.Options, do func(*streams.Store) error) error {
	if e.opened != nil {
		return do(e.opened)
	}
	o.Log = e.warnings()
	store, err := e.open(ctx, o)
	if err != nil {
		return err
	}
	return errors.Join(do(store), store.Close())
}

// warnings is a log that writes them as lines for people, or as JSON for programs.
func (e *environment) warnings() *zap.Logger {
	to := zapcore.Lock(zapcore.AddSync(e.stderr))
	if e.json {
		encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "warning"})
		return zap.New(zapcore.NewCore(encoder, to, zap.WarnLevel))
	}
	encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{NameKey: "name", MessageKey: "warning", ConsoleSeparator: " "})
	return zap.New(inWords{zapcore.NewCore(encoder, to, zap.WarnLevel)}).Named("holdfast:")
}

// inWords writes the fields of a log as a part of the sentence.
type inWords struct{ zapcore.Core }

// With implements zapcore.Core. Nobody who warns of something has fields that stay.
func (c inWords) With(fields []zapcore.Field) zapcore.Core { return inWords{c.Core.With(fields)} }

// Check implements zapcore.Core.
func (c inWords) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c inWords) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	values := zapcore.NewMapObjectEncoder()
	for _, field := range fields {
		field.AddTo(values)
	}
	for _, name := range slices.Sorted(maps.Keys(values.Fields)) {
		entry.Message += fmt.Sprintf("; %s: %v", name, values.Fields[name])
	}
	return c.Core.Write(entry, nil)
}

const malformedURL = "(a malformed URL)"

// redactURL is what of a URL may be printed, and the only place that says so. That is
// where it leads to: scheme, host, port, and for Redis database, socket, master_name and
// addr. All else may be a secret, or a part of one that has a bare # / ? or @ in it, and
// then nothing is where it seems to be.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || strings.Contains(raw, "#") || strings.Contains(u.EscapedPath()+u.RawQuery, "@") || !plain(u.Host, ".-_:[]") {
		return malformedURL
	}
	shown := u.Scheme + "://" + u.Host
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" || u.RawQuery != "" {
			return malformedURL
		}
		if strings.Trim(u.Path, "/") != "" {
			shown += "/…"
		}
		return shown
	case "redis", "rediss", "unix":
		if streams.CheckURL(raw, nil) != nil || !plain(u.Path, "/._-") {
			return malformedURL
		}
	default:
		return malformedURL
	}
	shown += u.Path
	separator := "?"
	for _, name := range []string{"master_name", "addr", "cluster", "db"} {
		for _, value := range u.Query()[name] {
			if !plain(value, ".-_:[]") {
				return malformedURL
			}
			shown += separator + name + "=" + value
			separator = "&"
		}
	}
	return shown
}

// withoutURLs is err without what it repeats of URLs on the command line, which may stand
// where something else is wanted.
func withoutURLs(err error, args []string) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, arg := range args {
		if flag, value, found := strings.Cut(arg, "="); found && strings.HasPrefix(flag, "-") {
			arg = value
		}
		if strings.Contains(arg, "://") {
			text = strings.ReplaceAll(text, arg, redactURL(arg))
		}
	}
	return &rewordedError{text, err}
}

type rewordedError struct {
	text string
	err  error
}

func (e *rewordedError) Error() string { return e.text }
func (e *rewordedError) Unwrap() error { return e.err }

// plain reports whether a text is of letters, digits and some more characters.
func plain(text, more string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(more, r)
	})
}
