package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/streams/redistest"
)

var archived = flag.Int("archived", 1_000_000, "orders in the archive of a restore")

// archivedPartitions is how many partitions such an archive has, and archivedEvents how many events each of them.
const (
	archivedPartitions = 4
	archivedEvents     = 25
)

// soldLog is the log of a namespace in which every order was held and then confirmed, 64 facts an entry, one second apart; the last fiftieth of it after a snapshot. It is
// made as it is asked for.
type soldLog struct {
	orders  int // of a partition
	events  [archivedPartitions][]string
	snapped bool
	marks   [archivedPartitions]domain.ArchiveMark
}

const (
	soldFrom    = 1_790_000_000_000
	orderEntry  = 64
	entryMillis = 1000
)

// entries of a partition: one for each event, and two for each 64 orders.
func (s *soldLog) entries() int { return archivedEvents + 2*s.orders/orderEntry }

// upTo is how many of them there are so far.
func (s *soldLog) upTo() int {
	if s.snapped {
		return s.entries()
	}
	return s.entries() * 49 / 50
}

func soldID(i int) string { return strconv.Itoa(soldFrom+i*entryMillis) + "-0" }

func (s *soldLog) entry(p, i int) domain.Entry {
	event := func(n int) string { return s.events[p][n%archivedEvents] }
	if i < archivedEvents {
		return domain.Entry{ID: soldID(i), Fields: []string{"listed", fmt.Sprintf(`%s|{"name":"E","currency":"EUR","max_per_customer":8,"sections":[{"section":"general","capacity":%d,"price":4500}]}`, event(i), 10*s.orders)}}
	}
	first := (i - archivedEvents) / 2 * orderEntry
	confirms := (i-archivedEvents)%2 == 1
	lines := make([]string, orderEntry)
	for at := range lines {
		n := first + at
		order := fmt.Sprintf("%s/01920000-0000-7000-8000-%012x", event(n), n)
		customer := fmt.Sprintf("c%07d", n*archivedPartitions+p)
		if lines[at] = fmt.Sprintf("%s|p|b083c26c75bd146e|%s|general:2:4500|EUR|120000", order, customer); confirms {
			lines[at] = fmt.Sprintf("%s|%s|general:2:4500|EUR|auth_%012x", order, customer, n)
		}
	}
	kind := "held"
	if confirms {
		kind = "confirmed"
	}
	return domain.Entry{ID: soldID(i), Fields: []string{kind, strings.Join(lines, "\n")}}
}

func (s *soldLog) ArchivedNamespace(context.Context) (domain.ArchivedNamespace, error) {
	return domain.ArchivedNamespace{Namespace: "holdfast", Epoch: "one", Schema: "2", Partitions: archivedPartitions, PaymentNames: "namespaced", FreeOrders: "direct", Gateway: "simulator"}, nil
}

func (s *soldLog) ArchiveState(_ context.Context, p int) (domain.ArchiveState, error) {
	return domain.ArchiveState{Branch: "b" + strconv.Itoa(p), Mark: s.marks[p], NowMillis: soldFrom + int64(s.entries())*entryMillis}, nil
}

func (s *soldLog) LogAfter(_ context.Context, p int, _, after string, bytes int) (entries []domain.Entry, err error) {
	i := 0
	if after != "0-0" {
		i = (int(domain.EntryMillis(after))-soldFrom)/entryMillis + 1
	}
	for size := 0; i < s.upTo() && size < bytes; i++ {
		e := s.entry(p, i)
		entries = append(entries, e)
		size += len(e.Fields[1])
	}
	return entries, nil
}

func (s *soldLog) InLog(context.Context, int, domain.Entry) (bool, error) { return true, nil }

func (s *soldLog) Acknowledged(context.Context, int) (map[domain.Group]string, error) {
	done := soldID(s.upTo() - 1)
	return map[domain.Group]string{domain.GroupPosting: done, domain.GroupSettlement: done}, nil
}

func (s *soldLog) Advance(_ context.Context, p int, _, to domain.ArchiveMark, _ domain.Entry) (bool, error) {
	s.marks[p] = to
	return true, nil
}

func (s *soldLog) TrimLog(context.Context, int, string, string, domain.KeepLog) (int64, error) {
	return 0, nil
}

func (s *soldLog) ContinueElsewhere(context.Context, int, string, string, string) error {
	return errors.New("the log is the one that was archived")
}

