package audit_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams"
	"holdfast/streams/audit"
	"holdfast/streams/internal/layout"
	"holdfast/streams/redistest"
)

// archived is a log that was archived as it was once, with snapshots behind some of its entries.
type archived struct {
	entries   []domain.Entry
	snapshots []int // behind so many entries each
	change    func(*domain.Snapshot)
	fails     error // once all entries were told
	asked     []string
	told      func() // if not nil, called once all is told, for the first time
}

func (a *archived) Past(_ context.Context, _ int, to domain.ArchiveMark, notBehind string, begin func(domain.ArchivedBook), each func(domain.Entry) error) error {
	a.asked = append(a.asked, notBehind)
	from := domain.ArchivedBook{Book: domain.NewSnapshot(), Last: "0-0"}
	told := 0
	for _, n := range a.snapshots {
		last := a.entries[n-1].ID
		if layout.ParseLogID(last).After(layout.ParseLogID(notBehind)) || layout.ParseLogID(last).After(layout.ParseLogID(to.Position)) {
			continue
		}
		from = domain.ArchivedBook{Book: domain.NewSnapshot(), Last: last, Snapshot: "there"}
		for _, e := range a.entries[:n] {
			facts, err := wire.ParseFacts(e.ID, e.Fields)
			if err != nil {
				return err
			}
			for _, f := range facts {
				from.Facts++
				if err := from.Book.Fold(f); err != nil {
					return err
				}
			}
		}
		told = n
	}
	if a.change != nil && told > 0 {
		a.change(from.Book)
	}
	begin(from)
	for _, e := range a.entries[told:] {
		if layout.ParseLogID(e.ID).After(layout.ParseLogID(to.Position)) {
			break
		}
		if err := each(e); err != nil {
			return err
		}
	}
	if a.told != nil {
		told := a.told
		a.told = nil
		told()
	}
	return a.fails
}

