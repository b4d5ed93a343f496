package streams

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// explain says what an error of opening means, with its class: what only a person can
// mend is ClassFatal. Its code is domain.CodeUnavailable if nobody answered at all, and
// domain.CodeLoading if Redis is on its way up.
func (e *endpoint) explain(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		// The time was over before the pool told why it has no connection.
		if last := e.dialer.lastError.Load(); last != nil {
			err = *last
		}
	}
	what, class, code := e.cause(err)
	if what == "" {
		return err
	}
	return domain.WithCode(class, code, access.Reword(what, err))
}

const (
	fatal = domain.ClassFatal
	retry = domain.ClassRetry
)

// cause is empty if the error speaks for itself.
func (e *endpoint) cause(err error) (what string, class domain.Class, code domain.Code) {
	var (
		handshake *handshakeError
		reply     redis.Error
		network   net.Error
		alert     *net.OpError
	)
	switch {
	case errors.As(err, &handshake):
		return handshakeCause(handshake)
	case errors.Is(err, errSpeaksTLS):
		return e.who(err) + " speaks TLS: its URL begins with rediss://", fatal, domain.CodeInvalid
	case errors.As(err, &alert) && alert.Op == "remote error":
		// TLS 1.3 tells of a client's certificate only after the handshake; or the server hangs up so soon that it is not heard.
		return fmt.Sprintf("%s refuses the connection, as if it wanted a client certificate that it can trust (%v)", e.who(err), alert.Err), retry, ""
	case e.kind == kindSentinel && access.IsNil(err):
		return "the sentinels watch no master of the name in the URL", fatal, domain.CodeInvalid
	case errors.As(err, &reply):
		return e.replyCause(err, reply.Error())
	case errors.Is(err, access.ErrNotRedis):
		return "what answers there is no Redis", fatal, domain.CodeInvalid
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		what = e.who(err) + " hung up without an answer"
		if e.dialer.secure == nil {
			what += ": if it speaks TLS, its URL begins with rediss://"
		} else {
			what += ", as if it wanted a client certificate that it can trust"
		}
		return what, retry, ""
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		return unanswered(err), retry, domain.CodeUnavailable
	}
	return "", 0, ""
}

// unanswered is the innermost thing that says who was asked.
func unanswered(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Error()
	}
	return err.Error()
}

func handshakeCause(h *handshakeError) (what string, class domain.Class, code domain.Code) {
	var (
		record    tls.RecordHeaderError
		authority x509.UnknownAuthorityError
		verified  *tls.CertificateVerificationError
	)
	switch {
	case errors.As(h.err, &record):
		return h.addr + " does not speak TLS: its URL begins with redis://", fatal, domain.CodeInvalid
	case errors.As(h.err, &authority):
		return fmt.Sprintf("the certificate of %s is signed by an authority that is not known here (%v)", h.addr, authority), fatal, domain.CodeUntrusted
	case errors.As(h.err, &verified): // of another host, expired, …
		return fmt.Sprintf("the certificate of %s will not do: %v", h.addr, verified.Err), fatal, domain.CodeInvalid
	case errors.Is(h.err, os.ErrDeadlineExceeded), errors.Is(h.err, context.DeadlineExceeded):
		return h.addr + " does not answer the TLS handshake: if it does not speak TLS, its URL begins with redis://", retry, ""
	case errors.Is(h.err, io.EOF), errors.Is(h.err, syscall.ECONNRESET):
		return h.addr + " hung up in the TLS handshake, as if it did not speak TLS, or had as many clients as it takes (maxclients)", retry, ""
	}
	return "", 0, ""
}

// replyCause is about what Redis, or a sentinel, answered.
func (e *endpoint) replyCause(err error, reply string) (what string, class domain.Class, code domain.Code) {
	reply, _, _ = strings.Cut(reply, ", with args beginning with") // which may be a password
	denied := func(what string) (string, domain.Class, domain.Code) { return what, fatal, domain.CodeDenied }
	wrong := func(what string) (string, domain.Class, domain.Code) { return what, fatal, domain.CodeInvalid }
	switch {
	case strings.HasPrefix(reply, "LOADING"):
		return "Redis is loading its data", retry, domain.CodeLoading
	case strings.HasPrefix(reply, "WRONGPASS"), strings.HasPrefix(reply, "ERR AUTH"), strings.HasPrefix(reply, "ERR invalid password"):
		return denied(e.who(err) + " refuses user or password (WRONGPASS): " + e.credentials(err) + "; " + encodeHint)
	case strings.HasPrefix(reply, "NOAUTH"):
		return denied(e.who(err) + " wants a password (NOAUTH): " + e.credentials(err))
	case strings.HasPrefix(reply, "NOPERM"), strings.Contains(reply, "can't run this command"):
		return denied(e.who(err) + " does not permit what is needed: " + reply)
	case strings.Contains(reply, "DB index is out of range"):
		return wrong(fmt.Sprintf("%s has no database %d", e.who(err), e.db))
	case strings.HasPrefix(reply, "MOVED"), strings.Contains(reply, "SELECT is not allowed in cluster mode"):
		return wrong("this is a node of a Redis Cluster: its URL needs cluster=true, and no database")
	case strings.Contains(reply, "cluster support disabled"):
		return wrong("this is no Redis Cluster: take cluster=true (or addr=) out of the URL")
	case strings.HasPrefix(reply, "ERR unknown command") && e.kind == kindSentinel && atSentinel(err):
		return wrong("this is no sentinel: take master_name out of the URL")
	case strings.HasPrefix(reply, "ERR unknown command"):
		return wrong(e.who(err) + " does not know a command that is needed (" + reply + "): if it is a sentinel, its URL needs master_name=NAME")
	}
	return "", 0, ""
}

// who answered, or did not.
func (e *endpoint) who(err error) string {
	switch {
	case e.kind != kindSentinel:
		return "the server"
	case atSentinel(err):
		return "the sentinel"
	}
	return "the master"
}

// atSentinel reports whether it was a sentinel that could not be asked, and not the master that it named.
func atSentinel(err error) bool {
	return strings.Contains(err.Error(), "all sentinels specified in configuration are unreachable") // go-redis has no type for it
}

// credentials is where in the URL they stand.
func (e *endpoint) credentials(err error) string {
	if e.kind != kindSentinel {
		return "redis://user:password@host:port/db says who comes"
	}
	if atSentinel(err) {
		return "for the sentinels, redis://user:password@host:port/… says who comes; for the servers, &username=…&password=…"
	}
	return "for the servers, &username=…&password=… says who comes; for the sentinels, redis://user:password@host:port/…"
}
