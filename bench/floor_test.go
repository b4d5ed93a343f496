package bench

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// BenchmarkFloor is what the data of a sale alone costs Redis, in commands that decide nothing: the entry is
// delivered and acknowledged, the order's record is written when it is held and when it is confirmed, each of both is a
// fact of 64 an entry, the customer is in progress until then, the hold has a deadline, and an invoice gets its line; 512 orders
// in one pipeline. Nothing is read, compared or refused, nobody is told, and no payment is captured: no
// worker that keeps such books can need less, and what holdfast needs beyond it is what its rules cost.
func BenchmarkFloor(b *testing.B) {
	for range b.N {
		floor(b)
	}
}

const (
	floorBatch  = 512
	floorFacts  = 64
	floorRecord = "1700000000000-0|h2|c%07d|b083c26c75bd146e|main:2:1000|EUR|480000|||||||" // as long as a record is
)

func floor(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	rdb := observer(b, serverOf(b, "no"))
	must(b, rdb.XGroupCreateMkStream(ctx, requestsKey, group, "0").Err())
	orders := makeOrders(0, *orderCount, makeEvents(100))
	for from := 0; from < len(orders); from += floorBatch {
		pipe := rdb.Pipeline()
		for _, o := range orders[from:min(from+floorBatch, len(orders))] {
			r := request(o)
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: requestsKey, Values: []any{
				"v", "1", "type", string(r.Type), "event_id", r.EventID, "order_id", r.OrderID, "customer_id", r.CustomerID,
				"quantity", r.Quantity, "payment_token", "tok_visa",
			}})
		}
		_, err := pipe.Exec(ctx)
		must(b, err)
	}

	b.ResetTimer()
	from := spentNow(ctx, b, rdb)
	for done := 0; done < len(orders); {
		read, err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{Group: group, Consumer: "one", Streams: []string{requestsKey, ">"}, Count: floorBatch}).Result()
		must(b, err)
		entries := read[0].Messages
		keepBooks(ctx, b, rdb, orders[done:done+len(entries)], done, entries)
		done += len(entries)
	}
	to := spentNow(ctx, b, rdb)
	b.StopTimer()
	if pending := rdb.XPending(ctx, requestsKey, group).Val(); pending == nil || pending.Count != 0 {
		b.Fatalf("%+v are pending", pending)
	}
	b.ReportMetric(float64(len(orders))/to.at.Sub(from.at).Seconds(), "orders/s")
	reportCost(b, len(orders), from, to)
}

// keepBooks writes what a batch of orders leaves behind.
func keepBooks(ctx context.Context, b *testing.B, rdb *redis.Client, orders []order, nth int, entries []redis.XMessage) {
	b.Helper()
	var acks, members, customers []string
	var records, progress, lines []any
	var deadlines []redis.Z
	for i, o := range orders {
		member, record := o.event+"/"+o.id, fmt.Sprintf(floorRecord, nth+i)
		acks, members = append(acks, entries[i].ID), append(members, member)
		customers = append(customers, o.event+"/"+o.customer)
		records = append(records, member, record)
		progress = append(progress, customers[i], o.id)
		lines = append(lines, member+"|"+record)
		deadlines = append(deadlines, redis.Z{Score: float64(1_700_000_000_000 + i), Member: member})
	}
	pipe := rdb.Pipeline()
	for _, fact := range []string{"held", "confirmed"} {
		pipe.HSet(ctx, "orders", records...)
		for first := 0; first < len(lines); first += floorFacts {
			part := make([]string, 0, floorFacts)
			for _, line := range lines[first:min(first+floorFacts, len(lines))] {
				part = append(part, line.(string))
			}
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: "log", Values: []string{fact, strings.Join(part, "\n")}})
		}
	}
	pipe.HSet(ctx, "in_progress", progress...)
	pipe.ZAdd(ctx, "holds", deadlines...)
	pipe.HDel(ctx, "in_progress", customers...)
	pipe.ZRem(ctx, "holds", toAny(members)...)
	for i, o := range orders {
		pipe.HSet(ctx, "invoices:"+o.customer, members[i], "")
	}
	pipe.XAck(ctx, requestsKey, group, acks...)
	_, err := pipe.Exec(ctx)
	must(b, err)
}

func toAny(texts []string) []any {
	all := make([]any, len(texts))
	for i, text := range texts {
		all[i] = text
	}
	return all
}
