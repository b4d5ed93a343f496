package layout_test

import (
	"math"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

func TestDecodeTotals(t *testing.T) {
	for raw, want := range map[string]layout.Totals{
		"0|0|0": {}, "1|2|3": {1, 2, 3}, "3|7|9007199254740993": {3, 7, 9007199254740993}, "1|2|9223372036854775807": {1, 2, math.MaxInt64},
	} {
		if got, err := layout.DecodeTotals(raw); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", raw, got, err, want)
		}
		if got := want.String(); got != raw {
			t.Errorf("%+v is written %q, want %q", want, got, raw)
		}
	}
	for _, raw := range []string{
		"", "1", "1|2", "1|2|", "||", "1|2|3|4", "a|b|c", "1,2,3", "1|2|1e+16", "1.0|2|3", "1|2|9223372036854775808", " 1|2|3", "1|2|-3", "-1|2|3", "nan|0|0",
	} {
		if got, err := layout.DecodeTotals(raw); err == nil || domain.ClassOf(err) != domain.ClassPoison || got != (layout.Totals{}) {
			t.Errorf("%q: got %+v, %v, want poison", raw, got, err)
		}
	}
}

func FuzzDecodeTotals(f *testing.F) {
	for _, s := range []string{"", "0|0|0", "1|2|3", "1|2", "1|2|3|", "-1|+2|03", "9223372036854775807|9223372036854775808|0", "0|0|-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		totals, err := layout.DecodeTotals(s)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassPoison || totals != (layout.Totals{}) {
				t.Errorf("got %+v and class %s", totals, domain.ClassOf(err))
			}
			return
		}
		if totals.Orders < 0 || totals.TicketsSold < 0 || totals.Revenue < 0 {
			t.Errorf("below zero: %+v", totals)
		}
		if again, err := layout.DecodeTotals(totals.String()); err != nil || again != totals {
			t.Errorf("%+v comes back as %+v, %v", totals, again, err)
		}
	})
}

// TestTotalsAdd: what orders add up to, up to the most that revenue can be.
func TestTotalsAdd(t *testing.T) {
	var got layout.Totals
	for _, o := range []domain.Order{{Items: "a:1:1000,b:1:1000"}, {Items: "a:1:0"}, {Items: "a:3:500"}} {
		if !got.Add(o) {
			t.Fatalf("%+v is too much", o)
		}
	}
	if want := (layout.Totals{Orders: 3, TicketsSold: 6, Revenue: 3500}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got = layout.Totals{Revenue: math.MaxInt64 - 10}
	if !got.Add(domain.Order{Items: "a:2:5"}) || got.Revenue != math.MaxInt64 {
		t.Errorf("up to the most that fits: %+v", got)
	}
	if got.Add(domain.Order{Items: "a:1:1"}) || got.Revenue != math.MaxInt64 {
		t.Errorf("one more than fits: %+v", got)
	}
}
