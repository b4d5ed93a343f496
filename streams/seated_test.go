package streams

import (
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/domain/seats"
)

// hall is an event of a seated section of two rows, and a counted one: stalls A:1-4/5-6,B:1-6 and general.
func hall(change ...func(*domain.Terms)) domain.Terms {
	return terms(10, append([]func(*domain.Terms){func(t *domain.Terms) {
		t.Sections[1] = seatedSection("stalls", "A:1-4/5-6,B:1-6")
	}}, change...)...)
}

func seatedSection(name, layout string) domain.SectionTerms {
	l, err := seats.Parse(layout)
	if err != nil {
		panic(err)
	}
	return domain.SectionTerms{Name: name, Price: 4500, Capacity: int64(l.Seats()), Layout: l.String()}
}

// places are those of a section, as they are stored.
func (f *fixture) places(event, section string) string {
	f.Helper()
	e, err := f.events.Get(f.Ctx, event)
	f.Must(err)
	f.Must(e.CheckConservation())
	s, ok := e.Section(section)
	if !ok || !s.Seated() {
		f.Fatalf("no seated section %s", section)
	}
	return s.Places
}

// TestListSeats: an event with seats is listed and adjusted; its layouts stay as they are, and more may come.
func TestListSeats(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall(func(t *domain.Terms) { t.Sections[1] = seatedSection("stalls", "choir;A:1-2!/3a.4,B:1-6") }))
	if got := f.places("e1", "stalls"); got != "!! a./......" {
		t.Errorf("places: %q", got)
	}
	if got := f.section("e1", "stalls"); got != [3]int64{8, 0, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
	f.wantLogFolds()

	adjust := func(change func(*domain.Terms)) error {
		_, err := f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) {
			change(&t)
			return t, nil
		})
		return err
	}
	before := f.Dump()
	for want, change := range map[string]func(*domain.Terms){
		"layout cannot be changed": func(t *domain.Terms) { t.Sections[1].Layout, t.Sections[1].Capacity = "A:1-4", 4 },
		"capacity: want 10":        func(t *domain.Terms) { t.Sections[1].Capacity = 9 },
		"seated for ever":          func(t *domain.Terms) { t.Sections[1].Layout = "" },
		"counted for ever":         func(t *domain.Terms) { t.Sections[0] = seatedSection("general", "A:1-20") },
		"row 1 (A)":                func(t *domain.Terms) { t.Sections[1].Layout = "A" },
		"seats.Layout.String":      func(t *domain.Terms) { t.Sections[1].Layout = "A:1-2.3-10" },
		"more than 100000 seats": func(t *domain.Terms) {
			t.Sections = append(t.Sections, seatedSection("a", "A:1-50000"), seatedSection("b", "A:1-50000"))
		},
		"want at most 1048576 bytes": func(t *domain.Terms) { t.Sections[1].Layout = strings.Repeat("A", 1<<20+1) },
	} {
		if err := adjust(change); err == nil || !strings.Contains(err.Error(), want) || domain.ClassOf(err) != domain.ClassReject {
			t.Errorf("got %v, want one that says %q", err, want)
		}
	}
	f.WantSame(before)

	f.Must(adjust(func(t *domain.Terms) {
		t.NoOrphans, t.Sections[1].Price = true, 5000
		t.Sections = append(t.Sections, seatedSection("balcony", "A:1-3!.4"))
	}))
	e, err := f.events.Get(f.Ctx, "e1")
	f.Must(err)
	if !e.NoOrphans || e.Sections[1].Price != 5000 || e.Sections[2].Blocked() != 3 || f.places("e1", "balcony") != "!!!." || f.places("e1", "stalls") != "!! a./......" {
		t.Errorf("%+v", e)
	}
	f.wantLogFolds()
	layouts, err := f.store.Inside().Layouts(f.Ctx, "e1", "balcony")
	f.Must(err)
	if layouts["stalls"].Seats() != 10 || layouts["general"] != nil {
		t.Errorf("layouts: %v", layouts)
	}
	names, err := f.checkout.SeatNames(f.Ctx, "e1", "general:1:0,stalls:3:0:5.7-8")
	f.Must(err)
	if len(names) != 1 || strings.Join(names["stalls"], ",") != "A-4,B-1,B-2" {
		t.Errorf("names: %v", names)
	}
	if _, err := f.checkout.SeatNames(f.Ctx, "e1", "general:1:0:1"); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("seats of a counted section: %v", err)
	}
	f.WantClass(func() error { _, err := f.checkout.SeatNames(f.Ctx, "e1", "stalls:1:0:3"); return err }(), domain.ClassPoison)
}
