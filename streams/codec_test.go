package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
)

// encodeOrder writes a record as the scripts do.
func encodeOrder(o domain.Order) string {
	if o.State == domain.OrderNone {
		return ""
	}
	letter := map[domain.OrderState]string{
		domain.OrderHeld: "h", domain.OrderConfirmed: "c", domain.OrderDeclined: "d",
		domain.OrderExpired: "e", domain.OrderCancelled: "x", domain.OrderRejected: "r",
	}[o.State]
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	return strings.Join([]string{
		letter, string(o.RequestType), o.Fingerprint, o.CustomerID, o.Section, n(o.Quantity), n(o.UnitPrice), o.Currency,
		n(o.DeadlineMillis), n(o.HeldAtMillis), n(o.ConfirmedAtMillis), n(o.ResolvedAtMillis), o.AuthorizationID, o.Reason, o.Detail,
	}, "|")
}

func TestDecodeOrder(t *testing.T) {
	for record, want := range map[string]domain.Order{
		"": {},
		"h|purchase|0123456789abcdef|fred|general|2|1000|EUR|1700000060000|1700000000000|0|0|||": {
			State: domain.OrderHeld, RequestType: domain.RequestPurchase, Fingerprint: "0123456789abcdef", CustomerID: "fred", Section: "general",
			Quantity: 2, UnitPrice: 1000, Currency: "EUR", DeadlineMillis: 1700000060000, HeldAtMillis: 1700000000000,
		},
		"c|hold|fp|fred|vip|1|9007199254740991|JPY|5|1|3|3|auth_1||": {
			State: domain.OrderConfirmed, RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "fred", Section: "vip", Quantity: 1,
			UnitPrice: 9007199254740991, Currency: "JPY", DeadlineMillis: 5, HeldAtMillis: 1, ConfirmedAtMillis: 3, ResolvedAtMillis: 3, AuthorizationID: "auth_1",
		},
		"d|hold|fp|fred|vip|1|2|EUR|5|1|0|3|||":                    {State: domain.OrderDeclined, RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "fred", Section: "vip", Quantity: 1, UnitPrice: 2, Currency: "EUR", DeadlineMillis: 5, HeldAtMillis: 1, ResolvedAtMillis: 3},
		"e|hold|fp|fred|vip|1|2|EUR|5|1|0|6|||":                    {State: domain.OrderExpired, RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "fred", Section: "vip", Quantity: 1, UnitPrice: 2, Currency: "EUR", DeadlineMillis: 5, HeldAtMillis: 1, ResolvedAtMillis: 6},
		"x|||||0|0||0|0|0|7||requested|":                           {State: domain.OrderCancelled, ResolvedAtMillis: 7, Reason: "requested"},
		"r|hold|fp|||0|0||0|0|0|8||invalid|customer_id: missing|x": {State: domain.OrderRejected, RequestType: domain.RequestHold, Fingerprint: "fp", ResolvedAtMillis: 8, Reason: "invalid", Detail: "customer_id: missing|x"},
	} {
		got, err := decodeOrder(record)
		if err != nil || got != want {
			t.Errorf("%q:\ngot  %+v, %v\nwant %+v", record, got, err, want)
		}
		if back := encodeOrder(want); back != record {
			t.Errorf("%q comes back as %q", record, back)
		}
	}
}

