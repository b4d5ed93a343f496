package layout_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

// poison reports whether an error is one for what cannot be read.
func poison(err error) bool { return err != nil && domain.ClassOf(err) == domain.ClassPoison }

func TestEventTerms(t *testing.T) {
	for value, want := range map[string]layout.EventTerms{
		"":                               {},
		"1|o|EUR|0|0|0|0":                {Version: 1, Currency: "EUR"},
		"3|c|JPY|6|1700000000000|0|0":    {Version: 3, Closed: true, Currency: "JPY", MaxPerOrder: 6, OnSaleMillis: 1700000000000},
		"4|o|EUR|6:8|0|0|0":              {Version: 4, Currency: "EUR", MaxPerOrder: 6, MaxPerCustomer: 8},
		"4|o|EUR|6:8!|0|0|2":             {Version: 4, Currency: "EUR", MaxPerOrder: 6, MaxPerCustomer: 8, OrderHashes: 2, NoOrphans: true},
		"12|x|EUR|6|1|1700000000000|64":  {Version: 12, Closed: true, Cancelled: true, Currency: "EUR", MaxPerOrder: 6, OnSaleMillis: 1, OffSaleMillis: 1700000000000, OrderHashes: 64},
		"9007199254740993|o|EUR|0|0|0|2": {Version: 9007199254740993, Currency: "EUR", OrderHashes: 2},
	} {
		got, err := layout.DecodeEventTerms(value)
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", value, got, err, want)
		}
		if value != "" && want.String() != value {
			t.Errorf("%+v is written %q, want %q", want, want.String(), value)
		}
	}
	const good = "3|o|EUR|6|1|2|0"
	values := strings.Split(good, "|")
	damaged := []string{"|", good + "|", strings.TrimSuffix(good, "|0"), strings.ReplaceAll(good, "|", ","), "{}", "0|o|EUR|6|1|2|0", "3|o|EUR|6|1|2|65", good + "!", "3!|o|EUR|6|1|2|0", "3|o|EUR|6!!|1|2|0", "3|o|EUR|!|1|2|0"}
	for i := range values {
		for _, bad := range []string{"", "y", "-1", "1.5", "1e+16", "9223372036854775808"} {
			if v := slices.Clone(values); i != 2 || bad == "" { // whatever the currency, it is one
				v[i] = bad
				damaged = append(damaged, strings.Join(v, "|"))
			}
		}
	}
	for _, value := range damaged {
		if got, err := layout.DecodeEventTerms(value); !poison(err) || got != (layout.EventTerms{}) {
			t.Errorf("%q: got %+v, %v, want poison", value, got, err)
		}
	}
}

func FuzzDecodeEventTerms(f *testing.F) {
	for _, value := range []string{"", "1|o|EUR|0|0|0|0", "3|c|JPY|6|1|0|0", "12|x|EUR|6|1|2|64", "+1|o|€|0|0|0|0", "0|o|EUR|0|0|0|0", "1|o|EUR|0|0|0|65", "1|z|EUR|0|0|0|0", "1|o|EUR|0!|0|0|0"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		terms, err := layout.DecodeEventTerms(value)
		if err != nil {
			if !poison(err) || terms != (layout.EventTerms{}) {
				t.Errorf("got %+v, %v", terms, err)
			}
			return
		}
		if (terms.Version == 0) != (value == "") {
			t.Errorf("%q has version %d", value, terms.Version)
		}
		if value == "" {
			return
		}
		if again, err := layout.DecodeEventTerms(terms.String()); err != nil || again != terms {
			t.Errorf("%+v comes back as %+v, %v", terms, again, err)
		}
	})
}

func TestEventAbout(t *testing.T) {
	want := layout.EventAbout{
		Name: "Either|Or\n", Sections: []string{"vip", "general"}, Fingerprint: "fp", Cause: domain.Cause{Reason: "fire | flood", By: "ann"},
	}
	if got, err := layout.DecodeEventAbout(want.String()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, value := range []string{"", "{", "{}", "null", "[]", `"x"`, `{"name":1,"sections":["a"]}`, `{"sections":[]}`, `{"sections":"a"}`} {
		if got, err := layout.DecodeEventAbout(value); !poison(err) || !reflect.DeepEqual(got, layout.EventAbout{}) {
			t.Errorf("%q: got %+v, %v, want poison", value, got, err)
		}
	}
}

func FuzzDecodeEventAbout(f *testing.F) {
	for _, value := range []string{"", "{}", "null", `{"name":"x","sections":["a"],"fingerprint":"fp"}`, `{"sections":["a","a"],"reason":"fire","by":"ann"}`, `{"sections":[null]}`} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		about, err := layout.DecodeEventAbout(value)
		if err != nil {
			if !poison(err) || !reflect.DeepEqual(about, layout.EventAbout{}) {
				t.Errorf("got %+v, %v", about, err)
			}
			return
		}
		if again, err := layout.DecodeEventAbout(about.String()); err != nil || !reflect.DeepEqual(again, about) {
			t.Errorf("%+v comes back as %+v, %v", about, again, err)
		}
	})
}

