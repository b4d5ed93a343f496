package bench

import (
	"bufio"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/streams/redistest"
)

// serverOf starts a redis-server; fsync is appendfsync, "no" for no append-only file at all.
func serverOf(b *testing.B, fsync string, args ...string) *redistest.Server {
	b.Helper()
	if fsync != "no" {
		args = append(args, "--appendonly", "yes", "--appendfsync", fsync)
	}
	return redistest.Start(b, args...)
}

// observer is a client that is nobody's: what it asks is small.
func observer(b *testing.B, server *redistest.Server) *redis.Client {
	b.Helper()
	rdb := server.Client()
	b.Cleanup(func() { must(b, rdb.Close()) })
	return rdb
}

// spent is what has been used up to a moment.
type spent struct {
	at      time.Time
	redis   float64       // seconds of the server's main thread
	process time.Duration // CPU of this process, in which the workers run
	mallocs uint64
}

func spentNow(ctx context.Context, b *testing.B, rdb *redis.Client) spent {
	b.Helper()
	var usage syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return spent{
		redis:   info(ctx, b, rdb, "cpu", "used_cpu_user_main_thread") + info(ctx, b, rdb, "cpu", "used_cpu_sys_main_thread"),
		process: time.Duration(usage.Utime.Nano() + usage.Stime.Nano()),
		mallocs: memory.Mallocs,
		at:      time.Now(),
	}
}

// reportCost reports what each of n orders (or refusals) cost between two moments.
func reportCost(b *testing.B, n int, from, to spent) {
	each := float64(n)
	b.ReportMetric((to.redis-from.redis)*1e6/each, "redis-µs/order")
	b.ReportMetric(float64((to.process-from.process).Nanoseconds())/1e3/each, "go-µs/order")
	b.ReportMetric(float64(to.mallocs-from.mallocs)/each, "allocs/order")
	b.ReportMetric(0, "ns/op") // says nothing here, and 0 leaves it out
}

// info is a number that INFO tells.
func info(ctx context.Context, b *testing.B, rdb *redis.Client, section, field string) float64 {
	b.Helper()
	text, err := rdb.Info(ctx, section).Result()
	must(b, err)
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), field+":"); found {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			must(b, err)
			return f
		}
	}
	b.Fatalf("INFO %s has no %s", section, field)
	return 0
}

// percentile is the smallest of the durations that so many percent of them do not exceed. It
// sorts them.
func percentile(durations []time.Duration, percent float64) time.Duration {
	slices.Sort(durations)
	at := int(float64(len(durations))*percent/100+0.999999) - 1
	return durations[min(max(at, 0), len(durations)-1)]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

func name(parts ...any) string {
	var s strings.Builder
	for i := 0; i < len(parts); i += 2 {
		if i > 0 {
			s.WriteByte('/')
		}
		fmt.Fprintf(&s, "%v=%v", parts[i], parts[i+1])
	}
	return s.String()
}
