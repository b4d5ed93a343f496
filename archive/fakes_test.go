package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/domain"
)

// server is a Redis with the log of one partition.
type server struct {
	entries []domain.Entry
	branch  string
	before  []string
	mark    domain.ArchiveMark
	trimmed string         // what the log begins with since it was trimmed
	gone    []domain.Entry // that were trimmed
	millis  int
	later   time.Duration
	settled string // up to where settlement is done; empty: all is
}

// trim drops what is before an entry.
func (s *server) trim(id string) {
	i := slices.IndexFunc(s.entries, func(e domain.Entry) bool { return e.ID == id })
	s.gone = append(slices.Clone(s.gone), s.entries[:i]...)
	s.entries, s.trimmed = slices.Clone(s.entries[i:]), id
}

// whole is the log with what was trimmed of it.
func (s *server) whole() []domain.Entry { return append(slices.Clone(s.gone), s.entries...) }

// facts makes each one another, as order ids do: two logs have nothing in common behind where they part, although ids come again.
var facts atomic.Int64

func (s *server) copy() *server {
	c := *s
	c.entries, c.before = slices.Clone(s.entries), slices.Clone(s.before)
	return &c
}

// add appends an entry. Every third is of the millisecond of the one before.
func (s *server) add(what string) {
	if s.millis++; s.millis%3 == 0 {
		s.millis += 2
	}
	e := domain.Entry{ID: fmt.Sprintf("%d-%d", 1_700_000_000_000+s.millis/3, s.millis%3), Fields: []string{"rejected", fmt.Sprintf("e9/%s-%d|p|b083c26c75bd146e|fred|stalls:1:0|unknown_event|", what, facts.Add(1))}}
	s.entries = append(s.entries, e)
}

// begin begins a branch.
func (s *server) begin(id string) {
	s.before, s.branch = append([]string{s.branch}, s.before...), id
}

func (s *server) find(id string) (domain.Entry, bool) {
	i := slices.IndexFunc(s.entries, func(e domain.Entry) bool { return e.ID == id })
	if i < 0 {
		return domain.Entry{}, false
	}
	return s.entries[i], true
}

// source is the log as an archiver sees it: that of whatever server it is connected to.
type source struct {
	server **server
	around func(call string) error // called before and after each call; an error is the call's
	begun  *int                    // branches
}

func (s *source) call(name string, do func(*server)) error {
	if err := s.around(name); err != nil {
		return err
	}
	do(*s.server)
	return s.around(name + " done")
}

func (s *source) ArchivedNamespace(context.Context) (domain.ArchivedNamespace, error) {
	return domain.ArchivedNamespace{Namespace: "shop", Epoch: "one", Schema: "2", Partitions: 1, PaymentNames: "namespaced", FreeOrders: "direct"}, nil
}

func (s *source) ArchiveState(context.Context, int) (state domain.ArchiveState, err error) {
	err = s.call("state", func(r *server) {
		state = domain.ArchiveState{Branch: r.branch, Mark: r.mark, Trimmed: r.trimmed, NowMillis: 1_700_000_000_000 + r.later.Milliseconds()}
		if r.mark.Branch != "" && r.mark.Branch != r.branch {
			state.Before = []string{r.mark.Branch}
		}
		state.Before = append(state.Before, r.before...)
	})
	return state, err
}

func (s *source) LogAfter(_ context.Context, p int, branch, after string, bytes int) (entries []domain.Entry, err error) {
	replaced := false
	err = s.call("log", func(r *server) {
		from := 0
		if after != "0-0" {
			from = slices.IndexFunc(r.entries, func(e domain.Entry) bool { return e.ID == after }) + 1
			replaced = from == 0
		}
		if r.branch != branch || replaced {
			replaced = true
			return
		}
		size := 0
		for _, e := range r.entries[from:] {
			entries = append(entries, e)
			if size += len(e.ID) + len(e.Fields[0]) + len(e.Fields[1]); size >= bytes {
				return
			}
		}
	})
	if err == nil && replaced {
		err = domain.ErrDataReplaced
	}
	return slices.Clone(entries), err
}

func (s *source) InLog(_ context.Context, _ int, e domain.Entry) (in bool, err error) {
	err = s.call("in log", func(r *server) {
		is, found := r.find(e.ID)
		in = found && sameEntry(is, e) || isBefore(e.ID, r.trimmed)
	})
	return in, err
}