func TestSection(t *testing.T) {
	want := domain.Section{Name: "vip", Price: 9007199254740991, Capacity: 10, Available: 5, Held: 3, Sold: 2}
	if got, err := layout.DecodeSection(domain.Section{Name: "vip", Layout: ""}, domain.Event{}, "9007199254740991|10|5|3|2"); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	want.Layout = "A:1-10"
	seated := layout.EncodeSection(want, domain.Event{})
	if got, err := layout.DecodeSection(domain.Section{Name: "vip", Layout: "A:1-10"}, domain.Event{}, seated); err != nil || got != want {
		t.Errorf("%s: got %+v, %v", seated, got, err)
	}
	for _, other := range []string{"", "A:1-11"} {
		if got, err := layout.DecodeSection(domain.Section{Name: "vip", Layout: other}, domain.Event{}, seated); !poison(err) {
			t.Errorf("%q: got %+v, %v, want poison: it has another layout", other, got, err)
		}
	}
	if got, err := layout.DecodeSection(domain.Section{Name: "vip", Layout: "A:1-10"}, domain.Event{}, "9007199254740991|10|5|3|2"); !poison(err) {
		t.Errorf("got %+v, %v, want poison: it is not seated", got, err)
	}
	want.Layout = ""
	if got := layout.EncodeSection(want, domain.Event{}); got != "9007199254740991|10|5|3|2" {
		t.Errorf("it is written %q", got)
	}
	for _, value := range []string{"", "||||", "1|2|3|4", "1|2|3|4|5|6", "1|2|3|4|", "x|2|3|4|5", "1|2|-1|4|5", "1|2|3|4|1e+16", "1.5|2|3|4|5"} {
		if got, err := layout.DecodeSection(domain.Section{Name: "vip", Layout: ""}, domain.Event{}, value); !poison(err) || !strings.Contains(err.Error(), "vip") {
			t.Errorf("%q: got %+v, %v, want poison that names the section", value, got, err)
		}
	}
}

func FuzzDecodeSection(f *testing.F) {
	for _, value := range []string{"", "1000|10|5|3|2", "0|0|0|0|0", "+1|2|3|4|5", "-1|2|3|4|5", "1|2|3|4|9223372036854775808"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		s, err := layout.DecodeSection(domain.Section{Name: "general", Layout: ""}, domain.Event{}, value)
		if err != nil {
			if !poison(err) {
				t.Errorf("class %s", domain.ClassOf(err))
			}
			return
		}
		if again, err := layout.DecodeSection(domain.Section{Name: "general", Layout: ""}, domain.Event{}, layout.EncodeSection(s, domain.Event{})); err != nil || again != s {
			t.Errorf("%+v comes back as %+v, %v", s, again, err)
		}
	})
}

// decodeEvent reads an event as it is read from the hashes: terms, what is about it, and then its sections and their places.
func decodeEvent(fields, places map[string]string, id string) (domain.Event, error) {
	terms, err := layout.DecodeEventTerms(fields[layout.TermsField(id)])
	if err != nil {
		return domain.Event{}, err
	}
	about, err := layout.DecodeEventAbout(fields[layout.AboutField(id)])
	if err != nil {
		return domain.Event{}, err
	}
	var sections, seated []string
	for _, name := range about.Sections {
		sections, seated = append(sections, fields[layout.SectionField(id, name)]), append(seated, places[layout.SectionField(id, name)])
	}
	var codes []string
	for _, hash := range about.CodeHashes() {
		codes = append(codes, fields[layout.CodeField(id, hash)])
	}
	return layout.DecodeEvent(terms, about, sections, seated, codes)
}

func TestEventComesBack(t *testing.T) {
	for name, e := range map[string]domain.Event{
		"on sale": {
			Name: "An Evening", Currency: "EUR", MaxPerOrder: 6, OnSaleMillis: 1, OffSaleMillis: 2, Fingerprint: "fp", Version: 1,
			// In the order in which they are sold, which is not that of their names.
			Sections: []domain.Section{{Name: "vip", Price: 5000, Capacity: 4, Available: 4}, {Name: "general", Price: 1000, Capacity: 10, Available: 5, Held: 3, Sold: 2}},
		},
		"closed": {
			Name: "An Evening", Currency: "EUR", Closed: true, Cause: domain.Cause{By: "ann"}, Fingerprint: "fp", Version: 3,
			Sections: []domain.Section{{Name: "general", Capacity: 1, Sold: 1}},
		},
		"seated": {
			Name: "An Evening", Currency: "EUR", Fingerprint: "fp", Version: 2, NoOrphans: true,
			Sections: []domain.Section{
				{Name: "stalls", Capacity: 3, Available: 1, Sold: 1, Blocked: 1, Layout: "A:1-2!/3", Places: "!+ ."},
				{Name: "general", Price: 1000, Capacity: 10, Available: 5, Held: 3, Sold: 2},
			},
		},
		"cancelled": {
			Name: "An Evening", Currency: "JPY", Closed: true, Cancelled: true, Cause: domain.Cause{Reason: "fire", By: "ann"}, Fingerprint: "fp", Version: 4,
			Sections: []domain.Section{{Name: "general", Capacity: 1, Available: 1}},
		},
	} {
		fields := layout.EncodeEvent("e1", e, 3)
		places := layout.EncodePlaces("e1", e)
		if got, err := decodeEvent(fields, places, "e1"); err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, e)
		}
		if terms, err := layout.DecodeEventTerms(fields["e1"]); err != nil || terms.OrderHashes != 3 {
			t.Errorf("%s: got %+v, %v", name, terms, err)
		}
		if len(fields) != 2+len(e.Sections) {
			t.Errorf("%s: %d fields: %v", name, len(fields), fields)
		}
		for field := range fields {
			delete(fields, field)
			if _, err := decodeEvent(fields, places, "e1"); field != "e1" && !poison(err) {
				t.Errorf("%s, without %s: %v, want poison", name, field, err)
			}
			fields[field] = layout.EncodeEvent("e1", e, 3)[field]
		}
		if e.Sections[0].Seated() {
			if _, err := decodeEvent(fields, nil, "e1"); !poison(err) {
				t.Errorf("%s, without its places: %v, want poison", name, err)
			}
		}
	}
}
