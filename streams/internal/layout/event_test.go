package layout_test

import (
	"maps"
	"reflect"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
)

func TestDecodeEvent(t *testing.T) {
	good := map[string]string{
		"name": "An Evening", "currency": "EUR", "max_per_order": "6", "on_sale": "1", "off_sale": "0", "closed": "1",
		"fingerprint": "fp", "version": "3", "sections": "general,vip",
		"price:general": "1000", "capacity:general": "10", "available:general": "5", "held:general": "3", "sold:general": "2",
		"price:vip": "5000", "capacity:vip": "4", "available:vip": "4", "held:vip": "0", "sold:vip": "0",
	}
	want := domain.Event{
		Name: "An Evening", Currency: "EUR", MaxPerOrder: 6, OnSaleMillis: 1, Closed: true, Fingerprint: "fp", Version: 3,
		Sections: []domain.Section{
			{Name: "general", Price: 1000, Capacity: 10, Available: 5, Held: 3, Sold: 2}, {Name: "vip", Price: 5000, Capacity: 4, Available: 4},
		},
	}
	if got, err := layout.DecodeEvent(good); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := layout.DecodeEvent(nil); err != nil || got.Exists() {
		t.Errorf("no fields: got %+v, %v", got, err)
	}
	for _, field := range []string{
		"currency", "max_per_order", "on_sale", "off_sale", "version", "sections", "price:vip", "capacity:vip", "available:general", "held:general", "sold:vip",
	} {
		damaged := maps.Clone(good)
		delete(damaged, field)
		if _, err := layout.DecodeEvent(damaged); err == nil || domain.ClassOf(err) != domain.ClassPoison {
			t.Errorf("without %s: %v, want poison", field, err)
		}
		if field == "currency" {
			continue
		}
		for _, bad := range []string{"x", "-1", "1.5", "1e+16"} {
			damaged[field] = bad
			if _, err := layout.DecodeEvent(damaged); err == nil || domain.ClassOf(err) != domain.ClassPoison {
				t.Errorf("%s %q: %v, want poison", field, bad, err)
			}
		}
	}
}

func FuzzDecodeEvent(f *testing.F) {
	const separator = "\x1f"
	for _, e := range []domain.Event{
		{Name: "An Evening", Currency: "EUR", Version: 1, Fingerprint: "fp", Sections: []domain.Section{{Name: "general", Price: 1000, Capacity: 9, Available: 9}}},
		{Name: "x", Currency: "JPY", Version: 3, Closed: true, OnSaleMillis: 1, OffSaleMillis: 2, MaxPerOrder: 6, Sections: []domain.Section{{Name: "a", Capacity: 3, Held: 1, Sold: 2}, {Name: "b"}}},
	} {
		var fields []string
		for name, value := range streamstest.EncodeEvent(e) {
			fields = append(fields, name, value)
		}
		f.Add(strings.Join(fields, separator))
	}
	f.Add("")
	f.Add(strings.Join([]string{"sections", "a,a", "version", "-1"}, separator))
	f.Fuzz(func(t *testing.T, data string) {
		fields := strings.Split(data, separator)
		h := make(map[string]string)
		for i := 0; i+1 < len(fields); i += 2 {
			h[fields[i]] = fields[i+1]
		}
		e, err := layout.DecodeEvent(h)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassPoison {
				t.Errorf("class %s", domain.ClassOf(err))
			}
			return
		}
		if len(h) == 0 {
			return
		}
		if again, err := layout.DecodeEvent(streamstest.EncodeEvent(e)); err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("%+v comes back as %+v, %v", e, again, err)
		}
	})
}
