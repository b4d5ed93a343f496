package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"holdfast/domain"
)

// sale are entries of all that a log has, and some that it should not have.
var sale = []domain.Entry{
	{ID: "1700000000000-0", Fields: []string{"listed", `e1|{"name":"Jazz","currency":"EUR","sections":[{"name":"stalls","capacity":3,"price":4500}]}`}},
	{ID: "1700000000000-1", Fields: []string{"held", "e1/o1|p|b083c26c75bd146e|amy|stalls:2:4500|EUR|120000\ne1/o2|h|b083c26c75bd146f|bob|boxes:1:9000:17,stalls:1:4500|EUR|120000"}},
	{ID: "1700000000005-0", Fields: []string{"confirmed", "e1/o1|amy|stalls:2:4500|EUR|auth_1"}},
	{ID: "1700000000006-0", Fields: []string{"reduced", "e1/o1|1|b083c26c75bd146e|1700000000005-0|confirmed|amy|stalls:1:4500|EUR"}},
	{ID: "1700000000007-0", Fields: []string{"cancelled", "e1/o1|requested|confirmed|amy|stalls:1:4500|EUR|1700000000005"}},
	{ID: "1700000000008-0", Fields: []string{"rejected", "e1/o3|p|b083c26c75bd146e|fred|stalls:2:0|sold_out|"}},
	{ID: "1700000000009-0", Fields: []string{"of a later program", "e1|\xff"}},
	{ID: "1700000000009-7", Fields: []string{"a", "1", "b", "2,3:"}},
	{ID: "1700000000010-0", Fields: []string{}},
	{ID: "1700000000011-0", Fields: []string{"rejected", "e1/o4|p|b083c26c75bd146e|fred|stalls:2:0|invalid|no such \xff\xfe"}},
}

var saleKey = Key{Namespace: "shop", Partition: 3, Branch: "b0"}

func saleHeader() Header {
	return Header{
		ArchivedNamespace: domain.ArchivedNamespace{Namespace: "shop", Epoch: "one", Schema: "2", Partitions: 4, PaymentNames: "namespaced", FreeOrders: "direct", MaxWaiting: 7},
		Partition:         3, Branch: "b0", After: "0-0", Acknowledged: map[domain.Group]string{domain.GroupPosting: "5-0"}, AtMillis: 9, By: "w",
	}
}

func encoded(t testing.TB, h Header, entries []domain.Entry) []byte {
	t.Helper()
	body, err := encode(h, entries)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestASegmentSaysWhatTheLogSays(t *testing.T) {
	s, err := decode(saleKey, encoded(t, saleHeader(), sale))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(s.Entries, sale, sameEntry) {
		t.Errorf("it says %+v", s.Entries)
	}
	want := saleHeader()
	want.Format, want.First, want.Last, want.Entries, want.Facts = format, "1700000000000-0", "1700000000011-0", len(sale), 7
	if fmt.Sprint(s.Header) != fmt.Sprint(want) {
		t.Errorf("its header is %+v, want %+v", s.Header, want)
	}
}

func TestEntriesComeBackByteForByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "entries")
		entries := make([]domain.Entry, n)
		for i := range entries {
			if e := rapid.SampledFrom(append(sale, domain.Entry{})).Draw(t, "like"); e.ID != "" {
				entries[i].Fields = slices.Clone(e.Fields)
			} else {
				for range rapid.IntRange(0, 4).Draw(t, "values") {
					entries[i].Fields = append(entries[i].Fields, string(rapid.SliceOf(rapid.Byte()).Draw(t, "value")))
				}
			}
			entries[i].ID = "1700000000000-" + strconv.Itoa(i)
		}
		body, err := encode(saleHeader(), entries)
		if err != nil {
			t.Fatal(err)
		}
		s, err := decode(saleKey, body)
		if err != nil || !slices.EqualFunc(s.Entries, entries, sameEntry) {
			t.Fatalf("%+v came back as %+v, %v", entries, s, err)
		}
	})
}

