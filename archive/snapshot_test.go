package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/domain"
)

// sell adds the facts of a sale to a server's log: every call those of three orders more, of which one is sold, one cancelled, and one named an event that
// there is not.
func sell(s *server) {
	if len(s.entries) == 0 {
		s.fact("listed", `e1|{"name":"Jazz","currency":"EUR","max_per_customer":6,"sections":[{"section":"stalls","capacity":1000,"price":4500}]}`)
	}
	n := len(s.entries)
	order := func(i int) string { return "o" + strconv.Itoa(n+i) }
	s.fact("held", fmt.Sprintf("e1/%s|p|b083c26c75bd146e|amy%d|stalls:2:4500|EUR|120000\ne1/%s|p|b083c26c75bd146f|bob%d|stalls:1:4500|EUR|120000", order(0), n, order(1), n))
	s.fact("confirmed", fmt.Sprintf("e1/%s|amy%d|stalls:2:4500|EUR|auth_%d", order(0), n, n))
	s.fact("cancelled", fmt.Sprintf("e1/%s|requested|held|bob%d|stalls:1:4500|EUR|0", order(1), n))
	s.fact("rejected", fmt.Sprintf("e9/%s|p|b083c26c75bd146e|fred|stalls:2:0|unknown_event|", order(2)))
}

func (s *server) fact(kind, text string) {
	s.add("")
	s.entries[len(s.entries)-1].Fields = []string{kind, text}
}

// sold is an archive of a sale of so many segments, and who writes it.
func sold(t *testing.T, segments int) (*memory, **server, *Archiver) {
	t.Helper()
	s := &server{branch: "b0"}
	bucket := newMemory()
	a := NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "w")
	for range segments {
		sell(s)
		drain(t, a, &s)
	}
	return bucket, &s, a
}

// folded is what the log of a server folds to, up to an entry.
func folded(t rapid.TB, s *server, upTo string) *domain.Snapshot {
	t.Helper()
	book := domain.NewSnapshot()
	for _, e := range s.whole() {
		if _, err := foldEntry(book, e, "", false, nil); err != nil {
			t.Fatal(err)
		}
		if e.ID == upTo {
			return book
		}
	}
	t.Fatalf("the log has no entry %s", upTo)
	return nil
}

func taken(t rapid.TB, bucket Bucket) Taken {
	t.Helper()
	var is Taken
	if err := NewReader(bucket, "shop").TakeSnapshots(context.Background(), Options{}, func(one Taken) error {
		is = one
		return nil
	}); err != nil {
		t.Fatalf("taking a snapshot: %v", err)
	}
	return is
}

// past is what is archived up to the mark of a server, and the snapshot that it begins with.
func past(t rapid.TB, bucket Bucket, s *server, notBehind string) (from domain.ArchivedBook, book *domain.Snapshot, err error) {
	t.Helper()
	err = NewReader(bucket, "shop").Past(context.Background(), 0, s.mark, notBehind, func(begin domain.ArchivedBook) {
		from, book = begin, begin.Book
	}, func(e domain.Entry) error {
		_, err := foldEntry(book, e, "", false, nil)
		return err
	})
	return from, book, err
}

const whole = "18446744073709551615-0" // behind all

// wantSameBook fails unless two books are the same.
func wantSameBook(t rapid.TB, got, want *domain.Snapshot) {
	t.Helper()
	var is, should tally
	is.add(got)
	should.add(want)
	if is != should {
		t.Errorf("the book is\n%+v, want\n%+v", got, want)
	}
}

func TestSnapshotsAreWhatTheSegmentsFoldTo(t *testing.T) {
	bucket, s, a := sold(t, 3)
	first := taken(t, bucket)
	if last := (*s).entries[len((*s).entries)-1].ID; !first.New || first.Last != last || first.Folded != first.Facts || first.Events != 1 || first.Orders != 9 {
		t.Errorf("the first one: %+v, the log ends at %s", first, last)
	}
	if again := taken(t, bucket); again.New || again.Snapshot != first.Snapshot || again.Folded != 0 || again.Facts != first.Facts {
		t.Errorf("of nothing new: %+v", again)
	}
	sell(*s)
	sell(*s)
	drain(t, a, s)
	second := taken(t, bucket)
	if !second.New || second.Folded != 10 || second.Facts != first.Facts+10 || second.Orders != 15 {
		t.Errorf("the second one: %+v", second)
	}
	sell(*s)
	drain(t, a, s)
	want := folded(t, *s, (*s).mark.Position)
	for notBehind, snapshot := range map[string]string{whole: second.Snapshot, second.Last: second.Snapshot, first.Last: first.Snapshot, "0-0": ""} {
		from, book, err := past(t, bucket, *s, notBehind)
		if err != nil || from.Snapshot != snapshot {
			t.Errorf("not behind %s: %v, it begins with %q, want %q", notBehind, err, from.Snapshot, snapshot)
		}
		wantSameBook(t, book, want)
	}
	report, err := NewReader(bucket, "shop").Verify(t.Context(), nil)
	if err != nil || !report.OK || report.Snapshots != 2 {
		t.Errorf("verified: %+v, %v", report, err)
	}
	branches, err := NewReader(bucket, "shop").Branches(t.Context())
	if err != nil || len(branches) != 1 || branches[0].Snapshots != 2 || branches[0].Snapshot != second.Last || branches[0].Segments != 5 {
		t.Errorf("listed: %+v, %v", branches, err)
	}
	wantArchived(t, bucket, *s)
}