func (s *source) Acknowledged(context.Context, int) (map[domain.Group]string, error) {
	r := *s.server
	if len(r.entries) == 0 {
		return nil, nil
	}
	newest := r.entries[len(r.entries)-1].ID
	settled := newest
	if r.settled != "" {
		settled = r.settled
	}
	return map[domain.Group]string{domain.GroupPosting: newest, domain.GroupSettlement: settled}, nil
}

func (s *source) Advance(_ context.Context, _ int, from, to domain.ArchiveMark, last domain.Entry) (moved bool, err error) {
	err = s.call("advance", func(r *server) {
		is, found := r.find(to.Position)
		if r.branch == to.Branch && r.mark == from && found && sameEntry(is, last) && last.ID == to.Position {
			r.mark, moved = to, true
		}
	})
	return moved, err
}

func (s *source) ContinueElsewhere(_ context.Context, _ int, branch, _, by string) error {
	return s.call("continue elsewhere", func(r *server) {
		if r.branch == branch {
			*s.begun++
			r.begin("b" + strconv.Itoa(*s.begun) + by)
		}
	})
}

// failing fails a step of the calls that are made; if the failure is errDied, all behind it, too.
type failing struct {
	at, seen int
	failure  error
	dead     bool
	last     string // call that failed
}

func (f *failing) around(call string) error {
	f.seen++
	if f.dead || f.seen-1 == f.at {
		f.last = call
		f.dead = f.dead || errors.Is(f.failure, errDied)
		return f.failure
	}
	return nil
}

// memory is a bucket that does all that a Bucket may: around is asked before and after each call.
type memory struct {
	objects map[string][]byte
	lately  []string // keys that a list may still miss
	clock   time.Time
	written map[string]time.Time
	around  func(call string) error
}

func newMemory() *memory {
	return &memory{objects: make(map[string][]byte), written: make(map[string]time.Time), around: func(string) error { return nil }}
}

var errTruncated = errors.New("the reply was cut")

func (m *memory) Put(_ context.Context, key string, body []byte) error {
	if err := m.around("put"); err != nil {
		return err
	}
	if _, there := m.objects[key]; there {
		return ErrExists
	}
	m.objects[key] = slices.Clone(body)
	m.lately, m.written[key] = append(m.lately, key), m.clock
	return m.around("put done")
}

func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	err := m.around("get")
	body, there := m.objects[key]
	switch {
	case errors.Is(err, errTruncated) && there:
		return body[:len(body)/2], nil
	case err != nil:
		return nil, err
	case !there:
		return nil, fmt.Errorf("%s: %w", key, ErrMissing)
	}
	return slices.Clone(body), nil
}

func (m *memory) List(_ context.Context, prefix string, each func(Object) error) error {
	err := m.around("list")
	stale := errors.Is(err, errTruncated)
	if err != nil && !stale {
		return err
	}
	keys := make([]string, 0, len(m.objects))
	for key := range m.objects {
		late := slices.Contains(m.lately[max(len(m.lately)-2, 0):], key) && m.written[key].Equal(m.clock)
		if strings.HasPrefix(key, prefix) && (!stale || !late) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := each(Object{key, int64(len(m.objects[key])), m.written[key]}); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	if err := m.around("delete"); err != nil {
		return err
	}
	delete(m.objects, key)
	return m.around("delete done")
}

func (m *memory) Close() error { return nil }

// isBefore reports whether an entry is older than the one that a log begins with since it was trimmed.
func isBefore(id, trimmed string) bool {
	a, errA := ParsePosition(id)
	b, errB := ParsePosition(trimmed)
	return errA == nil && errB == nil && a.Compare(b) < 0
}

func (s *source) TrimLog(_ context.Context, _ int, branch, before string, _ domain.KeepLog) (gone int64, err error) {
	err = s.call("trim", func(r *server) {
		at := slices.IndexFunc(r.entries, func(e domain.Entry) bool { return e.ID == before })
		if _, marked := r.find(r.mark.Position); r.branch == branch && r.mark.Branch == branch && marked && at >= 0 && !isBefore(r.mark.Position, before) {
			r.trim(before)
			gone = int64(at)
		}
	})
	return gone, err
}
