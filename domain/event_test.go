package domain

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestTermsValidate(t *testing.T) {
	sections := func(n int) []SectionTerms {
		list := make([]SectionTerms, n)
		for i := range list {
			list[i] = SectionTerms{Name: fmt.Sprintf("s%d", i), Price: 1, Capacity: 1}
		}
		return list
	}
	one := func(price, capacity int64) []SectionTerms {
		return []SectionTerms{{Name: "general", Price: price, Capacity: capacity}}
	}
	for _, test := range []struct {
		name   string
		change func(t *Terms)
		want   string // empty: valid
	}{
		{"as they are", func(*Terms) {}, ""},
		{"no name", func(t *Terms) { t.Name = "" }, "name: want 1 to 256 bytes"},
		{"the longest name", func(t *Terms) { t.Name = strings.Repeat("n", 256) }, ""},
		{"a longer name", func(t *Terms) { t.Name = strings.Repeat("n", 257) }, "name: want 1 to 256 bytes"},
		{"a name of any script", func(t *Terms) { t.Name = "Été & “日本” <b>" }, ""},
		{"a name with a line end", func(t *Terms) { t.Name = "a\nb" }, "name: want printable UTF-8"},
		{"a name with NUL", func(t *Terms) { t.Name = "a\x00b" }, "name: want printable UTF-8"},
		{"a name with DEL", func(t *Terms) { t.Name = "a\x7fb" }, "name: want printable UTF-8"},
		{"a name that is no UTF-8", func(t *Terms) { t.Name = "a\xffb" }, "name: want printable UTF-8"},
		{"no currency", func(t *Terms) { t.Currency = "" }, `currency "": want an ISO 4217 code such as EUR`},
		{"currency in small letters", func(t *Terms) { t.Currency = "eur" }, `currency "eur": want an ISO 4217 code such as EUR`},
		{"no limit", func(t *Terms) { t.MaxPerOrder = 0 }, ""},
		{"the highest limit", func(t *Terms) { t.MaxPerOrder = 1_000_000 }, ""},
		{"a higher limit", func(t *Terms) { t.MaxPerOrder = 1_000_001 }, "max_per_order: want 0 (no limit) to 1000000"},
		{"a limit below zero", func(t *Terms) { t.MaxPerOrder = -1 }, "max_per_order: want 0 (no limit) to 1000000"},
		{"always on sale", func(t *Terms) { t.OnSaleMillis, t.OffSaleMillis = 0, 0 }, ""},
		{"on sale before 1970", func(t *Terms) { t.OnSaleMillis = -1 }, "on_sale, off_sale: before 1970"},
		{"off sale before 1970", func(t *Terms) { t.OffSaleMillis = -1 }, "on_sale, off_sale: before 1970"},
		{"on sale in the year 10000", func(t *Terms) { t.OnSaleMillis, t.OffSaleMillis = 253402300800000, 0 }, "on_sale, off_sale: too far ahead"},
		{"off sale in the year 10000", func(t *Terms) { t.OffSaleMillis = 253402300800000 }, "on_sale, off_sale: too far ahead"},
		{"off sale as it goes on sale", func(t *Terms) { t.OffSaleMillis = t.OnSaleMillis }, "off_sale: must be after on_sale"},
		{"off sale a millisecond later", func(t *Terms) { t.OffSaleMillis = t.OnSaleMillis + 1 }, ""},
		{"on sale for ever", func(t *Terms) { t.OffSaleMillis = 0 }, ""},
		{"no sections", func(t *Terms) { t.Sections = nil }, "sections: want 1 to 200"},
		{"200 sections", func(t *Terms) { t.Sections = sections(200) }, ""},
		{"201 sections", func(t *Terms) { t.Sections = sections(201) }, "sections: want 1 to 200"},
		{"a section without a name", func(t *Terms) { t.Sections[0].Name = "" }, `section "": want 1 to 128 characters of A-Z a-z 0-9 . _ @ + -`},
		{"a section with a comma", func(t *Terms) { t.Sections[0].Name = "a,b" }, `section "a,b": want 1 to 128 characters of A-Z a-z 0-9 . _ @ + -`},
		{"a section with a colon", func(t *Terms) { t.Sections[0].Name = "a:b" }, `section "a:b": want 1 to 128 characters of A-Z a-z 0-9 . _ @ + -`},
		{"a section named twice", func(t *Terms) { t.Sections[1].Name = "general" }, `section "general": named twice`},
		{"no capacity", func(t *Terms) { t.Sections[0].Capacity = 0 }, ""},
		{"the largest capacity", func(t *Terms) { t.Sections = one(1, 100_000_000) }, ""},
		{"a larger capacity", func(t *Terms) { t.Sections = one(1, 100_000_001) }, `section "general": capacity: want 0 to 100000000`},
		{"a capacity below zero", func(t *Terms) { t.Sections[0].Capacity = -1 }, `section "general": capacity: want 0 to 100000000`},
		{"for nothing", func(t *Terms) { t.Sections[0].Price = 0 }, ""},
		{"the highest price, of one", func(t *Terms) { t.Sections = one(9007199254740991, 1) }, ""},
		{"a higher price", func(t *Terms) { t.Sections = one(9007199254740992, 1) }, `section "general": price: want 0 to 9007199254740991 minor units`},
		{"a price below zero", func(t *Terms) { t.Sections[0].Price = -1 }, `section "general": price: want 0 to 9007199254740991 minor units`},
		{"the highest price, of two", func(t *Terms) { t.Sections = one(9007199254740991, 2) }, `section "general": price times capacity is too large to be counted exactly`},
		{"the highest price, of none", func(t *Terms) { t.Sections = one(9007199254740991, 0) }, ""},
		{"together just countable", func(t *Terms) {
			t.Sections = append(one(9007199254740990, 1), SectionTerms{Name: "vip", Price: 1, Capacity: 1})
		}, ""},
		{"together too much", func(t *Terms) {
			t.Sections = append(one(9007199254740990, 1), SectionTerms{Name: "vip", Price: 1, Capacity: 2})
		}, `section "vip": price times capacity is too large to be counted exactly`},
	} {
		t.Run(test.name, func(t *testing.T) {
			terms := testTerms()
			test.change(&terms)
			err := terms.Validate()
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantClass(t, err, ClassReject)
			if err.Error() != test.want {
				t.Errorf("got %q, want %q", err, test.want)
			}
		})
	}
}

