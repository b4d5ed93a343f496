package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"holdfast/domain"
	"holdfast/producer"
)

// Exit statuses. Of several requests the highest counts: as long as the outcome of one is
// not known, whoever asks again learns it, whatever became of the others.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2 // of the command line: nothing was tried
	exitUnknown = 3 // it may have worked, or may still
)

// endedError is the end of a command with an exit status of its own.
type endedError struct {
	status int
	err    error // nil: all has been said on stderr
}

func (e *endedError) Error() string {
	if e.err == nil {
		return "failed"
	}
	return e.err.Error()
}

func (e *endedError) Unwrap() error { return e.err }

var errInterrupted = domain.WithCode(domain.ClassRetry, "interrupted", errors.New("interrupted"))

func statusOf(err error) int {
	var ended *endedError
	var usage *usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &ended):
		return ended.status
	case errors.As(err, &usage):
		return exitUsage
	case domain.CodeOf(err) == domain.CodeUnknownOutcome:
		return exitUnknown
	}
	return exitFailed
}

// errorView is an error in JSON.
type errorView struct {
	Error   string      `json:"error"`
	Code    domain.Code `json:"code"`
	OrderID string      `json:"order_id,omitempty"`
	EventID string      `json:"event_id,omitempty"`
	Line    int         `json:"line,omitempty"`    // of the file of requests
	DeadID  string      `json:"dead_id,omitempty"` // of the request that was set aside
}

func oneLine(err error) string { return inOneLine(err.Error()) }

// inOneLine separates what stood on lines of their own, such as errors that were joined.
func inOneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// notice says on standard error what is no error, and what whoever reads the output must know.
func (e *environment) notice(text string) {
	_, _ = fmt.Fprintln(e.stderr, "holdfast: "+printableLine(text)) // nothing can be done about a broken standard error
}

// complain writes an error as one line.
func (e *environment) complain(err error) {
	text := oneLine(err)
	if !e.json {
		_, _ = fmt.Fprintf(e.stderr, "holdfast: %s\n", text) // nowhere to say that this failed
		return
	}
	v := errorView{Error: text, Code: codeOf(err)}
	var subject *subjectError
	if errors.As(err, &subject) {
		v.OrderID, v.EventID, v.Line = subject.ref.OrderID, subject.ref.EventID, subject.line
	}
	var setAside *producer.SetAsideError
	if errors.As(err, &setAside) {
		v.DeadID = setAside.DeadID
	}
	encoder := json.NewEncoder(e.stderr)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v) // as above
}

func codeOf(err error) domain.Code {
	var usage *usageError
	switch code := domain.CodeOf(err); {
	case code != domain.CodeFailed:
		return code
	case errors.As(err, &usage):
		return domain.CodeInvalid
	}
	return domain.CodeFailed
}

// subjectError says for programs what an error is about; its text says it by itself.
type subjectError struct {
	err  error
	ref  domain.OrderRef // its OrderID is empty if the error is about an event
	line int             // 0: of no file
}

func (e *subjectError) Error() string { return e.err.Error() }
func (e *subjectError) Unwrap() error { return e.err }

// about notes which order or event an error is about; nil stays nil.
func about(ref domain.OrderRef, err error) error {
	if err == nil {
		return nil
	}
	return &subjectError{err: err, ref: ref}
}

func aboutEvent(id string, err error) error { return about(domain.OrderRef{EventID: id}, err) }

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func badUsage(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }
