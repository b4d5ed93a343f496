package streams

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/streamstest"
)

// BenchmarkLedger is what Redis needs for an order in hold.lua and in move.lua, of batches of so many orders of so many
// events: the median of all calls, since others share the machine.
//
//	go test ./streams -run '^$' -bench Ledger -benchtime 1x
func BenchmarkLedger(b *testing.B) {
	for _, size := range []int{1, 8, 128, 512} {
		for _, events := range []int{1, 25, 512} {
			if events > 1 && (events == 512) != (size == 512) && size < 128 {
				continue
			}
			b.Run(fmt.Sprintf("batch=%d/events=%d", size, events), func(b *testing.B) {
				for range b.N {
					benchmarkLedger(b, size, events)
				}
			})
		}
	}
}

var evalshaUsec = regexp.MustCompile(`cmdstat_evalsha:calls=\d+,usec=(\d+)`)

// BenchmarkSeatedLedger is the same for 2 places of a hot event, in batches of 128, while its sections are sold from the first seat to the last: counted
// ones; 2 seats by name; the best 2 that are side by side. And the longest of all calls.
//
//	go test ./streams -run '^$' -bench SeatedLedger -benchtime 1x
func BenchmarkSeatedLedger(b *testing.B) {
	for _, sale := range []string{"counted", "named", "best"} {
		b.Run(sale, func(b *testing.B) {
			for range b.N {
				benchmarkSeatedLedger(b, sale)
			}
		})
	}
}

