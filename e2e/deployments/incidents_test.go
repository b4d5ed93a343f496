package deployments

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

func selling(r *rehearsal) { r.sell() }

// inHand has workers have something in hand, because the gateway takes its time.
func inHand(r *rehearsal) {
	r.gateway.latency.Store(int64(2 * time.Second))
	var lines []string
	for range 200 {
		lines = append(lines, r.order())
	}
	_, _ = r.publish(lines...) // it is published again in the end
	for i, at := range r.listen {
		r.until(fmt.Sprintf("worker %d has orders in hand", i+1), func() error {
			_, text, err := get("http://" + at + "/metrics")
			if err == nil && !someInHand.MatchString(text) {
				err = errors.New("it has none")
			}
			return err
		})
	}
}

var someInHand = regexp.MustCompile(`(?m)^holdfast_in_hand_entries [1-9]`)

var incidents = []incident{
	{
		name: "a worker is stuck (`SIGSTOP`)", alert: "HoldfastWorkerSilent", also: []string{"HoldfastWorkersDie"},
		before: inHand,
		hit:    func(r *rehearsal) { r.workers[0].Signal(syscall.SIGSTOP); r.gateway.latency.Store(0) },
		cause:  "workers list", says: "false",
		mend: func(r *rehearsal) { r.workers[0].Kill(); r.start(0) }, typed: "`kill -9`, and start it",
	},
	{
		name: "a worker dies (`SIGKILL`)", alert: "HoldfastWorkersDie", also: []string{"HoldfastWorkerSilent"},
		before: inHand,
		hit:    func(r *rehearsal) { r.workers[0].Kill(); r.gateway.latency.Store(0) },
		cause:  "workers list", says: "false",
		mend: func(r *rehearsal) { r.start(0) }, typed: "start it; what it had others have done",
	},
	{
		name: "no worker lives", alert: "HoldfastNoWorkers", also: []string{"HoldfastWorkerSilent"},
		hit:    func(r *rehearsal) { r.workers[0].Kill(); r.workers[1].Kill() },
		during: selling,
		cause:  "check", says: "CRITICAL nobody_works",
		mend: func(r *rehearsal) { r.start(0); r.start(1) }, typed: "`holdfast worker --gateway URL`",
	},
	{
		name: "a poison entry", alert: "HoldfastDeadLetters",
		hit:   func(r *rehearsal) { r.redisDo("XADD", "holdfast:{0}:requests", "*", "oops", "1") },
		cause: "dead list", says: "v: missing",
		mend: func(r *rehearsal) { r.ok("dead", "discard", "--all", "--yes") }, typed: "`holdfast dead discard ID`",
	},
	{
		name: "the gateway is away", alert: "HoldfastGatewayFails", also: []string{"HoldfastInHand", "HoldfastUnsettled"},
		hit: func(r *rehearsal) { r.gateway.away() }, during: selling,
		cause: "check", says: "gateway_unavailable",
		mend: func(r *rehearsal) { r.gateway.back() }, typed: "start it; until then `holdfast pause --extend-holds 30m --reason TEXT`",
	},
	{
		name: "the gateway is slow", alert: "HoldfastGatewaySlow",
		hit: func(r *rehearsal) { r.gateway.latency.Store(int64(6500 * time.Millisecond)) }, during: selling,
		cause: "check", says: "gateway_slow",
		mend: func(r *rehearsal) { r.gateway.latency.Store(0) }, typed: "whoever runs it",
	},
	{
		name: "Redis is killed", alert: "HoldfastRedisAway",
		hit:   func(r *rehearsal) { r.redis.Kill() },
		cause: "check", says: "CRITICAL unavailable",
		mend: func(r *rehearsal) { r.redis.Launch() }, typed: "start it",
	},
	{
		name: "Redis is emptied (`FLUSHALL`)", alert: "HoldfastDataReplaced",
		hit:   func(r *rehearsal) { r.redis.Flush() },
		cause: "check", says: "CRITICAL data_replaced",
		mend: func(r *rehearsal) {
			r.list()
			if said, exit := r.publish(r.published...); exit != 0 {
				r.Errorf("publishing again: exit %d: %s", exit, said)
			}
			r.until("what replaced the data is seen to", func() error {
				if said, exit := holdfast(r, r.redis.URL(), "check", "--forget-replaced"); exit != 0 {
					return fmt.Errorf("exit %d: %s", exit, said)
				}
				return nil
			})
		},
		typed: "`holdfast events create …`, `holdfast publish --file` what was published, `holdfast check --forget-replaced`",
	},
	{
		name: "Redis's memory is full", alert: "HoldfastRedisRefuses",
		hit: func(r *rehearsal) { r.sell(); r.redisDo("CONFIG", "SET", "maxmemory", "1") }, during: selling,
		cause: "check", says: "CRITICAL writes_refused",
		mend: func(r *rehearsal) { r.redisDo("CONFIG", "SET", "maxmemory", "0") }, typed: "`redis-cli CONFIG SET maxmemory …`",
	},
	{
		name: "a hot event: more comes than workers do", alert: "HoldfastBacklog", also: []string{"HoldfastWaiting", "HoldfastWaitingLong"}, args: []string{"--concurrency", "4"},
		hit: func(r *rehearsal) {
			r.gateway.latency.Store(int64(300 * time.Millisecond))
			lines := make([]string, 20_000)
			for n := range lines {
				lines[n] = r.order()
			}
			if said, exit := r.publish(lines...); exit != 0 {
				r.Fatal(said)
			}
		},
		cause: "top --once", says: "requests wait for purchase",
		mend: func(r *rehearsal) { r.args = r.args[2:]; r.restart() }, typed: "more workers, or `--concurrency`",
	},
	{
		name: "consumer groups are destroyed", alert: "HoldfastGroupGone",
		hit: func(r *rehearsal) {
			for p := range 4 {
				r.redisDo("XGROUP", "DESTROY", fmt.Sprintf("holdfast:{%d}:requests", p), "purchase")
				r.redisDo("XGROUP", "DESTROY", fmt.Sprintf("holdfast:{%d}:2:log", p), "posting")
				r.redisDo("XGROUP", "DESTROY", fmt.Sprintf("holdfast:{%d}:2:log", p), "settlement")
			}
		},
		cause: "check", says: "group_gone",
		mend: func(r *rehearsal) { r.ok("audit") }, typed: "workers have done so; `holdfast audit`", left: []string{"group_gone"},
	},
	{
		name: "nobody does maintenance", alert: "HoldfastHoldsOverdue", also: []string{"HoldfastHoldsOverdueLong"},
		hit: func(r *rehearsal) {
			r.restart(append([]string{"--roles", "purchase,posting,settlement,archive"}, r.args...)...)
			r.ok("publish", "--type", "hold", "--event", "e1", "--order", "late", "--customer", "late", "--hold-seconds", "1")
		},
		cause: "check", says: "no_maintenance",
		mend: func(r *rehearsal) { r.run("worker", "--roles", "maintenance") }, typed: "`holdfast worker --roles maintenance`",
	},
	{
		name: "the archive's store is away", alert: "HoldfastArchiveLags",
		hit: func(r *rehearsal) {
			store := filepath.Join(r.archive, "store")
			if err := os.Rename(store, store+".away"); err != nil {
				r.Fatal(err)
			}
			if err := os.WriteFile(store, nil, 0o600); err != nil {
				r.Fatal(err)
			}
		},
		during: selling,
		cause:  "check", says: "archive_failing",
		mend: func(r *rehearsal) {
			store := filepath.Join(r.archive, "store")
			if err := os.Remove(store); err != nil {
				r.Fatal(err)
			}
			if err := os.Rename(store+".away", store); err != nil {
				r.Fatal(err)
			}
		},
		typed: "bring it back; the archive catches up",
	},
}
