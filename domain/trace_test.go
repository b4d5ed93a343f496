package domain_test

import (
	"strings"
	"testing"

	"holdfast/domain"
)

func TestTraceOfARequest(t *testing.T) {
	const id, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for _, c := range []struct {
		traceparent string
		trace       domain.Trace
		id          string
	}{
		{"00-" + id + "-" + span + "-01", id + "-" + span, id},
		{"00-" + id + "-" + span + "-0b", id + "-" + span, id},
		{"00-" + id + "-" + span + "-00", "", id}, // not sampled
		{"00-" + id + "-" + span + "-0a", "", id},
		{"", "", ""},
		{"00-" + id + "-" + span + "-0x", "", ""},
		{"00-" + id + "-" + span + "_01", "", ""},
		{"00-" + id + "_" + span + "-01", "", ""},
		{"01-" + id + "-" + span + "-01", "", ""},
		{"00-" + strings.ToUpper(id) + "-" + span + "-01", "", ""},
		{"00-" + strings.Repeat("0", 32) + "-" + span + "-01", "", ""},
		{"00-" + id + "-" + strings.Repeat("0", 16) + "-01", "", ""},
		{"00-" + id[1:] + "-" + span + "1-01", "", ""},
		{"00-" + id + "-" + span + "-01-more", "", ""},
	} {
		r := domain.Request{Traceparent: c.traceparent}
		if got, id := r.Trace(), r.TraceID(); got != c.trace || id != c.id || got != "" && got.ID() != c.id {
			t.Errorf("%q: %q, of trace %q, want %q, %q", c.traceparent, got, id, c.trace, c.id)
		}
	}
}
