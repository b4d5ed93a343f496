package streams

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

const (
	// lineEvery is how old a look at a partition's line may be before another one is made: however many ask for
	// their places, Redis is asked twice a second.
	lineEvery = 500 * time.Millisecond

	// What was published within evenMillis counts as spread evenly over it: workers note the pace as often, or nearly.
	evenMillis = 3000

	// The rate at which requests are given out is that since the newest sample that is rateMillis old, or, if there is none, since the oldest;
	// it must not be older than rateOldMillis, nor younger than rateLeastMillis.
	rateMillis      = 5_000
	rateLeastMillis = 500
	rateOldMillis   = 60_000
)

// lines are the last looks at the lines of partitions.
type lines struct {
	mu sync.Mutex
	of map[int]*lineLook
}

type lineLook struct {
	mu   sync.Mutex
	line line
	at   time.Time // when the look began; zero: never
}

// line is what is known of a partition's requests at a moment.
type line struct {
	nowMillis int64
	missing   bool         // the stream or the group is not there
	delivered layout.LogID // the newest that a worker was given
	given     int64        // how many were, ever; -1 if Redis does not know
	waiting   int64        // how many come after it; -1 if Redis does not know
	length    int64        // of the stream
	samples   []layout.Sample
}

// InLine implements domain.Outcomes.
func (c *Checkout) InLine(ctx context.Context, p int, entryID string) (domain.InLine, error) {
	entry := layout.ParseLogID(entryID)
	if entry == (layout.LogID{}) {
		return domain.InLine{}, domain.WithClass(domain.ClassReject, fmt.Errorf("place in line: %q is no id of an entry", entryID))
	}
	l, err := c.line(ctx, p, time.Now().Add(-lineEvery))
	if err == nil && entry.After(l.delivered) && (l.waiting == 0 || entry.Millis >= uint64(max(l.nowMillis, 0))) {
		l, err = c.line(ctx, p, time.Now()) // it may have come since
	}
	if err != nil {
		return domain.InLine{}, err
	}
	switch {
	case l.missing || l.waiting == 0 && entry.After(l.delivered):
		return c.parkedOrLeft(ctx, p, entry)
	case entry.After(l.delivered):
		return l.place(entry), nil
	}
	pending, err := c.store.rdb.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: c.store.keys.Requests(p), Group: string(domain.GroupWorkers), Start: entryID, End: entryID, Count: 1,
	}).Result()
	switch {
	case err != nil:
		return domain.InLine{}, fmt.Errorf("place in line: %w", access.Classify(err))
	case len(pending) == 0:
		return c.parkedOrLeft(ctx, p, entry)
	}
	return domain.InLine{State: domain.LineInHand}, nil
}

// parkedOrLeft looks for a request that is not in line among those that are parked: by the millisecond in which it was published, for they have its
// payment token with them. Who may not look takes it for one that has left.
func (c *Checkout) parkedOrLeft(ctx context.Context, p int, entry layout.LogID) (domain.InLine, error) {
	left := domain.InLine{State: domain.LineLeft}
	events, err := c.store.Ledger().Parked(ctx, p)
	if err != nil && domain.CodeOf(err) != domain.CodeDenied {
		return left, err
	}
	millis := strconv.FormatUint(entry.Millis, 10)
	for _, eventID := range events {
		n, err := c.store.rdb.ZCount(ctx, c.store.keys.ParkedOf(p, eventID), millis, millis).Result()
		switch {
		case err != nil && domain.CodeOf(access.Classify(err)) != domain.CodeDenied:
			return left, fmt.Errorf("place in line: %w", access.Classify(err))
		case err == nil && n > 0:
			return domain.InLine{State: domain.LineParked, Ahead: domain.Unknown, AtMost: domain.Unknown, Wait: domain.Unknown}, nil
		}
	}
	return left, nil
}

// line is a look at a partition's line that began at that time or later.
func (c *Checkout) line(ctx context.Context, p int, notBefore time.Time) (line, error) {
	c.lines.mu.Lock()
	look := c.lines.of[p]
	if look == nil {
		if c.lines.of == nil {
			c.lines.of = make(map[int]*lineLook)
		}
		look = new(lineLook)
		c.lines.of[p] = look
	}
	c.lines.mu.Unlock()

	look.mu.Lock()
	defer look.mu.Unlock()
	if !look.at.IsZero() && !look.at.Before(notBefore) {
		return look.line, nil
	}
	at := time.Now()
	l, err := c.store.lookAtLine(ctx, p)
	if err == nil {
		look.line, look.at = l, at
	}
	return l, err
}

func (s *Store) lookAtLine(ctx context.Context, p int) (line, error) {
	pipe := s.rdb.Pipeline()
	// The samples come first: what they say is not after what is asked then.
	pace := pipe.LRange(ctx, s.keys.Pace(p), 0, -1)
	groups, length, clock := pipe.XInfoGroups(ctx, s.keys.Requests(p)), pipe.XLen(ctx, s.keys.Requests(p)), pipe.Time(ctx)
	_, _ = pipe.Exec(ctx) // its error is that of a command
	missing := groups.Err()
	if missing != nil && !strings.Contains(missing.Error(), "no such key") {
		missing = nil
	}
	if err := cmp.Or(pace.Err(), groups.Err(), length.Err(), clock.Err()); err != nil && (missing == nil || pace.Err() != nil) {
		return line{}, fmt.Errorf("place in line: %w", access.Classify(err))
	}
	i := slices.IndexFunc(groups.Val(), func(g redis.XInfoGroup) bool { return g.Name == string(domain.GroupWorkers) })
	if i < 0 {
		return line{missing: true}, nil
	}
	g := groups.Val()[i]
	l := line{nowMillis: clock.Val().UnixMilli(), delivered: layout.ParseLogID(g.LastDeliveredID), given: g.EntriesRead, waiting: g.Lag, length: length.Val()}
	if g.EntriesRead == 0 && l.delivered != (layout.LogID{}) {
		l.given = -1 // the client says 0 where Redis does not know
	}
	for _, value := range pace.Val() {
		if sample, ok := layout.DecodeSample(value); ok {
			l.samples = append(l.samples, sample)
		}
	}
	return l, nil
}

