package streams

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/e2e/torture"
	"holdfast/streams/internal/reference"
	"holdfast/streams/internal/streamstest"
)

// scriptSeats does what it is told with a section's places: ARGV[1] places, ARGV[2] a list of seatOp as JSON. Reply: what
// each came to, and the places then.
var scriptSeats = redis.NewScript(read("scripts/lib/seats.lua") + `
local seats = use_seats()
local s, reply = seats.open(ARGV[1]), {}
for n, op in ipairs(cjson.decode(ARGV[2])) do
  local list, reason, because = op.list and seats.list_of(op.list), nil, nil
  if op.what == 'best' then
    list, reason = seats.take_best(s, op.from, op.quantity, op.adjacent, op.to)
  elseif op.what == 'named' then
    reason, because = seats.take_named(s, list, op.from, op.strict, op.to)
  else
    local wrong = seats.change(s, list, op.from, op.to)
    reason, because = wrong and 'not as expected', wrong and { wrong, wrong }
  end
  reply[n] = (reason or 'ok') .. ' ' .. seats.text_of(reason and because or not reason and list or {})
end
local places = seats.places_of(s)
if not seats.changed(s) and places ~= ARGV[1] then
  error('changed, and does not say so')
end
reply[#reply + 1] = places
return reply
`)

// seatOp is best, named or change.
type seatOp struct {
	What     string `json:"what"`
	From     string `json:"from"` // the character that places must have
	To       string `json:"to"`
	List     string `json:"list,omitempty"`
	Quantity int    `json:"quantity,omitempty"`
	Adjacent bool   `json:"adjacent"`
	Strict   bool   `json:"strict"`
}

// TestTortureSeatsFollowTheRules lets random requests take seats of random sections and give them back, in a script
// and by package seats, and asks the second opinion what they should have come to: seat by seat, after each call.
func TestTortureSeatsFollowTheRules(t *testing.T) {
	tally := torture.Begin(t, 9, "random requests for seats in the scripts' way, the domain's and a second opinion's, all places compared after each")
	seed := torture.Seed(t)
	random := rand.New(rand.NewPCG(seed, 9))
	rdb := streamstest.Server().Client()
	t.Cleanup(func() { _ = rdb.Close() })
	seen := make(map[string]int)
	sequences := torture.Size(600, 20_000)
	for n := range sequences {
		s := &seatSequence{T: t, random: random, seen: seen, places: randomPlaces(random)}
		s.history = append(s.history, fmt.Sprintf("sequence %d begins with %q", n, s.places))
		for range 2 + random.IntN(6) {
			s.call(rdb)
		}
	}
	tally.Count("sequences", sequences)
	tally.Count("requests", seen["requests"])
	t.Logf("the sequences came to %v", seen)
	for _, what := range []string{
		"best ok", "best leaves one alone", "best scattered", "best sold_out", "best no_adjacent_seats", "best out of the middle of a run",
		"named ok", "named seat_taken", "named would_leave_orphan", "change ok", "change not as expected", "undone", "given back and taken again",
	} {
		if seen[what] == 0 {
			t.Errorf("none of the sequences came to %q", what)
		}
	}
}

// randomPlaces is a section: mostly a small one, for with few seats sequences come to its end.
func randomPlaces(random *rand.Rand) string {
	most := []int{5, 5, 5, 40}[random.IntN(4)]
	marks := []string{"....", "....+", "...a", "..-+!A a"}[random.IntN(4)]
	var rows []string
	for range 1 + random.IntN(most) {
		var row strings.Builder
		for range 1 + random.IntN(14) {
			row.WriteByte(marks[random.IntN(len(marks))])
		}
		rows = append(rows, row.String())
	}
	return strings.Join(rows, "/")
}

type seatSequence struct {
	*testing.T
	random  *rand.Rand
	seen    map[string]int
	places  string
	history []string
}

func (s *seatSequence) wrong(format string, args ...any) {
	s.Helper()
	s.Fatalf("%s\nafter\n%s", fmt.Sprintf(format, args...), strings.Join(s.history, "\n"))
}

