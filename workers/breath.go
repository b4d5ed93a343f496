package workers

import "time"

// breath has a loop that does little at a time pause when the machine is busy, so that there is more to do the next time: a call costs
// nearly as much for one order as for ten. That it is busy shows in calls that take longer than they did before. Where nobody else
// wants the machine they do not, and nothing pauses, however far away Redis is. Its zero value is ready.
type breath struct {
	least time.Duration // that a call took lately; it forgets slowly, for Redis may move away
}

const (
	// busyFrom is how much longer than the least a call takes on a busy machine.
	busyFrom = time.Millisecond
	// breathTimes is for how many times that a loop pauses, and breathMost how long at most: it is what an order may wait longer.
	breathTimes = 3
	breathMost  = 20 * time.Millisecond
	// breathBelow is as many orders as are few: of more, a call costs for each what it would of any number.
	breathBelow = 64
)

// after is how long to pause after a call that took so long.
func (b *breath) after(took time.Duration) time.Duration {
	if b.least == 0 || took < b.least {
		b.least = took
		return 0
	}
	late := took - b.least
	b.least += late / 256
	if late < busyFrom {
		return 0
	}
	return min(breathTimes*late, breathMost)
}