func TestDecodeOrderDamaged(t *testing.T) {
	const good = "h|purchase|fp|fred|general|2|1000|EUR|5|1|0|0|||"
	records := []string{
		"h", "|", strings.Repeat("|", 14), strings.TrimSuffix(good, "|"), good[1:], "H" + good[1:], "z" + good[1:], "hh" + good[1:], "\x00" + good[1:],
		"\xff" + good[1:], " " + good, strings.ReplaceAll(good, "|", ","), strings.Repeat("x", 5000), "{}", "null",
	}
	values := strings.Split(good, "|")
	for _, i := range []int{5, 6, 8, 9, 10, 11} {
		for _, bad := range []string{"", "x", "-1", "1.5", "1e+15", " 1", "1\x00", "9223372036854775808", "nan", "inf"} {
			damaged := slices.Clone(values)
			damaged[i] = bad
			records = append(records, strings.Join(damaged, "|"))
		}
	}
	for _, record := range records {
		o, err := decodeOrder(record)
		if err == nil || domain.ClassOf(err) != domain.ClassPoison || o != (domain.Order{}) {
			t.Errorf("%.100q: got %+v, %v, want poison", record, o, err)
			continue
		}
		if len(err.Error()) > 1000 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
}

func FuzzDecodeOrder(f *testing.F) {
	for _, record := range []string{"", "h|purchase|fp|fred|general|2|1000|EUR|5|1|0|0|||", "x|||||0|0||0|0|0|7||requested|", "r|||||+1|-0|||||||", "||||||||||||||"} {
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, record string) {
		o, err := decodeOrder(record)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassPoison || o != (domain.Order{}) {
				t.Errorf("got %+v and class %s", o, domain.ClassOf(err))
			}
			return
		}
		if again, err := decodeOrder(encodeOrder(o)); err != nil || again != o {
			t.Errorf("%+v comes back as %+v, %v", o, again, err)
		}
	})
}

// encodeEvent is an event as its hash holds it.
func encodeEvent(e domain.Event) map[string]string {
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	h := map[string]string{
		"name": e.Name, "currency": e.Currency, "max_per_order": n(e.MaxPerOrder), "on_sale": n(e.OnSaleMillis), "off_sale": n(e.OffSaleMillis),
		"closed": "0", "fingerprint": e.Fingerprint, "version": n(e.Version),
	}
	if e.Closed {
		h["closed"] = "1"
	}
	for i, s := range e.Sections {
		if i > 0 {
			h["sections"] += ","
		}
		h["sections"] += s.Name
		h["price:"+s.Name], h["capacity:"+s.Name] = n(s.Price), n(s.Capacity)
		h["available:"+s.Name], h["held:"+s.Name], h["sold:"+s.Name] = n(s.Available), n(s.Held), n(s.Sold)
	}
	return h
}

func FuzzDecodeEvent(f *testing.F) {
	const separator = "\x1f"
	for _, e := range []domain.Event{
		{Name: "An Evening", Currency: "EUR", Version: 1, Fingerprint: "fp", Sections: []domain.Section{{Name: "general", Price: 1000, Capacity: 9, Available: 9}}},
		{Name: "x", Currency: "JPY", Version: 3, Closed: true, OnSaleMillis: 1, OffSaleMillis: 2, MaxPerOrder: 6, Sections: []domain.Section{{Name: "a", Capacity: 3, Held: 1, Sold: 2}, {Name: "b"}}},
	} {
		var fields []string
		for name, value := range encodeEvent(e) {
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
		e, err := decodeEvent(h)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassPoison {
				t.Errorf("class %s", domain.ClassOf(err))
			}
			return
		}
		if len(h) == 0 {
			return
		}
		if again, err := decodeEvent(encodeEvent(e)); err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("%+v comes back as %+v, %v", e, again, err)
		}
	})
}

func FuzzDecodeTotals(f *testing.F) {
	for _, s := range []string{"", "0,0,0", "1,2,3", "1,2", "1,2,3,", "-1,+2,03", "9223372036854775807,9223372036854775808,0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		totals, err := decodeTotals(s)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassPoison || totals != (Totals{}) {
				t.Errorf("got %+v and class %s", totals, domain.ClassOf(err))
			}
			return
		}
		written := fmt.Sprintf("%d,%d,%d", totals.Orders, totals.TicketsSold, totals.Revenue)
		if again, err := decodeTotals(written); err != nil || again != totals {
			t.Errorf("%+v comes back as %+v, %v", totals, again, err)
		}
	})
}