func TestTermsFingerprint(t *testing.T) {
	// Stored with the event: another way to compute it would make a conflict of every repeated listing.
	if got, want := testTerms().Fingerprint(), "cbc5ac878d116034"; got != want {
		t.Errorf("the fingerprint of fixed terms is %s, it was %s", got, want)
	}
	seen := map[string]string{testTerms().Fingerprint(): "the base"}
	for name, change := range map[string]func(*Terms){
		"name":             func(t *Terms) { t.Name += "!" },
		"currency":         func(t *Terms) { t.Currency = "USD" },
		"limit":            func(t *Terms) { t.MaxPerOrder++ },
		"on sale":          func(t *Terms) { t.OnSaleMillis++ },
		"off sale":         func(t *Terms) { t.OffSaleMillis++ },
		"section's name":   func(t *Terms) { t.Sections[0].Name = "stalls" },
		"price":            func(t *Terms) { t.Sections[0].Price++ },
		"capacity":         func(t *Terms) { t.Sections[0].Capacity++ },
		"order":            func(t *Terms) { t.Sections[0], t.Sections[1] = t.Sections[1], t.Sections[0] },
		"section left out": func(t *Terms) { t.Sections = t.Sections[:1] },
	} {
		terms := testTerms()
		change(&terms)
		if of, known := seen[terms.Fingerprint()]; known {
			t.Errorf("%s: the same fingerprint as %s", name, of)
		}
		seen[terms.Fingerprint()] = name
	}
}

func TestEvent(t *testing.T) {
	e := testEvent()
	if !e.Exists() || (Event{}).Exists() {
		t.Error("listed: want the event, and not the zero event")
	}
	if s, ok := e.Section("vip"); !ok || s != (Section{Name: "vip", Price: 5000, Capacity: 4, Available: 4}) {
		t.Errorf("section vip: got %+v, %v", s, ok)
	}
	if s, ok := e.Section("VIP"); ok || s != (Section{}) {
		t.Errorf("section VIP: got %+v, %v", s, ok)
	}
	if !reflect.DeepEqual(e.Terms(), testTerms()) {
		t.Errorf("terms %+v, want %+v", e.Terms(), testTerms())
	}
}

func TestOnSaleAt(t *testing.T) {
	for _, test := range []struct {
		on, off, at int64
		closed      bool
		want        bool
	}{
		{0, 0, 0, false, true},
		{0, 0, 5, false, true},
		{5, 0, 4, false, false},
		{5, 0, 5, false, true},
		{5, 9, 8, false, true},
		{5, 9, 9, false, false},
		{0, 9, 8, false, true},
		{5, 9, 7, true, false},
	} {
		if got := (Event{OnSaleMillis: test.on, OffSaleMillis: test.off, Closed: test.closed}).OnSaleAt(test.at); got != test.want {
			t.Errorf("on sale %d, off %d, closed %v: at %d it is %v", test.on, test.off, test.closed, test.at, got)
		}
	}
}

func TestCheckConservation(t *testing.T) {
	for _, test := range []struct {
		available, held, sold int64
		ok                    bool
	}{
		{5, 3, 2, true},
		{10, 0, 0, true},
		{0, 0, 10, true},
		{4, 3, 2, false},
		{6, 3, 2, false},
		{-1, 9, 2, false},
		{9, -1, 2, false},
		{9, 2, -1, false},
	} {
		err := eventWith(test.available, test.held, test.sold).CheckConservation()
		if (err == nil) != test.ok || err != nil && !errors.Is(err, ErrNotConserved) {
			t.Errorf("%+v of 10: %v", test, err)
		}
	}
	second := testEvent()
	second.Sections[1].Sold++
	if second.CheckConservation() == nil {
		t.Error("the second section is not looked at")
	}
	if err := (Event{}).CheckConservation(); err != nil {
		t.Error(err)
	}
}
