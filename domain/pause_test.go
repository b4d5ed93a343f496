package domain

import "testing"

func TestPauses(t *testing.T) {
	ps := Pauses{
		{AtMillis: 1000, EndedMillis: 3000},
		{EventID: "a", AtMillis: 2000, EndedMillis: 5000, HoldsUntilMillis: 9000},
		{EventID: "a", AtMillis: 2500, EndedMillis: 2600},
		{EventID: "b", AtMillis: 6000, HoldsUntilMillis: 7000},
		{EventID: "a", AtMillis: 7000, EndedMillis: 7500},
	}
	for _, test := range []struct {
		event       string
		since, want int64
	}{
		{"a", 0, 4000 + 500},
		{"a", 1000, 4500},
		{"a", 1500, 4000},
		{"a", 4999, 501},
		{"a", 7500, 0},
		{"b", 0, 2000},
		{"b", 2999, 1},
		{"b", 3000, 0},
		{"c", 2000, 1000},
	} {
		if got := ps.PausedMillis(test.event, test.since); got != test.want {
			t.Errorf("%s since %d: %d, want %d", test.event, test.since, got, test.want)
		}
	}
	if got := ps.MostPausedMillis(); got != 4500 {
		t.Errorf("at most %d", got)
	}
	if ps.Everything() || ps.Event("a") || !ps.Event("b") || ps.Event("") || len(ps.Lasting()) != 1 || len(ps) != 5 {
		t.Errorf("what lasts of %+v is %+v", ps, ps.Lasting())
	}
	if a, b, c := ps.HoldsUntil("a"), ps.HoldsUntil("b"), ps.HoldsUntil("c"); a != 9000 || b != 7000 || c != 0 {
		t.Errorf("holds until %d, %d, %d", a, b, c)
	}
	all := append(ps, Pause{AtMillis: 9000, HoldsUntilMillis: 9500})
	if !all.Everything() || all.Event("a") || all.HoldsUntil("c") != 9500 || all.PausedMillis("c", 0) != 2000 {
		t.Errorf("everything is paused: %+v", all)
	}
}