// The mark in Redis says where the archive ends: what is missing before it, or is another thing, is named.
func TestPastEndsAtTheMark(t *testing.T) {
	bucket, s, a := sold(t, 2)
	before, at := (*s).copy(), taken(t, bucket)
	sell(*s)
	drain(t, a, s)
	taken(t, bucket)
	for _, notBehind := range []string{whole, "0-0"} { // the mark may be an older one than the archive's end, in a copy of Redis
		from, book, err := past(t, bucket, before, notBehind)
		if err != nil || notBehind == whole && from.Snapshot != at.Snapshot {
			t.Errorf("up to an older mark, it begins with %q: %v", from.Snapshot, err)
		}
		wantSameBook(t, book, folded(t, before, before.mark.Position))
	}
	// A restore that was cut within a segment leaves a mark there: what the segment has behind it is not of that log.
	for i, e := range (*s).entries {
		cut := (*s).copy()
		key := slices.IndexFunc(before.entries, func(e domain.Entry) bool { return e.ID == before.mark.Position })
		if i > key {
			cut.mark.Position = e.ID
			_, book, err := past(t, bucket, cut, whole)
			if err != nil {
				t.Errorf("cut at %s: %v", e.ID, err)
			}
			wantSameBook(t, book, folded(t, cut, e.ID))
		}
	}
	other := (*s).copy()
	other.mark.Hash = strings.Repeat("0", 64)
	if _, _, err := past(t, bucket, other, whole); domain.ClassOf(err) != domain.ClassPoison || !strings.Contains(err.Error(), other.mark.Segment) {
		t.Errorf("of another hash: %v", err)
	}
	other = (*s).copy()
	other.mark.Segment, other.mark.Position = "elsewhere", "1999999999999-0"
	if _, _, err := past(t, bucket, other, whole); domain.ClassOf(err) != domain.ClassPoison || !strings.Contains(err.Error(), "elsewhere is missing") {
		t.Errorf("of a segment that is not there: %v", err)
	}
	bucket.around = func(string) error { return errors.New("503") }
	if _, _, err := past(t, bucket, *s, whole); err == nil || domain.ClassOf(err) == domain.ClassPoison {
		t.Errorf("of a store that fails: %v", err)
	}
}

// What a branch has behind where another one goes on is abandoned, and so are snapshots that have it.
func TestSnapshotsOfABranchThatWasLeft(t *testing.T) {
	bucket, s, a := sold(t, 1)
	before := taken(t, bucket)
	common := len((*s).entries)
	sell(*s)
	drain(t, a, s)
	abandoned := taken(t, bucket)
	r := *s
	r.entries = r.entries[:common+1]
	r.mark = domain.ArchiveMark{}
	r.begin("b1")
	r.fact("rejected", "e9/new|p|b083c26c75bd146e|fred|stalls:2:0|unknown_event|")
	drain(t, NewArchiver(&source{server: s, around: quiet, begun: new(int)}, bucket, "w"), s)
	from, book, err := past(t, bucket, r, whole)
	if err != nil || from.Snapshot != before.Snapshot {
		t.Fatalf("it begins with %q, want %q, not %q: %v", from.Snapshot, before.Snapshot, abandoned.Snapshot, err)
	}
	wantSameBook(t, book, folded(t, r, r.mark.Position))
	if is := taken(t, bucket); !is.New || is.Branch != "b1" || is.Folded != 3 {
		t.Errorf("taken: %+v", is)
	}
	if report, err := NewReader(bucket, "shop").Verify(t.Context(), nil); err != nil || !report.OK || report.Snapshots != 3 {
		t.Errorf("verified: %+v, %v", report, err)
	}
}