// call makes some changes in one call of the script.
func (s *seatSequence) call(rdb *redis.Client) {
	before := s.places
	var ops []seatOp
	var want []string
	for range 1 + s.random.IntN(12+len(before)/8) {
		op := s.draw(ops, want)
		said := s.follow(op)
		ops, want = append(ops, op), append(want, said)
		s.seen["requests"]++
		what, _, _ := strings.Cut(said, "  ")
		s.seen[op.What+" "+strings.TrimRight(strings.TrimRight(what, "0123456789-."), " ")]++
	}
	text, err := json.Marshal(ops)
	if err != nil {
		s.Fatal(err)
	}
	s.history = append(s.history, fmt.Sprintf("%q: %s: %q", before, text, want))
	got, err := scriptSeats.Run(s.Context(), rdb, nil, before, text).StringSlice()
	if err != nil {
		s.wrong("%v", err)
	}
	if want = append(want, s.places); !slices.Equal(got, want) {
		s.wrong("the script says %q, want %q", got, want)
	}
	if len(s.history) > 3 {
		s.history = s.history[len(s.history)-3:]
	}
}

// draw is what comes next, behind what was done in this call.
func (s *seatSequence) draw(ops []seatOp, said []string) seatOp {
	free := []string{".", ".", ".", "a"}[s.random.IntN(4)]
	switch s.random.IntN(10) {
	case 0, 1, 2, 3, 4:
		quantity := []int{1, 1, 2, 2, 2, 3, 4, 5, 9}[s.random.IntN(9)]
		return seatOp{What: "best", From: free, To: "-", Quantity: quantity, Adjacent: s.random.IntN(3) > 0}
	case 5, 6:
		return seatOp{What: "named", From: free, To: "-", List: s.drawPlaces(free), Strict: s.random.IntN(2) == 0}
	case 7:
		// What was taken in this call, as a script does with the rest of an order that does not get all.
		if n := len(ops) - 1; n >= 0 && ops[n].What != "change" && strings.HasPrefix(said[n], "ok ") {
			s.seen["undone"]++
			return seatOp{What: "change", From: ops[n].To, To: ops[n].From, List: strings.TrimPrefix(said[n], "ok ")}
		}
	}
	from := []string{"-", "-", "+", ".", "!"}[s.random.IntN(5)]
	return seatOp{What: "change", From: from, To: []string{"+", ".", ".", "a", "!"}[s.random.IntN(5)], List: s.drawPlaces(from)}
}

// drawPlaces are some seats, mostly of that character.
func (s *seatSequence) drawPlaces(char string) string {
	var all, those, list []int
	for i := range len(s.places) {
		if _, seat := seats.StateOf(s.places[i]); seat {
			all = append(all, i+1)
			if s.places[i] == char[0] {
				those = append(those, i+1)
			}
		}
	}
	if len(all) == 0 {
		return "1"
	}
	if len(those) == 0 || s.random.IntN(8) == 0 {
		those = all
	}
	start := s.random.IntN(len(those))
	for k := range 1 + s.random.IntN(3) {
		list = append(list, those[(start+k*(1+s.random.IntN(2)))%len(those)])
	}
	slices.Sort(list)
	return seats.FormatPlaces(slices.Compact(list))
}

// follow is what the domain says to it, in the words of the script, and takes it over. The second opinion must agree.
func (s *seatSequence) follow(op seatOp) string {
	s.Helper()
	var list, because []int
	if op.List != "" {
		var err error
		if list, err = seats.ParsePlaces(op.List); err != nil {
			s.Fatalf("%s: %v", op.List, err)
		}
	}
	reason := ""
	if op.What == "change" {
		after, err := seats.Change(s.places, list, op.From[0], op.To[0])
		if err != nil {
			wrong := slices.IndexFunc(list, func(place int) bool { return s.places[place-1] != op.From[0] })
			if wrong < 0 || after != s.places {
				s.wrong("%+v: %v, %q", op, err, after)
			}
			return "not as expected " + strconv.Itoa(list[wrong])
		}
		if op.From == "-" && op.To == "." {
			s.seen["given back and taken again"]++
		}
		s.places = after
		return "ok " + op.List
	}
	wish := seats.Wish{Free: op.From[0], Named: list, Strict: op.Strict, Quantity: op.Quantity, Adjacent: op.Adjacent}
	before := s.places
	list, reason, because = seats.Choose(s.places, wish)
	s.second(op, wish, list, reason, because)
	if reason != "" {
		return reason + " " + seats.FormatPlaces(because)
	}
	after, err := seats.Change(s.places, list, op.From[0], op.To[0])
	if err != nil {
		s.wrong("%+v gets %v: %v", op, list, err)
	}
	s.places = after
	if op.What == "best" {
		s.note(before, op, list)
	}
	return "ok " + seats.FormatPlaces(list)
}

