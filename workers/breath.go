package workers

import "time"

// breath has a loop that does little at a time pause when the machine is busy, so that there is more to do the next time: a call costs
// nearly as much for one order as for ten. That it is busy shows in calls that take much longer than they need. Where nobody else
// wants the machine they do not, and nothing pauses, also where Redis is far away. Its zero value is ready.
type breath struct {
	least time.Duration // that a call took; it rises to what they take, since Redis may move away
	last  time.Time     // when the last call ended
	late  time.Duration // how much longer than it needed that took
}

const (
	// A call is late on a busy machine by busyFrom, and by busyTimes what it needs, at least: some calls are two or three round trips.
	busyFrom  = time.Millisecond
	busyTimes = 3
	// A loop pauses for breathTimes as long as the last call was late, and for breathMost at most: so much longer may each step of an order take.
	breathTimes = 3
	breathMost  = 20 * time.Millisecond
	// breathBelow is as many orders as are few: of more, a call costs for each what it would of any number.
	breathBelow = 64
	// breathForgets is how long it takes until calls that are all late are no more, and breathHolds how long a late one tells anything.
	breathForgets = time.Minute
	breathHolds   = time.Second
)

// called notes a call for few that has just ended, and took so long.
func (b *breath) called(now time.Time, took time.Duration) {
	since := min(now.Sub(b.last), breathForgets)
	b.last = now
	if b.least == 0 || took < b.least {
		b.least = took
	}
	b.late = took - b.least
	b.least += time.Duration(float64(b.late) * float64(since) / float64(breathForgets))
	if b.late < max(busyFrom, busyTimes*b.least) {
		b.late = 0
	}
}

// now is how long to pause.
func (b *breath) now(now time.Time) time.Duration {
	if now.Sub(b.last) > breathHolds {
		return 0
	}
	return min(breathTimes*b.late, breathMost)
}
