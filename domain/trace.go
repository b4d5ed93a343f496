package domain

import (
	"strconv"
	"strings"
)

// Trace names the span that published a request, as the middle of a traceparent does: the id of its trace, and its own. Empty for none.
type Trace string

// ID is that of the trace.
func (t Trace) ID() string {
	id, _, _ := strings.Cut(string(t), "-")
	return id
}

const (
	traceIDLength = 32 // hex digits
	spanIDLength  = 16
)

// ValidTrace reports whether a text names a span.
func ValidTrace(text string) bool {
	trace, span, found := strings.Cut(text, "-")
	return found && validTraceID(trace, traceIDLength) && validTraceID(span, spanIDLength)
}

// validTraceID: that of zeros alone is none.
func validTraceID(id string, length int) bool {
	zeros := true
	for i := range len(id) {
		c := id[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
		zeros = zeros && c == '0'
	}
	return len(id) == length && !zeros
}

// Trace is the span that published the request, if that is sampled: else nobody can look at it.
func (r *Request) Trace() Trace {
	span, sampled := r.publisher()
	if !sampled {
		return ""
	}
	return span
}

// TraceID is the id of the trace that the request is of, sampled or not; empty for none.
func (r *Request) TraceID() string {
	span, _ := r.publisher()
	return span.ID()
}

// publisher reads the traceparent.
func (r *Request) publisher() (span Trace, sampled bool) {
	const version, flags = "00-", "-01"
	t := r.Traceparent
	if len(t) != len(version)+traceIDLength+1+spanIDLength+len(flags) || t[:len(version)] != version {
		return "", false
	}
	said, flag := t[len(version):len(t)-len(flags)], t[len(t)-len(flags):]
	bits, err := strconv.ParseUint(flag[1:], 16, 8)
	if err != nil || flag[0] != '-' || !ValidTrace(said) {
		return "", false
	}
	return Trace(said), bits&1 == 1
}