func FuzzDecodeInvoiceLine(f *testing.F) {
	const good = `{"section":"general","quantity":2,"amount":2000,"currency":"EUR","confirmed_at":1,"status":"confirmed"}`
	for _, field := range []string{"e1/o1", "e1", "/", "e1/o1/x"} {
		for _, value := range []string{good, "", "{}", "null", "[]", `{"event_id":"other"}`, good[:20], `{"quantity":1e3}`} {
			f.Add(field, value)
		}
	}
	f.Fuzz(func(t *testing.T, field, value string) {
		line, err := decodeInvoiceLine(field, value)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassPoison {
				t.Errorf("class %s", domain.ClassOf(err))
			}
			return
		}
		if ref(line.EventID, line.OrderID).String() != field {
			t.Errorf("%q is a line of %s/%s", field, line.EventID, line.OrderID)
		}
		written, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decodeInvoiceLine(field, string(written)); err != nil || again != line {
			t.Errorf("%+v comes back as %+v, %v", line, again, err)
		}
	})
}

// FuzzDecodeDeadLetter reads a letter whose entry had these fields, and one that is made of them.
func FuzzDecodeDeadLetter(f *testing.F) {
	const separator, secret = "\x1f", "tok-visa-4242"
	f.Add(strings.Join([]string{"stream", "requests", "group", "workers", "entry_id", "1-1", "reason", "r", "deliveries", "3", "at", "1", "fields", "1:a,1:b,"}, separator))
	f.Add(strings.Join([]string{"v", "1", "type", "pay", wire.FieldPaymentToken, secret}, separator))
	f.Add(strings.Join([]string{"fields", "13:payment_token,13:tok-visa-4242,", "at", "x"}, separator))
	f.Add("")
	f.Fuzz(func(t *testing.T, data string) {
		fields := strings.Split(data, separator)
		fields = fields[:len(fields)&^1]
		wrapped := []string{"stream", "requests", "group", "workers", "fields", netstrings(fields)}
		letter, err := decodeDeadLetter(0, domain.Entry{ID: "1-1", Fields: wrapped})
		if err != nil || !slices.Equal(letter.raw, fields) {
			t.Fatalf("the fields %q come back as %q, %v", fields, letter.raw, err)
		}
		for _, fields := range [][]string{wrapped, fields} {
			letter, err := decodeDeadLetter(0, domain.Entry{ID: "1-1", Fields: fields})
			if err != nil && domain.ClassOf(err) != domain.ClassPoison {
				t.Errorf("class %s", domain.ClassOf(err))
			}
			if shown, there := letter.Fields[wire.FieldPaymentToken]; there && shown != domain.Secret("").String() {
				t.Errorf("the token is shown: %q", shown)
			}
		}
	})
}

func FuzzReadNotices(f *testing.F) {
	const record = "h|purchase|fp|fred|general|2|1000|EUR|5|1|0|0|||"
	for _, message := range []string{"", "e1/o1 " + record, "e1/o1 " + record + "\ne1/o2 " + record, "e1/o1", "e1 " + record, "e1/o1  " + record, "\n\n"} {
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message string) {
		read := func(message string) (lines []string) {
			readNotices(message, func(ref domain.OrderRef, o domain.Order) {
				if !domain.ValidID(ref.EventID) || !domain.ValidID(ref.OrderID) {
					t.Errorf("a notice about %q", ref)
				}
				lines = append(lines, ref.String()+" "+encodeOrder(o))
			})
			return lines
		}
		lines := read(message)
		written := strings.Join(lines, "\n")
		if again := read(written); !slices.Equal(again, lines) {
			t.Errorf("%q comes back as %q", lines, again)
		}
	})
}

