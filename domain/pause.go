package domain

import (
	"cmp"
	"slices"
)

// Pause is that workers take no more requests: of one event, whose requests are parked meanwhile, or none at all. Times are on
// Redis's clock.
type Pause struct {
	EventID          string `json:"event_id,omitempty"`    // empty: nobody takes any request
	AtMillis         int64  `json:"at"`                    // since when
	HoldsUntilMillis int64  `json:"holds_until,omitempty"` // no hold of what is paused ends before that; 0: holds end as ever
	Reason           string `json:"reason,omitempty"`
	By               string `json:"by,omitempty"`
	EndedMillis      int64  `json:"ended,omitempty"` // 0: it lasts
	EndedReason      string `json:"ended_reason,omitempty"`
	EndedBy          string `json:"ended_by,omitempty"`
}

// Lasts reports whether it has not been ended.
func (p Pause) Lasts() bool { return p.EndedMillis == 0 }

// covers reports whether requests of an event are paused by it.
func (p Pause) covers(eventID string) bool { return p.EventID == "" || p.EventID == eventID }

// Pauses are those that last, and those that were ended of late.
type Pauses []Pause

// Everything reports whether no worker takes any request.
func (ps Pauses) Everything() bool {
	return slices.ContainsFunc(ps, func(p Pause) bool { return p.EventID == "" && p.Lasts() })
}

// Event reports whether the requests of an event are parked.
func (ps Pauses) Event(eventID string) bool {
	return slices.ContainsFunc(ps, func(p Pause) bool { return p.EventID != "" && p.EventID == eventID && p.Lasts() })
}

// Lasting are those that last.
func (ps Pauses) Lasting() Pauses {
	return slices.DeleteFunc(slices.Clone(ps), func(p Pause) bool { return !p.Lasts() })
}

// PausedMillis is for how long requests of an event have been paused since a time, by pauses that were ended: so much longer is
// one valid that has been there since.
func (ps Pauses) PausedMillis(eventID string, sinceMillis int64) (sum int64) {
	var ended Pauses
	for _, p := range ps {
		if p.covers(eventID) && !p.Lasts() && p.EndedMillis > sinceMillis {
			ended = append(ended, p)
		}
	}
	slices.SortFunc(ended, func(a, b Pause) int { return cmp.Compare(a.AtMillis, b.AtMillis) })
	for until := sinceMillis; len(ended) > 0; ended = ended[1:] { // several may overlap
		sum += max(0, ended[0].EndedMillis-max(ended[0].AtMillis, until))
		until = max(until, ended[0].EndedMillis)
	}
	return sum
}

// MostPausedMillis is for how long any request can have been paused by pauses that were ended.
func (ps Pauses) MostPausedMillis() (most int64) {
	for _, p := range ps {
		most = max(most, ps.PausedMillis(p.EventID, 0))
	}
	return most
}

// HoldsUntil is until when no hold of an event ends; 0, or a time that is over: holds end as ever.
func (ps Pauses) HoldsUntil(eventID string) (until int64) {
	for _, p := range ps {
		if p.covers(eventID) {
			until = max(until, p.HoldsUntilMillis)
		}
	}
	return until
}