// point says how many entries had been added up to an id.
type point struct {
	id   layout.LogID
	n    int64
	even bool // the entries since the point before it are spread as evenly as is known
}

// points are what is known of the numbers of entries, in their order. What contradicts the others is of other data, and is left out.
func (l *line) points() []point {
	var points []point
	add := func(p point) {
		if len(points) == 0 || p.id.After(points[len(points)-1].id) && p.n >= points[len(points)-1].n {
			points = append(points, p)
		}
	}
	total := int64(-1)
	if l.given >= 0 && l.waiting >= 0 {
		total = l.given + l.waiting
	}
	given := l.given >= 0 // to be put in its place
	for _, s := range l.samples {
		if total >= 0 && s.Added > total || l.given >= 0 && s.ID.After(l.delivered) != (s.Added > l.given) && s.Added != l.given {
			continue
		}
		if given && s.ID.After(l.delivered) {
			add(point{id: l.delivered, n: l.given, even: true})
			given = false
		}
		add(point{id: s.ID, n: s.Added, even: s.Off >= 0})
		if at := uint64(max(s.AtMillis, 1)); at-1 > s.ID.Millis && (!given || s.Added >= l.given) { // nothing came until then
			add(point{id: layout.LogID{Millis: at - 1, Seq: math.MaxUint64}, n: s.Added, even: true})
		}
	}
	if given {
		add(point{id: l.delivered, n: l.given, even: true})
	}
	if total >= 0 {
		add(point{id: layout.LogID{Millis: uint64(max(l.nowMillis, 0)), Seq: math.MaxUint64}, n: total})
	}
	return points
}

// countUpTo is how many entries had been added when an entry was, that one included: by an estimate, and between which bounds. known is false if
// it lies beyond what is known.
func countUpTo(points []point, id layout.LogID) (n, least, most int64, even, known bool) {
	next := slices.IndexFunc(points, func(p point) bool { return !id.After(p.id) })
	if next < 0 {
		return 0, 0, 0, false, false
	}
	b := points[next]
	if b.id == id {
		return b.n, b.n, b.n, true, true
	}
	if next == 0 {
		return 0, 0, 0, false, false
	}
	a := points[next-1]
	least, most = min(a.n+1, b.n), b.n
	even = b.even || b.id.Millis-a.id.Millis <= evenMillis
	switch {
	case a.id.Millis == id.Millis && a.id.Seq < math.MaxUint64:
		n = a.n + int64(min(id.Seq-a.id.Seq, math.MaxInt32)) //nolint:gosec // bounded
	case b.id.Millis == id.Millis && b.id.Seq < math.MaxUint64:
		n = b.n - int64(min(b.id.Seq-id.Seq, math.MaxInt32)) //nolint:gosec // bounded
	default:
		share := float64(id.Millis-a.id.Millis) / float64(b.id.Millis-a.id.Millis)
		n = a.n + int64(math.Round(share*float64(b.n-a.n)))
	}
	return min(max(n, least), most), least, most, even, true
}

// place is that of an entry that no worker was given yet.
func (l line) place(entry layout.LogID) domain.InLine {
	in := domain.InLine{State: domain.LineWaiting, Ahead: domain.Unknown, AtMost: l.length, Wait: domain.Unknown}
	if l.waiting >= 0 {
		in.AtMost = min(in.AtMost, l.waiting)
	}
	in.AtMost = max(in.AtMost-1, 0)                                         // itself
	l.nowMillis = max(l.nowMillis, int64(min(entry.Millis, math.MaxInt64))) //nolint:gosec // bounded; servers of a Cluster have clocks of their own
	points := l.points()
	given := l.given
	if given < 0 {
		n, _, _, even, known := countUpTo(points, l.delivered)
		if !known || !even {
			return in
		}
		given = n
	}
	n, least, most, even, known := countUpTo(points, entry)
	if !known {
		return in
	}
	in.AtMost = max(min(in.AtMost, most-1-given), 0)
	in.AtLeast = min(max(least-1-given, 0), in.AtMost)
	ahead := min(max(n-1-given, in.AtLeast), in.AtMost)
	if !even && in.AtMost-in.AtLeast > ahead/50 {
		return in
	}
	in.Ahead = ahead
	if perMilli := l.rate(given); perMilli > 0 {
		in.Wait = time.Duration(float64(ahead)/perMilli) * time.Millisecond
	}
	return in
}

// rate is how many requests were given out each millisecond lately; 0 if that is not known, or nothing moves.
func (l *line) rate(given int64) float64 {
	for i := len(l.samples) - 1; i >= 0; i-- {
		s := l.samples[i]
		age := l.nowMillis - s.AtMillis
		if age < rateMillis && i > 0 && l.samples[i-1].Given >= 0 && l.nowMillis-l.samples[i-1].AtMillis <= rateOldMillis {
			continue
		}
		if age < rateLeastMillis || age > rateOldMillis || s.Given < 0 {
			return 0
		}
		return max(float64(given-s.Given)/float64(age), 0)
	}
	return 0
}
