package main

import (
	"maps"
	"testing"

	"holdfast/domain"
)

func TestMinimumsAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]domain.Minimums{
		"":                          nil,
		"EUR=0.50":                  {"EUR": 50},
		"EUR=0.5,JPY=50,KWD=0.1":    {"EUR": 50, "JPY": 50, "KWD": 100},
		"EUR=0":                     {"EUR": 0},
		"EUR=90071992547409.91":     {"EUR": domain.MaxAmount},
		"EUR=0.50,JPY=50,KWD=0.001": {"EUR": 50, "JPY": 50, "KWD": 1},
	} {
		sim, err := simulatorFlags{Minimum: text}.simulator(false)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, err := sim.Minimums(t.Context()); err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
}
