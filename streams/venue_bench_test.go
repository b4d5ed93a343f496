package streams

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams/internal/streamstest"
)

// BenchmarkVenue sells a venue of 80,000 seats in 60 sections from the first to the last, in batches of 128: the best 2 or 4 side by side of a section that
// the customer names. Rows have even runs, so until all is sold no seat may be left alone. It tells what Redis needs for an order, the longest call, and how many took
// longer than 5 ms (SLOWLOG).
//
//	go test ./streams -run '^$' -bench Venue -benchtime 1x
func BenchmarkVenue(b *testing.B) {
	for range b.N {
		benchmarkVenue(b)
	}
}

func benchmarkVenue(b *testing.B) {
	store, err := Open(b.Context(), streamstest.Server().URL(), Options{Create: true, Partitions: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	f := fixtureOf(b.Context(), b, store)
	const size, seatsInAll = 128, 80_000
	terms := domain.Terms{Name: "Arena", Currency: "EUR"}
	for s := range 60 {
		row := 26
		if s >= 40 {
			row = 28
		}
		var rows []string
		for r := range 50 {
			rows = append(rows, fmt.Sprintf("R%d:1-%d/%d-%d", r+1, row/2-row/2%2, row/2-row/2%2+1, row))
		}
		terms.Sections = append(terms.Sections, seatedSection(fmt.Sprintf("s%d", s), strings.Join(rows, ",")))
	}
	f.list("arena", terms)
	f.Must(f.Client.ConfigSet(f.Ctx, "slowlog-log-slower-than", "5000").Err())
	f.Do("SLOWLOG", "RESET")
	spent := func() float64 {
		usec, err := strconv.ParseFloat(evalshaUsec.FindStringSubmatch(f.Client.Info(f.Ctx, "commandstats").Val())[1], 64)
		f.Must(err)
		return usec
	}

	random := rand.New(rand.NewPCG(1, 2))
	wants := make([]int64, len(terms.Sections)) // of a section: the most that it may still have side by side
	for s := range wants {
		wants[s] = 4
	}
	open := random.Perm(len(wants))
	sold, orders, refused, n, looked := int64(0), 0, 0, 0, int64(0)
	longest, hold, move, began, now := 0.0, 0.0, 0.0, time.Now(), f.Now()
	for len(open) > 0 {
		batch, asked := make([]domain.Incoming, size), make([]int, size)
		for i := range batch {
			n++
			asked[i] = open[random.IntN(len(open))]
			quantity := int64(2)
			if wants[asked[i]] == 4 && random.IntN(2) == 0 {
				quantity = 4
			}
			batch[i] = domain.Incoming{EntryID: fmt.Sprintf("%d-%d", now, n), HoldMillis: 480_000, ValidMillis: 600_000, Request: domain.Request{
				Type: domain.RequestPurchase, EventID: "arena", OrderID: fmt.Sprintf("0198c0de-0000-7000-8000-%012d", n), CustomerID: fmt.Sprintf("c%07d", n),
				Section: terms.Sections[asked[i]].Name, Quantity: quantity, Fingerprint: "b083c26c75bd146e",
			}}
		}
		from := spent()
		replies, _, err := f.ledger.Hold(f.Ctx, 0, batch)
		f.Must(err)
		held := spent()
		var resolutions []domain.Resolution
		for i, r := range replies {
			if r.Verdict != domain.VerdictAuthorize {
				wants[asked[i]] = min(wants[asked[i]], batch[i].Request.Quantity-2)
				refused++
				continue
			}
			sold += r.Order.Items.Quantity()
			resolutions = append(resolutions, domain.Resolution{Attempt: 1, EntryID: batch[i].EntryID, Ref: batch[i].Request.Ref(), Order: r.Order, Outcome: domain.PaymentApproved, AuthorizationID: "auth-" + strconv.Itoa(n)})
		}
		random.Shuffle(len(resolutions), func(i, j int) { resolutions[i], resolutions[j] = resolutions[j], resolutions[i] })
		_, _, err = f.ledger.Resolve(f.Ctx, 0, resolutions)
		f.Must(err)
		end := spent()
		hold, move, longest, orders = hold+held-from, move+end-held, max(longest, held-from, end-held), orders+len(resolutions)
		still := open[:0]
		for _, s := range open {
			if wants[s] > 0 {
				still = append(still, s)
			}
		}
		open = still
		if sold-looked >= seatsInAll/50 || len(open) == 0 {
			looked = sold
			for s := range terms.Sections {
				alone(b, f.places("arena", terms.Sections[s].Name), sold)
			}
		}
	}
	if sold != seatsInAll {
		b.Fatalf("%d seats are sold, want %d", sold, seatsInAll)
	}
	took := time.Since(began).Seconds()
	b.ReportMetric(float64(orders)/took, "orders/s")
	b.ReportMetric(hold/float64(orders), "hold-µs/order")
	b.ReportMetric(move/float64(orders), "move-µs/order")
	b.ReportMetric(longest, "longest-µs")
	b.ReportMetric(float64(f.Client.Do(f.Ctx, "SLOWLOG", "LEN").Val().(int64)), "calls>5ms")
	b.ReportMetric(float64(refused), "refused")
	b.ReportMetric(math.Round(took*1000)/1000, "s")
	b.ReportMetric(0, "ns/op")
}

// alone fails if a free seat has no free one beside it.
func alone(b *testing.B, places string, sold int64) {
	for i := range len(places) {
		if places[i] == '.' && (i == 0 || places[i-1] != '.') && (i+1 == len(places) || places[i+1] != '.') {
			b.Fatalf("seat %d is left alone when %d are sold: %s", i+1, sold, places)
		}
	}
}
