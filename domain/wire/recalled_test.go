package wire

import (
	"reflect"
	"strings"
	"testing"

	"holdfast/domain"
)

// fill gives every field of a struct a value that is not zero.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString("x|" + v.Type().Field(i).Name + "\n")
		case reflect.Int, reflect.Int64:
			f.SetInt(int64(i + 1))
		case reflect.Uint8:
			f.SetUint(1)
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Struct:
			fill(t, f)
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 2, 2))
			fill(t, f.Index(0))
			fill(t, f.Index(1))
		default:
			t.Fatalf("field %s: of a kind that nobody has thought of", v.Type().Field(i).Name)
		}
	}
}

func roundTrip(t *testing.T, f domain.Fact) *domain.Recalled {
	t.Helper()
	line := FactLine(f)
	if strings.Contains(line, "\n") {
		t.Fatalf("%q breaks the line", line)
	}
	facts, err := ParseFacts("1700000000000-0", []string{string(f.Type), line})
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return facts[0].Recalled
}

// What is recalled is said whole, whatever fields an order or an event has.
func TestRecalledIsWhole(t *testing.T) {
	var o domain.Order
	fill(t, reflect.ValueOf(&o).Elem())
	o.Version, o.Items, o.State, o.PayState = "1700000000000-7", "general:2:1000", domain.OrderConfirmed, domain.PayDeclined
	if got := roundTrip(t, domain.Fact{Type: domain.FactOrderRecalled, EventID: "e1", OrderID: "o1", Recalled: &domain.Recalled{Order: o, Early: true}}); got.Order != o || !got.Early {
		t.Errorf("the order is\n%+v, was\n%+v", got.Order, o)
	}
	rejected := domain.Order{State: domain.OrderRejected, Version: "1700000000000-7", Items: "general:0:0", Reason: "invalid"}
	if got := roundTrip(t, domain.Fact{Type: domain.FactOrderRecalled, EventID: "e1", OrderID: "o1", Recalled: &domain.Recalled{Order: rejected}}); got.Order != rejected || got.Early {
		t.Errorf("the order is\n%+v, was\n%+v", got.Order, rejected)
	}

	var e domain.Event
	fill(t, reflect.ValueOf(&e).Elem())
	e.Over = ""
	e.Allocations[1].Codes[0].Hash, e.Allocations[1].Codes[1].Hash, e.Allocations[0].Codes[1].Hash = "a", "b", "c"
	e.Allocations[1].Codes[1].Used = 0
	refused := map[domain.RefusedDemand]int64{{EventID: "e1", Section: "general", Reason: "sold_out"}: 7, {EventID: "e1", Section: "vip", Reason: "not_on_sale"}: 1}
	got := roundTrip(t, domain.Fact{Type: domain.FactEventRecalled, EventID: "e1", Recalled: &domain.Recalled{Event: e, OrderHashes: 3, Refused: refused}})
	if want := (&domain.Recalled{Event: e, OrderHashes: 3, Refused: refused}); !reflect.DeepEqual(got, want) {
		t.Errorf("the event is\n%+v, was\n%+v", got, want)
	}
}

// What cannot be read of it is named, and believed by nobody.
func TestRecalledIsRefused(t *testing.T) {
	for _, entry := range [][]string{
		{"order_recalled", "e1/o1"},
		{"order_recalled", "e1/o1|{"},
		{"order_recalled", `e1/o1|{"state":"sold","version":"1-0"}`},
		{"order_recalled", `e1/o1|{"state":"confirmed"}`},
		{"order_recalled", `e1/o1|{"state":"confirmed","version":"1-0","pay_state":"perhaps"}`},
		{"order_recalled", `e1/o1|{"state":"confirmed","version":"1-0","items":"general"}`},
		{"order_recalled", `e1|{"state":"confirmed","version":"1-0"}`},
		{"event_recalled", "e1"},
		{"event_recalled", "e1|{}"},
		{"event_recalled", `e1|{"version":1,"order_hashes":-1}`},
	} {
		_, err := ParseFacts("1700000000000-0", entry)
		wantClass(t, err, domain.ClassPoison)
	}
}
