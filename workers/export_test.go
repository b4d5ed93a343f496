package workers

import "time"

// SetStuckAfter makes loops count as stuck earlier. Call it before Run.
func (p *Pool) SetStuckAfter(d time.Duration) { p.signs.after = d }

// SetTurnLongest makes reads that do not get on keep others from being read for longer, or for less. Call it before Run.
func (p *Pool) SetTurnLongest(d time.Duration) { p.turnLongest = d }

// SetTrimEvery makes the log be trimmed more often. Call it before Run.
func (p *Pool) SetTrimEvery(d time.Duration) { p.trimLogEvery = d }