// rewrite changes what the head of a snapshot says, and seals it.
func rewrite(t testing.TB, body []byte, change func(*head)) []byte {
	t.Helper()
	said, _, _ := strings.Cut(string(body), "\n")
	var h head
	if err := json.Unmarshal([]byte(said), &h); err != nil {
		t.Fatal(err)
	}
	change(&h)
	body, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// A snapshot that is damaged, or of another position or branch, is named, and never used: the one before it is.
func TestDamagedSnapshotsAreNamedAndNotUsed(t *testing.T) {
	bucket, s, a := sold(t, 2)
	older := taken(t, bucket)
	sell(*s)
	drain(t, a, s)
	newer := taken(t, bucket)
	want := folded(t, *s, (*s).mark.Position)
	sealed := maps.Clone(bucket.objects)
	piece := ""
	for key := range sealed {
		if at, isPiece, ok := parseSnapshotKey(key); ok && isPiece && at.At.String() == newer.Last {
			piece = key
		}
	}
	other, _, _ := parseSnapshotKey(newer.Snapshot)
	other.Branch = "b9"
	for what, do := range map[string]func(o map[string][]byte){
		"the head is cut":             func(o map[string][]byte) { o[newer.Snapshot] = o[newer.Snapshot][:20] },
		"the head is empty":           func(o map[string][]byte) { o[newer.Snapshot] = nil },
		"a piece is missing":          func(o map[string][]byte) { delete(o, piece) },
		"a piece is cut":              func(o map[string][]byte) { o[piece] = o[piece][:len(o[piece])-3] },
		"a bit of a piece is flipped": func(o map[string][]byte) { o[piece] = slices.Clone(o[piece]); o[piece][len(o[piece])/2] ^= 4 },
		"a piece says something else": func(o map[string][]byte) {
			part, err := decodePart(o[piece])
			if err != nil {
				t.Fatal(err)
			}
			for ref, order := range part.Orders {
				order.Detail = "something else"
				part.Orders[ref] = order
			}
			if o[piece], err = encodePart(part); err != nil || len(part.Orders) == 0 {
				t.Fatal(err)
			}
		},
		"it is that of the one before": func(o map[string][]byte) { o[newer.Snapshot] = o[older.Snapshot] },
		"it is of another position": func(o map[string][]byte) {
			o[newer.Snapshot] = rewrite(t, o[older.Snapshot], func(h *head) { h.Last = newer.Last })
		},
		"it is of another segment": func(o map[string][]byte) {
			o[newer.Snapshot] = rewrite(t, o[newer.Snapshot], func(h *head) { h.Segment, h.SegmentHash = segmentOf(t, o[older.Snapshot]) })
		},
		"its segment was another": func(o map[string][]byte) {
			o[newer.Snapshot] = rewrite(t, o[newer.Snapshot], func(h *head) { h.SegmentHash = strings.Repeat("0", 64) })
		},
		"it lacks a piece": func(o map[string][]byte) {
			o[newer.Snapshot] = rewrite(t, o[newer.Snapshot], func(h *head) { h.Pieces = nil })
		},
		"it is of a branch that is not it": func(o map[string][]byte) { o[other.String()] = o[newer.Snapshot]; delete(o, newer.Snapshot) },
	} {
		broken := newMemory()
		broken.objects = maps.Clone(sealed)
		do(broken.objects)
		from, book, err := past(t, broken, *s, whole)
		if err != nil || from.Snapshot != older.Snapshot {
			t.Errorf("%s: it begins with %q: %v", what, from.Snapshot, err)
			continue
		}
		wantSameBook(t, book, want)
		if _, elsewhere := broken.objects[other.String()]; elsewhere {
			continue // a branch without segments is none
		}
		report, err := NewReader(broken, "shop").Verify(t.Context(), nil)
		if err != nil || report.OK || report.Snapshots != 1 || len(report.Faults) != 1 || report.Faults[0].Subject != newer.Snapshot {
			t.Errorf("%s: verified: %+v, %v", what, report, err)
		}
		err = NewReader(broken, "shop").TakeSnapshots(t.Context(), Options{}, func(Taken) error { return nil })
		if err == nil && what != "a piece is missing" || err != nil && !strings.Contains(err.Error(), newer.Snapshot) {
			t.Errorf("%s: another one is taken: %v", what, err)
		}
	}
	// One of another version of this program is nothing that is wrong.
	broken := newMemory()
	broken.objects = maps.Clone(sealed)
	broken.objects[newer.Snapshot] = rewrite(t, sealed[newer.Snapshot], func(h *head) { h.Format++ })
	if from, _, err := past(t, broken, *s, whole); err != nil || from.Snapshot != older.Snapshot {
		t.Errorf("of another format: it begins with %q: %v", from.Snapshot, err)
	}
	if report, err := NewReader(broken, "shop").Verify(t.Context(), nil); err != nil || !report.OK || report.Snapshots != 1 {
		t.Errorf("of another format: %+v, %v", report, err)
	}
}

// Where another version of this program has taken a snapshot this one takes none, and none is said to be there; it goes on behind it.
func TestASnapshotOfAnotherVersionIsInNobodysWay(t *testing.T) {
	bucket, s, a := sold(t, 4)
	take := func() (is Taken) {
		t.Helper()
		if err := NewReader(bucket, "shop").TakeSnapshots(t.Context(), Options{AtOnce: 1}, func(one Taken) error {
			is = one
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return is
	}
	take()
	for key, body := range bucket.objects { // one at each segment
		if _, isPiece, ok := parseSnapshotKey(key); ok && !isPiece {
			bucket.objects[key] = rewrite(t, body, func(h *head) { h.Format++ })
		}
	}
	if is := take(); is.New || is.Snapshot != "" || len(is.Passed) != 1 {
		t.Errorf("nothing more is archived: %+v", is)
	}
	for range 2 {
		if is, lag, err := a.Snapshot(t.Context(), 0, 0); err != nil || is || !lag.None {
			t.Errorf("a worker, of nothing more: %t, %+v, %v", is, lag, err)
		}
	}
	sell(*s)
	drain(t, a, s)
	aside := maps.Clone(bucket.objects)
	for who, take := range map[string]func(){
		"all at once": func() { taken(t, bucket) },
		"in steps":    func() { take() },
		"a worker": func() {
			if is, lag, err := a.Snapshot(t.Context(), 0, 0); err != nil || !is || lag != (domain.SnapshotLag{}) {
				t.Errorf("taken: %t, %+v, %v", is, lag, err)
			}
		},
	} {
		bucket.objects = maps.Clone(aside)
		take()
		from, book, err := past(t, bucket, *s, whole)
		if err != nil || from.Last != (*s).mark.Position {
			t.Errorf("%s: it begins with %q: %v", who, from.Snapshot, err)
		}
		wantSameBook(t, book, folded(t, *s, (*s).mark.Position))
	}
}

func segmentOf(t testing.TB, body []byte) (key, hash string) {
	t.Helper()
	rewrite(t, body, func(h *head) { key, hash = h.Segment, h.SegmentHash })
	return key, hash
}

// What is stored under the key of a snapshot is compared with what was folded, whoever has written it, and not taken for one's own lost reply.
func TestASnapshotThatIsThereIsNotTakenForOnesOwn(t *testing.T) {
	bucket, s, _ := sold(t, 2)
	is := taken(t, bucket)
	key, _, _ := parseSnapshotKey(is.Snapshot)
	for what, change := range map[string]func(*domain.Snapshot){
		"an order is missing": func(b *domain.Snapshot) { delete(b.Orders, refsOf(b)[0]) },
		"an order is another": func(b *domain.Snapshot) { b.Orders[refsOf(b)[0]] = domain.Order{State: domain.OrderExpired} },
		"there is one more":   func(b *domain.Snapshot) { b.Orders[domain.OrderRef{EventID: "e1", OrderID: "more"}] = domain.Order{} },
		"a customer has more": func(b *domain.Snapshot) { b.Places["e1"]["amy0"]++ },
	} {
		forged := newMemory()
		forged.objects = maps.Clone(bucket.objects)
		delete(forged.objects, is.Snapshot)
		book := folded(t, *s, is.Last)
		change(book)
		part, err := encodePart(book)
		if err != nil {
			t.Fatal(err)
		}
		forged.objects[key.piece(hashOf(part))] = part
		forged.objects[is.Snapshot] = rewrite(t, bucket.objects[is.Snapshot], func(h *head) { h.Pieces, h.Orders = []string{hashOf(part)}, len(book.Orders) })
		forged.lately = []string{is.Snapshot}
		forged.around = func(call string) error { // whoever writes does not know of it
			if call == "list" {
				return errTruncated
			}
			return nil
		}
		err = NewReader(forged, "shop").TakeSnapshots(t.Context(), Options{}, func(Taken) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "not what the segments fold to") {
			t.Errorf("%s: taken: %v", what, err)
		}
	}
}

// Whatever fails at whichever call, once or until the process dies, there is no snapshot, or a whole one; and the next run takes it.
func TestTakingASnapshotFailsAtEveryCall(t *testing.T) {
	for i, failure := range []error{errors.New("500"), errTruncated, errDied, errors.New("500"), errTruncated, errDied} {
		for at := 0; ; at++ {
			bucket, s, a := sold(t, 2)
			snapshots := 1
			if i > 2 { // on one that there is
				taken(t, bucket)
				sell(*s)
				drain(t, a, s)
				snapshots++
			}
			calls := failing{at: at, failure: failure}
			bucket.around = calls.around
			failed := NewReader(bucket, "shop").TakeSnapshots(t.Context(), Options{}, func(Taken) error { return nil })
			bucket.around = quiet
			report, err := NewReader(bucket, "shop").Verify(t.Context(), nil)
			stale := calls.last == "list" && errors.Is(failure, errTruncated) // what is not listed is not known
			if err != nil || !report.OK || failed == nil && report.Snapshots != snapshots && !stale {
				t.Fatalf("%v at call %d: %v; verified %+v, %v", failure, at, failed, report, err)
			}
			is := taken(t, bucket)
			from, book, err := past(t, bucket, *s, whole)
			if err != nil || from.Snapshot != is.Snapshot || from.Snapshot == "" {
				t.Fatalf("%v at call %d: then it begins with %q: %v", failure, at, from.Snapshot, err)
			}
			wantSameBook(t, book, folded(t, *s, is.Last))
			if calls.seen <= at {
				break
			}
		}
	}
}

// A log that cannot have been is folded into no snapshot.
func TestNoSnapshotOfWhatCannotHaveBeen(t *testing.T) {
	for what, text := range map[string][2]string{
		"a fact that does not follow": {"confirmed", "e1/o99|amy|stalls:2:4500|EUR|auth"},
		"a fact of a later program":   {"of a later program", "e1/o1"},
	} {
		bucket, s, a := sold(t, 1)
		(*s).fact(text[0], text[1])
		drain(t, a, s)
		err := NewReader(bucket, "shop").TakeSnapshots(t.Context(), Options{}, func(Taken) error { return nil })
		if report, verified := NewReader(bucket, "shop").Verify(t.Context(), nil); err == nil || verified != nil || report.Snapshots != 0 {
			t.Errorf("%s: taken: %v, %+v", what, err, report)
		}
	}
}

// fill gives everything that a value consists of a value that is none else's.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString("\xff" + strconv.FormatInt(*n, 10))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(*n)
	case reflect.Uint8:
		v.SetUint(uint64(*n%255 + 1)) //nolint:gosec // positive
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 3 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, n)
			fill(value, n)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() { // what is not exported can be told from the rest
				fill(v.Field(i), n)
			}
		}
	default:
		panic("a state has a " + v.Kind().String())
	}
}

