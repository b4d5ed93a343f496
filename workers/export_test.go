package workers

import "time"

// SetStuckAfter makes loops count as stuck earlier. Call it before Run.
func (p *Pool) SetStuckAfter(d time.Duration) { p.signs.after = d }