func benchmarkSeatedLedger(b *testing.B, sale string) {
	store, err := Open(b.Context(), streamstest.Server().URL(), Options{Create: true, Partitions: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	f := fixtureOf(b.Context(), b, store)
	spent := func() float64 {
		usec, err := strconv.ParseFloat(evalshaUsec.FindStringSubmatch(f.Client.Info(f.Ctx, "commandstats").Val())[1], 64)
		f.Must(err)
		return usec
	}
	const rounds, rows, row, size = 12, 80, 25, 128 // 2,000 seats
	random := rand.New(rand.NewPCG(1, 2))
	hold, move, longest := math.Inf(1), math.Inf(1), math.Inf(1)
	now, n := f.Now(), 0
	for round := range rounds {
		id := fmt.Sprintf("event-%s-%d", sale, round)
		section := domain.SectionTerms{Name: "stalls", Price: 4500, Capacity: rows * row}
		var names [][]string
		if sale != "counted" {
			var text []string
			for r := range rows {
				text = append(text, fmt.Sprintf("R%d:1-%d", r+1, row))
				for first := 1; first < row; first += 2 {
					names = append(names, []string{fmt.Sprintf("R%d-%d", r+1, first), fmt.Sprintf("R%d-%d", r+1, first+1)})
				}
			}
			section = seatedSection("stalls", strings.Join(text, ","))
		}
		random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		f.list(id, domain.Terms{Name: "E", Currency: "EUR", Sections: []domain.SectionTerms{section}})
		var holds, moves, call, orders float64
		for sold := 0; sold+size <= rows*(row/2); sold += size {
			batch := make([]domain.Incoming, size)
			for i := range batch {
				n++
				r := domain.Request{
					Type: domain.RequestPurchase, EventID: id, OrderID: fmt.Sprintf("0198c0de-0000-7000-8000-%012d", n), CustomerID: fmt.Sprintf("c%07d", n),
					Section: "stalls", Quantity: 2, Fingerprint: "b083c26c75bd146e",
				}
				if sale == "named" {
					r.Quantity, r.Seats = 0, names[sold+i]
				}
				batch[i] = domain.Incoming{EntryID: fmt.Sprintf("%d-%d", now, n), Request: r, HoldMillis: 480_000, ValidMillis: 600_000}
			}
			from := spent()
			replies, _, err := f.ledger.Hold(f.Ctx, 0, batch)
			f.Must(err)
			between := spent()
			resolutions := make([]domain.Resolution, size)
			for i, r := range replies {
				if r.Verdict != domain.VerdictAuthorize {
					b.Fatalf("%+v", r)
				}
				resolutions[i] = domain.Resolution{Attempt: 1, EntryID: batch[i].EntryID, Ref: batch[i].Request.Ref(), Order: r.Order, Outcome: domain.PaymentApproved, AuthorizationID: "auth-" + strconv.Itoa(n)}
			}
			random.Shuffle(size, func(i, j int) { resolutions[i], resolutions[j] = resolutions[j], resolutions[i] })
			_, _, err = f.ledger.Resolve(f.Ctx, 0, resolutions)
			f.Must(err)
			end := spent()
			holds, moves, call, orders = holds+between-from, moves+end-between, max(call, between-from, end-between), orders+size
		}
		hold, move, longest = min(hold, holds/orders), min(move, moves/orders), min(longest, call)
	}
	b.ReportMetric(hold, "hold-µs/order")
	b.ReportMetric(move, "move-µs/order")
	b.ReportMetric(hold+move, "redis-µs/order")
	b.ReportMetric(longest, "longest-µs")
	b.ReportMetric(0, "ns/op")
}

func benchmarkLedger(b *testing.B, size, events int) {
	server := streamstest.Server()
	store, err := Open(b.Context(), server.URL(), Options{Create: true, Partitions: 4})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	f := fixtureOf(b.Context(), b, store)
	var ids []string
	for n := 0; len(ids) < events; n++ {
		if id := "event-" + strconv.Itoa(n); store.Partition(id) == 0 {
			ids = append(ids, id)
			_, err := f.events.Create(f.Ctx, id, terms(1_000_000))
			f.Must(err)
		}
	}
	spent := func() float64 {
		usec, err := strconv.ParseFloat(evalshaUsec.FindStringSubmatch(f.Client.Info(f.Ctx, "commandstats").Val())[1], 64)
		f.Must(err)
		return usec
	}
	const rounds, ordersOfRound = 12, 4096
	var holds, moves []float64 // of an order, by call
	now := f.Now()
	n := 0
	for range rounds {
		calls := max(1, ordersOfRound/size)
		for range min(calls, 1024) {
			batch := make([]domain.Incoming, size)
			for i := range batch {
				n++
				r, err := wire.ParseRequest(purchase(ids[n%events], fmt.Sprintf("0198c0de-0000-7000-8000-%012d", n), fmt.Sprintf("c%07d", n), 2))
				f.Must(err)
				batch[i] = domain.Incoming{EntryID: fmt.Sprintf("%d-%d", now, n), Request: r, HoldMillis: 480_000, ValidMillis: 600_000}
			}
			from := spent()
			replies, _, err := f.ledger.Hold(f.Ctx, 0, batch)
			f.Must(err)
			between := spent()
			resolutions := make([]domain.Resolution, size)
			for i, r := range replies {
				if r.Verdict != domain.VerdictAuthorize {
					b.Fatalf("%+v", r)
				}
				resolutions[i] = domain.Resolution{Attempt: 1, EntryID: batch[i].EntryID, Ref: batch[i].Request.Ref(), Order: r.Order, Outcome: domain.PaymentApproved, AuthorizationID: "auth-" + strconv.Itoa(n)}
			}
			_, _, err = f.ledger.Resolve(f.Ctx, 0, resolutions)
			f.Must(err)
			holds, moves = append(holds, (between-from)/float64(size)), append(moves, (spent()-between)/float64(size))
		}
	}
	slices.Sort(holds)
	slices.Sort(moves)
	hold, move := holds[len(holds)/2], moves[len(moves)/2]
	b.ReportMetric(hold, "hold-µs/order")
	b.ReportMetric(move, "move-µs/order")
	b.ReportMetric(hold+move, "redis-µs/order")
	b.ReportMetric(0, "ns/op")
}