func FuzzParseDeadID(f *testing.F) {
	for _, id := range []string{"", "0:1-1", "3:1700000000000-0", "4:1-1", "-1:1-1", "0:x", "00:1-", ":"} {
		f.Add(id)
	}
	s := &Store{partitions: 4}
	f.Fuzz(func(t *testing.T, id string) {
		p, letter, err := s.parseDeadID(id)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassReject {
				t.Errorf("class %s", domain.ClassOf(err))
			}
			return
		}
		if p < 0 || p >= 4 || domain.EntryMillis(letter) <= 0 || !strings.HasSuffix(id, ":"+letter) {
			t.Errorf("%q is letter %q of partition %d", id, letter, p)
		}
	})
}

func FuzzParseLogID(f *testing.F) {
	for _, id := range []string{"", "0-0", "1-1", "18446744073709551615-18446744073709551615", "1", "-", "1--1", "+1-0"} {
		f.Add(id, "1-2")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := parseLogID(a), parseLogID(b)
		if again := parseLogID(fmt.Sprintf("%d-%d", x.millis, x.seq)); again != x {
			t.Errorf("%+v comes back as %+v", x, again)
		}
		if after, before := x.after(y), y.after(x); after && before || !after && !before && x != y {
			t.Errorf("%q and %q have no order", a, b)
		}
	})
}

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
	if got, err := decodeEvent(good); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := decodeEvent(nil); err != nil || got.Exists() {
		t.Errorf("no fields: got %+v, %v", got, err)
	}
	for _, field := range []string{
		"currency", "max_per_order", "on_sale", "off_sale", "version", "sections", "price:vip", "capacity:vip", "available:general", "held:general", "sold:vip",
	} {
		damaged := maps.Clone(good)
		delete(damaged, field)
		if _, err := decodeEvent(damaged); err == nil || domain.ClassOf(err) != domain.ClassPoison {
			t.Errorf("without %s: %v, want poison", field, err)
		}
		if field == "currency" {
			continue
		}
		for _, bad := range []string{"x", "-1", "1.5", "1e+16"} {
			damaged[field] = bad
			if _, err := decodeEvent(damaged); err == nil || domain.ClassOf(err) != domain.ClassPoison {
				t.Errorf("%s %q: %v, want poison", field, bad, err)
			}
		}
	}
}

func TestDecodeTotals(t *testing.T) {
	for raw, want := range map[string]Totals{
		"0,0,0": {}, "1,2,3": {1, 2, 3}, "3,7,9007199254740991": {3, 7, 9007199254740991}, "1,2,-3": {1, 2, -3},
	} {
		if got, err := decodeTotals(raw); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", raw, got, err, want)
		}
	}
	for _, raw := range []string{"", "1", "1,2", "1,2,", ",,", "1,2,3,4", "a,b,c", "1;2;3", "1,2,1e+16", "1.0,2,3", "1,2,9223372036854775808", " 1,2,3"} {
		if got, err := decodeTotals(raw); err == nil || domain.ClassOf(err) != domain.ClassPoison || got != (Totals{}) {
			t.Errorf("%q: got %+v, %v, want poison", raw, got, err)
		}
	}
}

func TestDecodeInvoiceLine(t *testing.T) {
	f := domain.Fact{
		AtMillis: 9, Type: domain.FactConfirmed, EventID: "e1", OrderID: "o1", CustomerID: "fred", Section: "general", Quantity: 3,
		UnitPrice: 3002399751580330, Currency: "EUR",
	}
	want := InvoiceLine{OrderID: "o1", EventID: "e1", Section: "general", Quantity: 3, Amount: 9007199254740990, Currency: "EUR", ConfirmedAtMillis: 9, Status: "confirmed"}
	if got, err := decodeInvoiceLine("e1/o1", invoiceLine(f, 9, invoiceConfirmed)); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, test := range [][2]string{{"e1", "{}"}, {"", "{}"}, {"e1/o1", ""}, {"e1/o1", "{"}, {"e1/o1", `{"quantity":"3"}`}, {"e1/o 1", "{}"}} {
		if got, err := decodeInvoiceLine(test[0], test[1]); err == nil || domain.ClassOf(err) != domain.ClassPoison {
			t.Errorf("%q: got %+v, %v, want poison", test, got, err)
		}
	}
}