// write archives what there is of the log, in all partitions.
func (s *soldLog) write(b *testing.B, bucket archive.Bucket) {
	b.Helper()
	a := archive.NewArchiver(s, bucket, "bench")
	for p := range archivedPartitions {
		for more := true; more; {
			var err error
			if more, err = a.Archive(b.Context(), p); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkRestore restores an archive of orders that were held and confirmed with the program, in a process of its own: from a snapshot that has all but the last fiftieth
// of them, and from the start. Figures: facts a second; the most memory that the process had; and of taking that snapshot the same.
func BenchmarkRestore(b *testing.B) {
	folder := filepath.Join(b.TempDir(), "archive")
	bucket, err := archive.Open(b.Context(), "file://"+folder)
	if err != nil {
		b.Fatal(err)
	}
	log := &soldLog{orders: *archived / archivedPartitions / orderEntry * orderEntry}
	store := newSystem(b).store() // which says where events are
	for n, left := 0, archivedPartitions*archivedEvents; left > 0; n++ {
		event := fmt.Sprintf("event-%d", n)
		if of := &log.events[store.Partition(event)]; len(*of) < archivedEvents {
			*of = append(*of, event)
			left--
		}
	}
	log.write(b, bucket)
	url := "file://" + folder
	snapshot := measured(b, nil, "archive", "snapshot", "--archive", url)
	log.snapped = true
	log.write(b, bucket)
	for _, from := range []string{"snapshot", "start"} {
		b.Run("from="+from, func(b *testing.B) {
			for range b.N {
				server := redistest.Start(b)
				args := []string{"--redis", server.URL(), "restore", "--archive", url, "-o", "json"}
				if from == "start" {
					args = append(args, "--full")
				}
				var said []byte
				is := measured(b, &said, args...)
				redisCPU := redisSeconds(b, server.Client())
				var result struct{ Facts, Orders, Entries int }
				if err := json.Unmarshal(said, &result); err != nil || result.Orders != archivedPartitions*log.orders {
					b.Fatalf("%v: restored %+v", err, result)
				}
				b.ReportMetric(float64(result.Facts)/is.took.Seconds(), "facts/s")
				b.ReportMetric(float64(result.Orders)/is.took.Seconds(), "orders/s")
				b.ReportMetric(is.megabytes, "max-MB")
				b.ReportMetric(float64(result.Entries), "log-entries")
				b.ReportMetric(is.cpu.Seconds()*1e6/float64(result.Orders), "go-µs/order")
				b.ReportMetric(redisCPU*1e6/float64(result.Orders), "redis-µs/order")
				b.ReportMetric(0, "ns/op")
				if from == "snapshot" {
					b.ReportMetric(snapshot.took.Seconds(), "s-snapshot")
					b.ReportMetric(snapshot.cpu.Seconds()*1e6/float64(result.Orders), "go-µs/order-snapshot")
					b.ReportMetric(snapshot.megabytes, "max-MB-snapshot")
				}
				measured(b, nil, "--redis", server.URL(), "audit", "--archive", url)
			}
		})
	}
}

// spent is what a command needed.
type spent struct {
	took, cpu time.Duration
	megabytes float64 // the most memory that it had
}

// measured runs a command of the program, which must succeed. Its memory is looked at every few milliseconds: what the system tells in the end may be that of the process
// that began it.
func measured(b *testing.B, said *[]byte, args ...string) (is spent) {
	b.Helper()
	var out, failed bytes.Buffer
	command := exec.CommandContext(b.Context(), holdfastBinary, args...)
	command.Stdout, command.Stderr = &out, &failed
	began := time.Now()
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				b.Fatalf("%v: %v\n%s%s", args, err, out.String(), failed.String())
			}
			if said != nil {
				*said = out.Bytes()
			}
			is.took, is.cpu = time.Since(began), command.ProcessState.UserTime()+command.ProcessState.SystemTime()
			return is
		case <-look.C:
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", command.Process.Pid))
			if err != nil {
				continue // it has ended
			}
			if _, most, found := strings.Cut(string(status), "VmHWM:"); found {
				kilobytes, err := strconv.ParseFloat(strings.Fields(most)[0], 64)
				if err != nil {
					b.Fatal(err)
				}
				is.megabytes = max(is.megabytes, kilobytes/1024)
			}
		}
	}
}