// recorded is what a store's log has, and its mark in Redis at the end of so many entries.
func recorded(t *testing.T, rdb *redis.Client, store *streams.Store, marked int) *archived {
	t.Helper()
	a := new(archived)
	if err := store.ReadLogEntries(t.Context(), 0, "0-0", "+", func(e domain.Entry) error {
		a.entries = append(a.entries, e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	keys := layout.NewKeys("holdfast", 1)
	mark := domain.ArchiveMark{Branch: rdb.HGet(t.Context(), keys.Events(0), layout.BranchField).Val(), Position: a.entries[marked-1].ID, Segment: "s", Hash: "h"}
	if err := rdb.Set(t.Context(), keys.Archived(0), layout.EncodeArchived(mark), 0).Err(); err != nil {
		t.Fatal(err)
	}
	return a
}

func auditedWith(t *testing.T, store *streams.Store, books []domain.BooksLine, o audit.Options) audit.Report {
	t.Helper()
	o.Gateway = func(context.Context) ([]domain.BooksLine, error) { return books, nil }
	report, err := audit.Run(t.Context(), store, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// Wherever the log begins, if what it has no more is archived: the audit says what it would have said of a whole log.
func TestAuditDoesNotCareWhereAFactIs(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	defer func() { _ = rdb.Close() }()
	store, gateway := sold(t, server)
	books := gateway.Books()
	whole := audited(t, store, gateway).Checked
	marked := whole.Facts - 2
	a := recorded(t, rdb, store, marked)
	if len(a.entries) != whole.Facts {
		t.Fatalf("it has %d entries of %d facts", len(a.entries), whole.Facts)
	}
	a.snapshots = []int{2, 4}
	log := layout.NewKeys("holdfast", 1).Log(0)
	for removed := range marked {
		if err := rdb.XTrimMaxLen(t.Context(), log, int64(whole.Facts-removed)).Err(); err != nil {
			t.Fatal(err)
		}
		for _, full := range []bool{false, true} {
			want := whole
			if !full {
				want.Facts, want.Before = whole.Facts-4, 4
			}
			if report := auditedWith(t, store, books, audit.Options{Archive: a, Full: full}); !report.OK || report.Checked != want {
				t.Errorf("without %d entries, full %t: %+v", removed, full, report)
			}
		}
		report := auditedWith(t, store, books, audit.Options{})
		switch v := report.Violations; {
		case removed == 0 && !report.OK, removed > 0 && (len(v) != 1 || v[0].Invariant != "I7" || !strings.Contains(v[0].Do, "audit --archive") || !strings.Contains(v[0].Detail, a.entries[removed].ID)):
			t.Errorf("without %d entries, and an archive: %+v", removed, report)
		}
	}
	// The entry of the mark is gone: whether others were between it and what is left, nobody knows.
	if err := rdb.XTrimMaxLen(t.Context(), log, int64(whole.Facts-marked)).Err(); err != nil {
		t.Fatal(err)
	}
	if report := auditedWith(t, store, books, audit.Options{Archive: a}); len(report.Violations) != 1 || !strings.Contains(report.Violations[0].Detail, "not known") {
		t.Errorf("without the entry of the mark: %+v", report)
	}
	if err := rdb.XTrimMaxLen(t.Context(), log, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if report := auditedWith(t, store, books, audit.Options{Archive: a}); len(report.Violations) != 1 || !strings.Contains(report.Violations[0].Detail, "begins with nothing") {
		t.Errorf("without any: %+v", report)
	}
}

// While the archive is read, more is archived, and the log is trimmed further than was read: the audit goes on with what was archived since.
func TestAuditWhileTheLogIsTrimmed(t *testing.T) {
	for _, full := range []bool{false, true} {
		server := redistest.Start(t)
		rdb := server.Client()
		defer func() { _ = rdb.Close() }()
		store, gateway := sold(t, server)
		whole := audited(t, store, gateway).Checked
		a := recorded(t, rdb, store, 3)
		a.snapshots = []int{2}
		a.told = func() {
			recorded(t, rdb, store, whole.Facts-1)
			if err := rdb.XTrimMaxLen(t.Context(), layout.NewKeys("holdfast", 1).Log(0), 2).Err(); err != nil {
				t.Fatal(err)
			}
		}
		report := auditedWith(t, store, gateway.Books(), audit.Options{Archive: a, Full: full})
		if is := report.Checked; !report.OK || is.Orders != whole.Orders || is.Facts+is.Before != whole.Facts {
			t.Errorf("full %t: %+v, want %+v", full, report, whole)
		}
	}
}

// A snapshot is what it is compared with, as a log is; and only one behind which nothing waits is begun with.
func TestAuditFromASnapshot(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	defer func() { _ = rdb.Close() }()
	store, gateway := sold(t, server)
	books := gateway.Books()
	a := recorded(t, rdb, store, 6)
	a.snapshots = []int{3, 6}
	ref := domain.OrderRef{EventID: "e", OrderID: "o1"}
	a.change = func(b *domain.Snapshot) { delete(b.Orders, ref) }
	report := auditedWith(t, store, nil, audit.Options{Archive: a})
	if !slices.ContainsFunc(report.Violations, func(v audit.Violation) bool { return v.Invariant == "I7" && v.Subject == ref.String() }) {
		t.Errorf("an order is missing in the snapshot: %+v", report.Violations)
	}
	a.change = nil

	// Payments of orders that no fact was folded of.
	for what, change := range map[string]func(*domain.BooksLine){
		"never captured": func(l *domain.BooksLine) { l.Status, l.Captured, l.Captures = "authorized", 0, 0 },
		"voided":         func(l *domain.BooksLine) { l.Status = "voided" },
	} {
		changed := slices.Clone(books)
		i := slices.IndexFunc(changed, func(l domain.BooksLine) bool { return l.OrderID == "o1" })
		change(&changed[i])
		if report := auditedWith(t, store, changed, audit.Options{Archive: a}); len(report.Violations) != 1 || report.Violations[0].Invariant != "I4" || report.Checked.Before != 6 {
			t.Errorf("%s: %+v", what, report)
		}
	}
	if err := rdb.Del(t.Context(), "holdfast:2:invoices:{fred}").Err(); err != nil {
		t.Fatal(err)
	}
	if report := auditedWith(t, store, books, audit.Options{Archive: a}); len(report.Violations) != 1 || report.Violations[0].Invariant != "I3" {
		t.Errorf("a line is missing: %+v", report)
	}

	// The first entries wait at posting, one of them in somebody's hand: what posting has not come to is missing nowhere.
	log := layout.NewKeys("holdfast", 1).Log(0)
	for _, do := range [][]any{
		{"XGROUP", "SETID", log, "posting", a.entries[0].ID},
		{"XREADGROUP", "GROUP", "posting", "late", "COUNT", "4", "STREAMS", log, ">"},
		{"XACK", log, "posting", a.entries[1].ID, a.entries[2].ID, a.entries[4].ID},
	} {
		if err := rdb.Do(t.Context(), do...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	a.asked = nil
	if report := auditedWith(t, store, books, audit.Options{Archive: a}); report.Checked.Before != 3 {
		t.Errorf("something waits behind the third entry: %+v", report.Checked)
	}
	if at := layout.ParseLogID(a.asked[0]); layout.ParseLogID(a.entries[2].ID).After(at) || !layout.ParseLogID(a.entries[3].ID).After(at) {
		t.Errorf("it was asked for what is not behind %v, %s waits", a.asked, a.entries[3].ID)
	}
	// Nothing is in anybody's hand, and what comes behind the fifth entry waits.
	if err := rdb.XAck(t.Context(), log, "posting", a.entries[3].ID).Err(); err != nil {
		t.Fatal(err)
	}
	a.asked = nil
	if report := auditedWith(t, store, books, audit.Options{Archive: a}); report.Checked.Before != 3 || a.asked[0] != a.entries[4].ID {
		t.Errorf("what is behind the fifth entry waits: %+v, asked for what is not behind %v", report.Checked, a.asked)
	}
}

// What is wrong with the archive is named, and the log, if it is whole, tells all the same; if it is not, nothing is said of what nobody knows.
func TestAuditWithABrokenArchive(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	defer func() { _ = rdb.Close() }()
	store, gateway := sold(t, server)
	whole := audited(t, store, gateway).Checked
	a := recorded(t, rdb, store, 4)
	a.snapshots, a.fails = []int{2}, domain.WithClass(domain.ClassPoison, errors.New("segment x is damaged"))
	report := auditedWith(t, store, gateway.Books(), audit.Options{Archive: a})
	if len(report.Violations) != 1 || report.Violations[0].Invariant != "I11" || report.Checked != whole {
		t.Errorf("with a whole log: %+v", report)
	}
	a.fails = errors.New("503")
	if _, err := audit.Run(t.Context(), store, audit.Options{Archive: a}); err == nil {
		t.Error("of a store that does not answer there is a verdict")
	}
	// Of another branch, nothing is archived.
	keys := layout.NewKeys("holdfast", 1)
	if err := rdb.Set(t.Context(), keys.Archived(0), layout.EncodeArchived(domain.ArchiveMark{Branch: "other", Position: "1-0", Segment: "s", Hash: "h"}), 0).Err(); err != nil {
		t.Fatal(err)
	}
	if report := auditedWith(t, store, gateway.Books(), audit.Options{Archive: a}); !report.OK || report.Checked != whole {
		t.Errorf("of another branch: %+v", report)
	}
	if err := rdb.XTrimMaxLen(t.Context(), keys.Log(0), 3).Err(); err != nil {
		t.Fatal(err)
	}
	if report := auditedWith(t, store, gateway.Books(), audit.Options{Archive: a}); len(report.Violations) != 1 || report.Violations[0].Invariant != "I7" || report.Checked.Orders != 0 {
		t.Errorf("of another branch, with half a log: %+v", report)
	}
}