// What analysts see: which columns a fact has, and by how much the sales change.
func TestColumnsOfFacts(t *testing.T) {
	tickets, amount := int64(0), int64(0)
	for _, e := range sale {
		for _, r := range rowsOf(e) {
			tickets, amount = tickets+r.SoldTickets, amount+r.SoldAmount
			switch {
			case r.Type == "confirmed" && (r.SoldTickets != 2 || r.SoldAmount != 9000 || *r.Section != "stalls" || *r.CustomerID != "amy" || *r.AuthorizationID != "auth_1" || r.At != 1700000000005):
				t.Errorf("confirmed is %+v", r)
			case r.Type == "held" && *r.OrderID == "o2" && (r.Section != nil || len(r.Items) != 2 || *r.Amount != 13500 || *r.Quantity != 2 || r.Line != 2 || r.SoldAmount != 0):
				t.Errorf("held is %+v", r)
			case r.Type == "rejected" && (*r.Reason != "sold_out" || *r.OrderID != "o3"):
				t.Errorf("rejected is %+v", r)
			case r.Type == "" && r.Raw == nil:
				t.Errorf("%s is %+v", e.ID, r)
			}
		}
	}
	presale := rowsOf(domain.Entry{ID: "1700000000001-0", Fields: []string{"confirmed", "e1/o5|amy|" + domain.PoolOf("stalls", "friends") + ":1:4500|EUR|auth_1"}})
	if len(presale) != 1 || len(presale[0].Items) != 1 || presale[0].Items[0].Section != "stalls" || presale[0].Items[0].Allocation != "friends" || *presale[0].Section != "stalls" {
		t.Errorf("places of an allocation are %+v", presale)
	}
	if tickets != 0 || amount != 0 {
		t.Errorf("what is sold and cancelled adds up to %d tickets, %d", tickets, amount)
	}
}

// Whatever is cut or flipped of a segment, it is refused, by its name, before it is read.
func TestDamagedSegments(t *testing.T) {
	body := encoded(t, saleHeader(), sale)
	if _, err := decode(saleKey, body); err != nil {
		t.Fatal(err)
	}
	check := func(what string, body []byte) {
		var damaged *damagedError
		if s, err := decode(saleKey, body); !errors.As(err, &damaged) || !strings.Contains(err.Error(), saleKey.String()) {
			t.Errorf("%s: %+v, %v", what, s, err)
		}
	}
	for n := range body {
		check(fmt.Sprintf("cut after %d bytes", n), body[:n])
	}
	for i := range body {
		flipped := slices.Clone(body)
		flipped[i] ^= 1 << (i % 8)
		check(fmt.Sprintf("a bit of byte %d flipped", i), flipped)
	}
}