// note counts the ways in which best available seats are found.
func (s *seatSequence) note(before string, op seatOp, list []int) {
	first, last := list[0], list[len(list)-1]
	free := func(place int) bool { return place > 0 && place <= len(before) && before[place-1] == op.From[0] }
	switch {
	case last-first >= len(list):
		s.seen["best scattered"]++
	case free(last+1) && !free(last+2):
		s.seen["best leaves one alone"]++
	case free(last + 1):
		s.seen["best out of the middle of a run"]++
	}
}

// second compares with the second opinion.
func (s *seatSequence) second(op seatOp, wish seats.Wish, list []int, reason string, because []int) {
	s.Helper()
	all := reference.ReadSeats(s.places, wish.Free)
	var want []int
	if op.What == "best" {
		want = all.Best(wish.Quantity, wish.Adjacent)
		if (want == nil) != (reason != "") || !reflect.DeepEqual(want, list) {
			s.wrong("%+v of %q: %v %q, want %v", op, s.places, list, reason, want)
		}
		return
	}
	notFree, orphans := all.Named(wish.Named)
	switch {
	case len(notFree) > 0:
		want = notFree
	case wish.Strict:
		want = orphans
	}
	if (want == nil) != (reason == "") || !reflect.DeepEqual(want, because) || (reason == seats.ReasonSeatTaken) != (len(notFree) > 0) {
		s.wrong("%+v of %q: %q because of %v, want %v", op, s.places, reason, because, want)
	}
}

// TestVenueIsSmall: 80,000 seats in 60 sections, with aisles and rows of several lengths, are listed in one call and one fact, and
// take less than 200 kB: the fact, the layouts, and the places.
func TestVenueIsSmall(t *testing.T) {
	f := newFixture(t)
	venue := domain.Terms{Name: "A Venue", Currency: "EUR", NoOrphans: true}
	there := int64(0)
	for i := range 60 {
		var rows []string
		for r := range 48 {
			row := fmt.Sprintf("R%d", r+1)
			if r%8 == 0 {
				row += fmt.Sprintf(":1-%d/%d-%d", 8+i%3, 9+i%3, 25+r/8)
			}
			rows = append(rows, row)
		}
		l, err := seats.Parse(strings.Join(rows, ","))
		f.Must(err)
		there += int64(l.Seats())
		venue.Sections = append(venue.Sections, domain.SectionTerms{Name: fmt.Sprintf("section-%d", i), Price: 4500, Capacity: int64(l.Seats()), Layout: l.String()})
	}
	before := f.memory()
	f.list("venue", venue)
	bytes := f.memory() - before
	t.Logf("%d seats take %d bytes", there, bytes)
	if there < 78_000 || there > 82_000 || bytes*80_000/there >= 200_000 {
		t.Errorf("%d seats take %d bytes", there, bytes)
	}
	if facts, _ := f.facts(); len(facts) != 1 {
		t.Errorf("%d facts", len(facts))
	}
	f.wantLogFolds()
}

// memory is what all keys take, with all of their fields.
func (f *fixture) memory() (bytes int64) {
	f.Helper()
	keys, err := f.Client.Keys(f.Ctx, "*").Result()
	f.Must(err)
	for _, key := range keys {
		n, err := f.Client.MemoryUsage(f.Ctx, key, 0).Result() // 0: all of its fields
		f.Must(err)
		bytes += n
	}
	return bytes
}