func TestDecodeEntries(t *testing.T) {
	got := decodeEntries([]any{
		[]any{"1-0", []any{"a", "1", "b", ""}},
		[]any{"2-0", nil}, // its payload is gone
		[]any{"3-0", []any{}},
		[]any{"4-0"},
		nil, "5-0",
	})
	want := []domain.Entry{{ID: "1-0", Fields: []string{"a", "1", "b", ""}}, {ID: "2-0"}, {ID: "3-0", Fields: []string{}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
	for _, reply := range []any{nil, "x", int64(1), []any{}} {
		if got := decodeEntries(reply); len(got) != 0 {
			t.Errorf("%v: got %v", reply, got)
		}
	}
}

// netstrings writes a list as dead_letter.lua does.
func netstrings(list []string) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "%d:%s,", len(s), s)
	}
	return b.String()
}

func TestParseNetstrings(t *testing.T) {
	for s, want := range map[string][]string{
		"": nil, "0:,": {""}, "1:a,": {"a"}, "1:a,0:,2:,:,": {"a", "", ",:"}, "3:\x00\xff|,": {"\x00\xff|"}, "12:123456789012,": {"123456789012"},
	} {
		if got, err := parseNetstrings(s); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v, want %q", s, got, err, want)
		}
	}
	for _, s := range []string{
		"a", ":", ":,", "1", "1:", "1:a", "1:ab,", "2:a,", "-1:,", "1:a,x", "1:a;", "9223372036854775807:a,", "99999999999999999999:a,", "1:a,,", "1 :a,",
	} {
		got, err := parseNetstrings(s)
		if err == nil || domain.ClassOf(err) != domain.ClassPoison || got != nil {
			t.Errorf("%q: got %q, %v, want poison", s, got, err)
		}
	}
	// What is in a dead letter may be a payment token.
	if _, err := parseNetstrings("13:payment_token,13:tok-visa-4242,x"); err == nil || strings.Contains(err.Error(), "4242") {
		t.Errorf("the error repeats what it read: %v", err)
	}
}

func FuzzParseNetstrings(f *testing.F) {
	for _, s := range []string{"", "0:,", "1:a,1:b,", "13:payment_token,13:tok-visa-4242,", "5:a,b:c,", "1:a", "-1:,", "+1:a,", "99999999999999999999:,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := parseNetstrings(s)
		if err != nil && (domain.ClassOf(err) != domain.ClassPoison || list != nil) {
			t.Errorf("got %q and class %s", list, domain.ClassOf(err))
		}
		if err == nil {
			if again, err := parseNetstrings(netstrings(list)); err != nil || !slices.Equal(again, list) {
				t.Errorf("%q comes back as %q, %v", list, again, err)
			}
		}
		// Whatever the strings, a list of them comes back.
		list = strings.Split(s, ":")
		if again, err := parseNetstrings(netstrings(list)); err != nil || !slices.Equal(again, list) {
			t.Errorf("%q comes back as %q, %v", list, again, err)
		}
	})
}

// redisError is an error as a server replies it.
type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

