package audit

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// noteBatch bounds the letters and orders of one transaction.
const noteBatch = 200

// standing is what stands beside an order.
type standing struct {
	notes     []domain.SetAside
	displaced int64 // letters whose notes newer ones displaced
}

// mayLack reports whether a letter's note may have been displaced: the letter is older than those that stand.
func (p *partitionAudit) mayLack(l layout.DeadLetter, s standing) bool {
	return s.displaced > 0 && (len(s.notes) == 0 || layout.ParseLogID(p.letterID(s.notes[0])).After(layout.ParseLogID(l.LetterID)))
}

// checkNotesOf: I8. Beside its order stands a note of each letter that says so, but for the
// oldest, if they were displaced.
func (p *partitionAudit) checkNotesOf(ctx context.Context, letters []layout.DeadLetter) error {
	letters = slices.DeleteFunc(letters, func(l layout.DeadLetter) bool { return l.Order == "" })
	for batch := range slices.Chunk(letters, noteBatch) {
		var orders, ids []string
		for _, l := range batch {
			orders, ids = append(orders, l.Order), append(ids, l.LetterID)
		}
		notes, there, err := p.readNotes(ctx, orders, ids)
		if err != nil {
			return err
		}
		for _, l := range batch {
			noted := slices.ContainsFunc(notes[l.Order].notes, func(s domain.SetAside) bool { return s.DeadID == l.ID() && s.EntryID == l.EntryID })
			if _, still := there[l.LetterID]; still && !noted && !p.mayLack(l, notes[l.Order]) {
				p.violation("I8", "dead letter "+l.ID(), "is not noted beside order %s: who waits for it is not told", l.Order)
			}
		}
	}
	return nil
}

// checkNotes: I8. What is noted beside an order is a letter of it that is there.
func (p *partitionAudit) checkNotes(ctx context.Context) error {
	key := p.ns.Keys.SetAside(p.p)
	var cursor uint64
	for {
		page, next, err := p.ns.Client.HScan(ctx, key, cursor, "", noteBatch).Result()
		if err != nil {
			return fmt.Errorf("reading %s: %w", key, access.Classify(err))
		}
		for batch := range slices.Chunk(page, 2*noteBatch) {
			if err := p.checkNotedLetters(ctx, batch); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// checkNotedLetters takes orders and their notes, in turn.
func (p *partitionAudit) checkNotedLetters(ctx context.Context, scanned []string) error {
	var orders, ids []string
	asked := make(map[string]bool)
	for pair := range slices.Chunk(scanned, 2) {
		orders = append(orders, pair[0])
		noted, _, err := layout.DecodeNotes(pair[1])
		if err != nil {
			p.violation("I8", "order "+pair[0], "%v", err)
		}
		for _, s := range noted {
			id := p.letterID(s)
			ids, asked[id] = append(ids, id), true
		}
	}
	notes, there, err := p.readNotes(ctx, orders, ids)
	if err != nil {
		return err
	}
	for _, order := range orders {
		for _, s := range notes[order].notes {
			id := p.letterID(s)
			if l, is := there[id]; asked[id] && (!is || l != nil && (l.Order != order || l.EntryID != s.EntryID)) {
				p.violation("I8", "order "+order, "is noted to have dead letter %s of %s, and there is no such letter", s.DeadID, s.EntryID)
			}
		}
	}
	return nil
}

// letterID is the id that a noted letter has in this partition; one that nothing has if it is of another.
func (p *partitionAudit) letterID(s domain.SetAside) string {
	id, ours := strings.CutPrefix(s.DeadID, strconv.Itoa(p.p)+":")
	if !ours || domain.EntryMillis(id) == 0 {
		return "0-0"
	}
	return id
}

// readNotes reads in one step what stands beside orders, and those of some letters that are
// there, nil for one that is damaged. What is damaged is said elsewhere.
func (p *partitionAudit) readNotes(ctx context.Context, orders, ids []string) (map[string]standing, map[string]*layout.DeadLetter, error) {
	var noted *redis.SliceCmd
	found := make(map[string]*redis.Cmd, len(ids))
	err := p.transaction(ctx, func(pipe redis.Pipeliner) {
		noted = pipe.HMGet(ctx, p.ns.Keys.SetAside(p.p), orders...)
		for _, id := range ids {
			found[id] = pipe.Do(ctx, "XRANGE", p.ns.Keys.Dead(p.p), id, id)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	notes := make(map[string]standing, len(orders))
	for i, value := range noted.Val() {
		if noted, displaced, err := layout.DecodeNotes(layout.AsString(value)); err == nil {
			notes[orders[i]] = standing{noted, displaced}
		}
	}
	there := make(map[string]*layout.DeadLetter, len(ids))
	for id, cmd := range found {
		for _, e := range layout.DecodeEntries(cmd.Val()) {
			there[id] = nil
			if l, err := layout.DecodeDeadLetter(p.p, e); err == nil {
				there[id] = &l
			}
		}
	}
	return notes, there, nil
}
