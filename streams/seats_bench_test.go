package streams

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain/seats"
	"holdfast/streams/internal/streamstest"
)

// scriptSell sells seats of one section as hold and move will: KEYS[1] is a hash with its places; ARGV[1] is hold or
// confirm; and then, for each request, how many of the best it wants, or which ones. Reply: which ones they got.
var scriptSell = redis.NewScript(read("scripts/lib/seats.lua") + `
local seats = use_seats()
local s, reply = seats.open(redis.call('HGET', KEYS[1], 'places')), {}
for i = 2, #ARGV do
  local n = tonumber(ARGV[i])
  if ARGV[1] == 'confirm' then
    seats.change(s, seats.list_of(ARGV[i]), '-', '+')
  elseif n then
    local list = seats.take_best(s, '.', n, false, '-')
    reply[#reply + 1] = list and seats.text_of(list)
  elseif not seats.take_named(s, seats.list_of(ARGV[i]), '.', false, '-') then
    reply[#reply + 1] = ARGV[i]
  end
end
if seats.changed(s) then
  redis.call('HSET', KEYS[1], 'places', seats.places_of(s))
end
return reply
`)

// BenchmarkSeats is what Redis needs for a request, its share of the call and of the writing included, in batches of so
// many, while a section is sold from its first seat to its last: on average; of the last tenth of the requests; and to
// confirm them. And the longest of all calls.
//
//	go test ./streams -run '^$' -bench Seats -benchtime 1x
func BenchmarkSeats(b *testing.B) {
	for _, size := range []int{1, 8, 128} {
		for _, hall := range []struct{ rows, row int }{{80, 25}, {80, 26}, {200, 50}} {
			for _, sale := range []string{"named=2", "best=2", "best=1,2", "best=1,2,3,4,5,6,7,8"} {
				b.Run(fmt.Sprintf("batch=%d/rows=%dx%d/%s", size, hall.rows, hall.row, sale), func(b *testing.B) {
					for range b.N {
						benchmarkSeats(b, size, hall.rows, hall.row, sale)
					}
				})
			}
		}
	}
}

func benchmarkSeats(b *testing.B, size, rows, row int, sale string) {
	rdb := streamstest.Server().Client()
	defer func() { _ = rdb.Close() }()
	if err := scriptSell.Load(b.Context(), rdb).Err(); err != nil {
		b.Fatal(err)
	}
	spent := func() float64 {
		found := evalshaUsec.FindStringSubmatch(rdb.Info(b.Context(), "commandstats").Val())
		if found == nil {
			return 0
		}
		usec, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			b.Fatal(err)
		}
		return usec
	}
	longest := math.Inf(1) // of the calls of a round, and of those the least
	// sell returns which seats were got, and what a request took, on average and in the end.
	sell := func(what string, requests []string) (got []string, average, late float64) {
		var total, call float64
		var calls []float64
		for from := 0; from < len(requests); from += size {
			batch := []any{what}
			for _, request := range requests[from:min(from+size, len(requests))] {
				batch = append(batch, request)
			}
			before := spent()
			list, err := scriptSell.EvalSha(b.Context(), rdb, []string{"{b}"}, batch...).StringSlice()
			if err != nil {
				b.Fatal(err)
			}
			took := spent() - before
			total, call, got = total+took, max(call, took), append(got, list...)
			calls = append(calls, took)
		}
		longest = min(longest, call)
		first := (len(calls)*9 - 1) / 10
		for _, took := range calls[first:] {
			late += took
		}
		return got, total / float64(len(requests)), late / float64(len(requests)-first*size)
	}
	random := rand.New(rand.NewPCG(1, 2))
	hold, late, confirm := math.Inf(1), math.Inf(1), math.Inf(1)
	const rounds = 5
	for range rounds {
		places := strings.TrimSuffix(strings.Repeat(strings.Repeat(".", row)+"/", rows), "/")
		if err := rdb.HSet(b.Context(), "{b}", "places", places).Err(); err != nil {
			b.Fatal(err)
		}
		got, average, end := sell("hold", requestsOf(random, sale, rows, row))
		random.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		_, confirmed, _ := sell("confirm", got)
		hold, late, confirm = min(hold, average), min(late, end), min(confirm, confirmed)
		left := rdb.HGet(b.Context(), "{b}", "places").Val()
		if free := strings.Count(left, "."); free > rows && row%2 == 1 || free > 10 && row%2 == 0 || strings.Contains(left, "-") {
			b.Fatalf("%d seats are left: %s", free, left)
		}
	}
	b.ReportMetric(hold, "hold-µs/order")
	b.ReportMetric(late, "late-hold-µs/order")
	b.ReportMetric(confirm, "confirm-µs/order")
	b.ReportMetric(longest, "longest-µs")
	b.ReportMetric(0, "ns/op")
}

// requestsOf are as many as sell a section out, but for what is less than the last of them wants.
func requestsOf(random *rand.Rand, sale string, rows, row int) (list []string) {
	if sale == "named=2" {
		for r := range rows {
			for first := 0; first+1 < row; first += 2 {
				list = append(list, seats.FormatPlaces([]int{r*(row+1) + first + 1, r*(row+1) + first + 2}))
			}
		}
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return list
	}
	sizes := strings.Split(strings.TrimPrefix(sale, "best="), ",")
	for left := rows * row; ; {
		size := sizes[random.IntN(len(sizes))]
		n, err := strconv.Atoi(size)
		if err != nil {
			panic(err)
		}
		if left -= n; left < 0 {
			return list
		}
		list = append(list, size)
	}
}