// What is no segment, and has its sum, is refused as well.
func TestWhatIsSealedAndNoSegment(t *testing.T) {
	var b bytes.Buffer
	w := parquet.NewGenericWriter[item](&b)
	if _, err := w.Write([]item{{Section: "x"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, plain := range [][]byte{b.Bytes(), []byte("PAR1" + strings.Repeat("x", 100) + "\x14\x00\x00\x00PAR1")} {
		body, err := seal(plain)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := decode(saleKey, body); err == nil {
			t.Errorf("it was read as %+v", s)
		}
	}
}

func TestASegmentUnderAnotherKey(t *testing.T) {
	body := encoded(t, saleHeader(), sale)
	for _, key := range []Key{
		{Namespace: "other", Partition: 3, Branch: "b0"},
		{Namespace: "shop", Partition: 2, Branch: "b0"},
		{Namespace: "shop", Partition: 3, Branch: "b1"},
		{Namespace: "shop", Partition: 3, Branch: "b0", Before: Position{1, 0}},
	} {
		if _, err := decode(key, body); err == nil {
			t.Errorf("it was read as %s", key)
		}
	}
}

func TestKeys(t *testing.T) {
	large := Key{Namespace: "a_b", Partition: 1023, Branch: "x_1", Before: Position{1700000000000, 12}, Last: Position{1700000000000, 13}}
	backwards, first := large, large
	backwards.Last, first.Before = large.Before, Position{}
	for _, k := range []Key{saleKey, {Namespace: "..", Partition: 1023, Branch: "x", Before: Position{1700000000000, 12}}, {Namespace: "a_b", Partition: 1023, Branch: "x", Before: Position{1700000000000, 12}}, large} {
		if is, err := ParseKey(k.String()); err != nil || is != k {
			t.Errorf("%s was read as %+v, %v", k, is, err)
		}
	}
	for _, s := range []string{"", "x", "namespace=shop/partition=1/branch=b/x.parquet", "namespace=shop/partition=01/branch=b/" + (Position{}).inKey() + suffix, saleKey.String() + "x", backwards.String(), first.String()} {
		if k, err := ParseKey(s); err == nil {
			t.Errorf("%q was read as %+v", s, k)
		}
	}
	if a, b := (Key{Before: Position{9, 10}}), (Key{Before: Position{10, 9}}); a.String() > b.String() {
		t.Error("keys do not sort as positions do")
	}
}

func TestFolder(t *testing.T) {
	ctx, root := context.Background(), t.TempDir()
	open := func() Bucket {
		b, err := Open(ctx, "file://"+root)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// Of many that write one key at the same time, as processes do that know nothing of each other, one does; and its object stays.
	const many = 16
	written := make(chan string, many)
	done := make(chan struct{})
	for i := range many {
		go func() {
			body := strings.Repeat(strconv.Itoa(i%10), 100_000)
			err := open().Put(ctx, saleKey.String(), []byte(body))
			if err == nil {
				written <- body
			} else if !errors.Is(err, ErrExists) {
				t.Errorf("writing: %v", err)
			}
			done <- struct{}{}
		}()
	}
	for range many {
		<-done
	}
	if len(written) != 1 {
		t.Fatalf("%d have written it", len(written))
	}
	b := open()
	if body, err := b.Get(ctx, saleKey.String()); err != nil || string(body) != <-written {
		t.Errorf("what is stored is another one's, %v", err)
	}
	if _, err := b.Get(ctx, "namespace=shop/none"); !errors.Is(err, ErrMissing) {
		t.Errorf("what is missing: %v", err)
	}
	if err := b.Put(ctx, "namespace=shop2/x", nil); err != nil {
		t.Fatal(err)
	}
	var listed []string
	if err := b.List(ctx, "namespace=shop/", func(o Object) error {
		listed = append(listed, fmt.Sprint(o.Key, " ", o.Size))
		return nil
	}); err != nil || !slices.Equal(listed, []string{saleKey.String() + " 100000"}) {
		t.Errorf("listed %v, %v", listed, err)
	}
	for range 2 { // the second time there is none
		if err := b.Delete(ctx, saleKey.String()); err != nil {
			t.Errorf("removing: %v", err)
		}
		if _, err := b.Get(ctx, saleKey.String()); !errors.Is(err, ErrMissing) {
			t.Errorf("what was removed: %v", err)
		}
	}
	if err := b.List(ctx, "namespace=", func(o Object) error {
		if age := time.Since(o.Written); o.Key != "namespace=shop2/x" || age < -time.Minute || age > time.Hour {
			t.Errorf("listed %+v", o)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestCheckURL(t *testing.T) {
	for _, good := range []string{"file:///var/lib/holdfast", "s3://tickets?region=eu-central-1", "s3://tickets/holdfast/live?region=eu-central-1&endpoint=http://127.0.0.1:9000"} {
		if err := CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "/var/lib", "file://host/x", "file:", "file:///x?y=z", "gs://tickets", "s3:///x", "s3://key:secret@tickets", "%"} {
		err := CheckURL(bad)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