// Every field of the state comes back as it was, byte for byte.
func TestPartsOfABook(t *testing.T) {
	book := domain.NewSnapshot()
	var n int64
	fill(reflect.ValueOf(book).Elem(), &n)
	for ref := range book.Early {
		book.Orders[ref] = domain.Order{State: domain.OrderRejected, Detail: strings.Repeat("x", pieceBytes)} // more than one piece
	}
	back, pieces := domain.NewSnapshot(), 0
	if err := parts(book, func(part *domain.Snapshot) error {
		pieces++
		body, err := encodePart(part)
		if err != nil {
			return err
		}
		if part, err = decodePart(body); err == nil {
			add(back, part)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if pieces != 4 || !reflect.DeepEqual(back, book) {
		t.Errorf("%d pieces; it came back as\n%+v, it was\n%+v", pieces, back, book)
	}
}

// A snapshot has the state in the form that it has in this program: if that changes, so must snapshotFormat.
func TestSnapshotFormat(t *testing.T) {
	var shape func(reflect.Type) string
	shape = func(of reflect.Type) string {
		switch of.Kind() {
		case reflect.Struct:
			var all []string
			for i := range of.NumField() {
				if of.Field(i).IsExported() {
					all = append(all, of.Field(i).Name+" "+shape(of.Field(i).Type))
				}
			}
			return "{" + strings.Join(all, ", ") + "}"
		case reflect.Map:
			return "[" + shape(of.Key()) + "]" + shape(of.Elem())
		case reflect.Slice:
			return "[]" + shape(of.Elem())
		}
		return of.Kind().String()
	}
	is := shape(reflect.TypeFor[domain.Snapshot]()) + shape(reflect.TypeFor[storedPart]())
	if want := map[int]string{1: "af8ca91020b63843", 2: "17516324618db246", 3: "d889524bb5768671"}[snapshotFormat]; hashOf([]byte(is))[:16] != want {
		t.Errorf("the state consists of %s (%s), snapshots of format %d of what is %s: give snapshotFormat, and this list, the next number", is, hashOf([]byte(is))[:16], snapshotFormat, want)
	}
}
