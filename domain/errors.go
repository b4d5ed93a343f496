package domain

import (
	"errors"
	"fmt"
)

// Class says what to do about an error. Every error that crosses a package
// boundary can be asked for its class with ClassOf.
type Class uint8

// The classes. An error without a class is ClassRetry: the safe reading of an
// error nobody classified is that the work is not done yet.
const (
	// ClassRetry: try again, under the same ids. Includes every ambiguous result.
	ClassRetry Class = iota
	// ClassReject: the request is understood and refused; the caller learns why.
	ClassReject
	// ClassPoison: this entry can never be handled; set it aside and go on.
	ClassPoison
	// ClassFatal: nothing will work until somebody changes something; stop.
	ClassFatal
)

// String is the class in lower case.
func (c Class) String() string {
	switch c {
	case ClassRetry:
		return "retry"
	case ClassReject:
		return "reject"
	case ClassPoison:
		return "poison"
	case ClassFatal:
		return "fatal"
	}
	return "unknown"
}

// Code names what went wrong, for programs: it stands in JSON errors and never changes.
type Code string

// The codes. Why an order was rejected is a code as well: its Reason.
const (
	CodeFailed           Code = "failed"      // nothing more is known than the message says
	CodeUnavailable      Code = "unavailable" // nobody answers
	CodeBusy             Code = "busy"        // as many requests wait as may: nothing was published, come back later
	CodeLoading          Code = "loading"     // Redis reads its data, and will answer
	CodeDenied           Code = "denied"      // a password or a permission
	CodeUntrusted        Code = "untrusted"   // a certificate of an authority that is not known here
	CodeInvalid          Code = "invalid"
	CodeNotFound         Code = "not_found"
	CodeConflict         Code = "conflict"
	CodeSetAside         Code = "set_aside"
	CodeUnknownOutcome   Code = "outcome_not_known"
	CodeDataReplaced     Code = "data_replaced"
	CodeNoSuchNamespace  Code = "no_such_namespace"
	CodeNamespaceDamaged Code = "namespace_damaged" // its partitions are there, what it was made with is not
	CodeSchemaBefore     Code = "schema_before"     // the namespace must be migrated first
	CodeRestoring        Code = "restoring"         // the namespace is being restored from its archive
	CodeArchived         Code = "archived"          // the namespace is not there, and its log is archived: a person says whether it is restored
	CodeLogTrimmed       Code = "log_trimmed"       // what is asked for is not in Redis any more, but in the archive
	CodeMigrationRefused Code = "migration_refused" // the namespace is not what it must be to be migrated
	CodeOtherGateway     Code = "other_gateway"     // another kind of payment gateway serves the namespace
	CodeEventClosed      Code = "event_closed"
	CodeEventOver        Code = "event_over"     // it was forgotten, and nothing is done about it any more
	CodeEventReopened    Code = "event_reopened" // while its orders were being cancelled
	CodeBelowHeld        Code = "capacity_below_held_and_sold"
	CodeSoldOutNow       Code = "sold_out_now" // nothing was recorded of the order, and nothing is decided: come again if you like

	// Of a Trouble.
	CodeGroupGone            Code = "group_gone"            // somebody removed a consumer group, or its stream; it is made again
	CodeArchiveFailing       Code = "archive_failing"       // the log is not archived
	CodeSnapshotFailing      Code = "snapshot_failing"      // no snapshot of the archive is taken
	CodeLogNotTrimmed        Code = "log_not_trimmed"       // it should be, and grows
	CodeGatewayMisconfigured Code = "gateway_misconfigured" // nobody is served until somebody changes something
	CodeGatewayUnavailable   Code = "gateway_unavailable"   // it does not answer, or not now
	CodeGatewayBusy          Code = "gateway_busy"          // it takes fewer calls than there are
	CodeGatewaySlow          Code = "gateway_slow"          // it answers, and takes long
)

// Error is an error with a class, and perhaps a code.
type Error struct {
	Class Class
	Code  Code // empty: CodeOf looks further inside
	Err   error
}

// Error is the message of the wrapped error; the class is for programs.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives errors.Is and errors.As the cause.
func (e *Error) Unwrap() error { return e.Err }

// WithClass wraps err; nil stays nil.
func WithClass(class Class, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Class: class, Err: err}
}

// WithCode wraps err; nil stays nil.
func WithCode(class Class, code Code, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Class: class, Code: code, Err: err}
}

// CodeOf is the outermost code in err's chain, else that of the marker it wraps, else
// CodeFailed. That an outcome is not known comes before everything else.
func CodeOf(err error) Code {
	if errors.Is(err, ErrUnknownOutcome) {
		return CodeUnknownOutcome
	}
	for e := err; e != nil; {
		var classified *Error
		if !errors.As(e, &classified) {
			break
		}
		if classified.Code != "" {
			return classified.Code
		}
		e = classified.Err
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return CodeNotFound
	case errors.Is(err, ErrConflict):
		return CodeConflict
	case errors.Is(err, ErrSetAside):
		return CodeSetAside
	case errors.Is(err, ErrDataReplaced):
		return CodeDataReplaced
	}
	return CodeFailed
}

// ClassOf is the class of the outermost classified error in err's chain, ClassRetry if there is none.
func ClassOf(err error) Class {
	if classified, ok := errors.AsType[*Error](err); ok {
		return classified.Class
	}
	return ClassRetry
}

// ErrUnknownOutcome marks a result that is not known: the call may have taken
// effect. It is never a failure; read again, or resubmit under the same ids.
var ErrUnknownOutcome = errors.New("outcome not known")

// ErrNotFound marks a look-up of something that is not there.
var ErrNotFound = errors.New("not found")

// ErrConflict marks an attempt to create something that exists with other content.
var ErrConflict = errors.New("conflict")

// EventOver says that an event was forgotten: nothing is done about it, or about its orders, any more, and it is never listed again. It is
// of ClassReject, with CodeEventOver.
func EventOver(eventID string) error {
	return WithCode(ClassReject, CodeEventOver, fmt.Errorf("event %s is over, and forgotten: it is in the archive alone", eventID))
}

// ErrSetAside marks a request that nobody handles any more, unless a person has it
// handled after all: see SetAside.
var ErrSetAside = errors.New("set aside")

// ErrDataReplaced says that what is stored is not any more what it was: emptied,
// or an older copy. What was in hand belongs to a past that has not happened.
var ErrDataReplaced = errors.New("the data in Redis is not what it was")