func TestClassify(t *testing.T) {
	const inScript = " script: 0123, on @user_script:7."
	for _, test := range []struct {
		err  error
		want domain.Class
	}{
		{redisError("NOAUTH Authentication required."), domain.ClassFatal},
		{redisError("WRONGPASS invalid username-password pair"), domain.ClassFatal},
		{redisError("NOPERM this user has no permissions to run the 'xadd' command"), domain.ClassFatal},
		{redisError("WRONGTYPE Operation against a key holding the wrong kind of value"), domain.ClassPoison},
		{redisError("WRONGTYPE Operation against a key holding the wrong kind of value" + inScript), domain.ClassPoison},
		{redisError("ERR user_script:12: order record is damaged: x" + inScript), domain.ClassPoison},
		{redisError("OOM command not allowed when used memory > 'maxmemory'." + inScript), domain.ClassRetry},
		{redisError("LOADING Redis is loading the dataset in memory"), domain.ClassRetry},
		{redisError("READONLY You can't write against a read only replica." + inScript), domain.ClassRetry},
		{redisError("MISCONF Redis is configured to save RDB snapshots"), domain.ClassRetry},
		{redisError("BUSY Redis is busy running a script."), domain.ClassRetry},
		{redisError("NOGROUP No such key 'x' or consumer group 'y'" + inScript), domain.ClassRetry},
		{redisError("NOSCRIPT No matching script."), domain.ClassRetry},
		{redisError("CLUSTERDOWN The cluster is down"), domain.ClassRetry},
		{io.EOF, domain.ClassRetry},
		{&net.OpError{Op: "dial", Err: io.EOF}, domain.ClassRetry},
		{context.DeadlineExceeded, domain.ClassRetry},
		{redis.ErrPoolTimeout, domain.ClassRetry},
	} {
		err := classify(fmt.Errorf("doing it: %w", test.err))
		if got := domain.ClassOf(err); got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%v: class %s, want %s", test.err, got, test.want)
		}
	}
	if classify(nil) != nil {
		t.Error("no error became one")
	}
}

func TestLostGroups(t *testing.T) {
	for text, want := range map[string]bool{
		"NOGROUP No such key 'x' or consumer group 'y' in XREADGROUP with GROUP option": true,
		"UNBLOCKED the stream key no longer exists":                                     true,
		"ERR no such key": true,
		"WRONGTYPE Operation against a key holding the wrong kind of value": false,
		"ERR syntax error": false,
		"OOM command not allowed when used memory > 'maxmemory'.": false,
	} {
		if got := lostGroups(redisError(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if lostGroups(io.EOF) || lostGroups(errors.New("NOGROUP")) || lostGroups(nil) {
		t.Error("only Redis can say so")
	}
}

// TestAppendError: an error that wraps ErrUnknownOutcome may be published; any other is not.
func TestAppendError(t *testing.T) {
	for _, test := range []struct {
		err     error
		unknown bool
	}{
		{&net.OpError{Op: "dial", Err: io.EOF}, false},
		{redis.ErrPoolTimeout, false},
		{redis.ErrClosed, false},
		{redisError("OOM command not allowed"), false},
		{redisError("WRONGTYPE x"), false},
		{&net.OpError{Op: "write", Err: io.EOF}, true},
		{&net.OpError{Op: "read", Err: io.EOF}, true},
		{io.EOF, true},
		{context.DeadlineExceeded, true},
		{context.Canceled, true},
	} {
		err := appendError(test.err)
		if got := errors.Is(err, domain.ErrUnknownOutcome); got != test.unknown || !errors.Is(err, test.err) {
			t.Errorf("%v: unknown %v, want %v", test.err, got, test.unknown)
		}
	}
	if appendError(nil) != nil {
		t.Error("no error became one")
	}
}

func TestParseDeadID(t *testing.T) {
	s := &Store{partitions: 4}
	if p, id, err := s.parseDeadID("3:1700000000000-7"); err != nil || p != 3 || id != "1700000000000-7" {
		t.Errorf("got %d, %s, %v", p, id, err)
	}
	for _, id := range []string{"", ":", "3", "3:", "1700000000000-0", "4:1700000000000-0", "-1:1700000000000-0", "x:1700000000000-0", "0:x", "0:-1-0", "0:0-0"} {
		if _, _, err := s.parseDeadID(id); err == nil || domain.ClassOf(err) != domain.ClassReject {
			t.Errorf("%q: %v, want it rejected", id, err)
		}
	}
}
