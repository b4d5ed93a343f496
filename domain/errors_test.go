package domain

import (
	"errors"
	"fmt"
	"testing"
)

func TestCodeOf(t *testing.T) {
	plain := errors.New("x")
	for _, test := range []struct {
		err  error
		want Code
	}{
		{nil, CodeFailed},
		{plain, CodeFailed},
		{WithClass(ClassReject, plain), CodeFailed},
		{fmt.Errorf("order o1: %w", ErrNotFound), CodeNotFound},
		{WithClass(ClassReject, fmt.Errorf("event e1: %w", ErrConflict)), CodeConflict},
		{WithClass(ClassReject, fmt.Errorf("order o1: %w", ErrSetAside)), CodeSetAside},
		{WithCode(ClassFatal, CodeNoSuchNamespace, plain), CodeNoSuchNamespace},
		{WithClass(ClassFatal, fmt.Errorf("y: %w", WithCode(ClassReject, CodeInvalid, plain))), CodeInvalid},
		{WithCode(ClassRetry, CodeUnavailable, fmt.Errorf("%w: %w", ErrUnknownOutcome, plain)), CodeUnknownOutcome},
		{fmt.Errorf("z: %w", ErrDataReplaced), CodeDataReplaced},
	} {
		if got := CodeOf(test.err); got != test.want {
			t.Errorf("%v: %s, want %s", test.err, got, test.want)
		}
	}
	if WithCode(ClassReject, CodeInvalid, nil) != nil {
		t.Error("nil has a code")
	}
}
