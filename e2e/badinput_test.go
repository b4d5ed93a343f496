package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/e2e/program"
)

// secret is in every payment token here, and must be nowhere else.
const secret = "SECRET"

const (
	badEvent   = "bad-input"
	limited    = "two-each"
	closed     = "closed"
	notYetOpen = "not-yet-open"
)

// good is a request that would be accepted. Cases change it.
func good(order string) []string {
	return []string{
		"v", "1", "type", "purchase", "order_id", order, "customer_id", "customer-" + order, "event_id", badEvent,
		"section", "general", "quantity", "2", "payment_token", "tok_" + secret + "_" + order,
	}
}

// with is good with some fields set to other values, or added.
func with(order string, pairs ...string) []string {
	fields := good(order)
	for i := 0; i < len(pairs); i += 2 {
		fields = set(fields, pairs[i], pairs[i+1])
	}
	return fields
}

func set(fields []string, name, value string) []string {
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == name {
			fields[i+1] = value
			return fields
		}
	}
	return append(fields, name, value)
}

// without is good without some fields.
func without(order string, names ...string) []string {
	var fields []string
	for pair := range slices.Chunk(good(order), 2) {
		if !slices.Contains(names, pair[0]) {
			fields = append(fields, pair...)
		}
	}
	return fields
}

// badCase is one entry that nobody should publish.
type badCase struct {
	name   string
	fields []string
	stream int // partition, if it is in the wrong one; else -1

	// What becomes of it: a dead letter whose reason contains this; or an order that
	// is rejected for this reason, with a detail that contains this; or confirmed.
	dead     string
	rejected string
	detail   string

	entry string // partition:id
}

// badCases are all kinds of bad entries. The names are order_ids, too.
func badCases() []badCase {
	long := strings.Repeat("x", 129)
	var cases []badCase
	dead := func(name, reason string, fields []string) {
		cases = append(cases, badCase{name: name, fields: fields, stream: -1, dead: reason})
	}
	reject := func(name, reason, detail string, fields []string) {
		cases = append(cases, badCase{name: name, fields: fields, stream: -1, rejected: reason, detail: detail})
	}
	fine := func(name string, fields []string) {
		cases = append(cases, badCase{name: name, fields: fields, stream: -1})
	}

	// It cannot be told what these are about.
	dead("no-v", "v: missing", without("no-v", "v"))
	dead("empty-v", "v: missing", with("empty-v", "v", ""))
	dead("v3", "v: version not supported", with("v3", "v", "3"))
	dead("v-text", "v: version not supported", with("v-text", "v", "one"))
	dead("no-type", "type: missing", without("no-type", "type"))
	dead("other-type", "type: want", with("other-type", "type", "gift"))
	dead("type-case", "type: want", with("type-case", "type", "Purchase"))
	dead("no-event", "event_id: missing", without("no-event", "event_id"))
	dead("empty-event", "event_id: missing", with("empty-event", "event_id", ""))
	dead("long-event", "event_id: want", with("long-event", "event_id", long))
	dead("spaced-event", "event_id: want", with("spaced-event", "event_id", "bad input"))
	dead("slash-event", "event_id: want", with("slash-event", "event_id", "bad/input"))
	dead("nul-event", "event_id: want", with("nul-event", "event_id", "bad\x00input"))
	dead("utf8-event", "event_id: want", with("utf8-event", "event_id", "\xff\xfe\xfd"))
	dead("tagged-event", "event_id: want", with("tagged-event", "event_id", "{0}:2:log"))
	dead("no-order", "order_id: missing", without("no-order", "order_id"))
	dead("empty-order", "order_id: missing", with("empty-order", "order_id", ""))
	dead("long-order", "order_id: want", with("long-order", "order_id", long))
	dead("nul-order", "order_id: want", with("nul-order", "order_id", "\x00"))
	dead("bar-order", "order_id: want", with("bar-order", "order_id", "a|b"))
	dead("line-order", "order_id: want", with("line-order", "order_id", "a\nb"))
	dead("emoji-order", "order_id: want", with("emoji-order", "order_id", "🎟"))
	dead("twice-order", "order_id: given twice", append(good("twice-order"), "order_id", "other"))
	dead("twice-v", "v: given twice", append(good("twice-v"), "v", "1"))
	dead("only-junk", "v: missing", []string{"hello", "world"})
	dead("only-token", "v: missing", []string{"payment_token", "tok_" + secret})
	dead("empty-names", "v: missing", []string{"", "", "", ""})
	dead("binary", "v: missing", []string{"\x00\x01", "\xff", "\xc3\x28", "\x00"})

	// These refer to an order in a way that cannot be understood.
	dead("pay-no-token", "unknown_order", []string{"v", "1", "type", "pay", "event_id", badEvent, "order_id", "pay-no-token"})
	dead("pay-long-token", "payment_token: longer", []string{
		"v", "1", "type", "pay", "event_id", badEvent, "order_id", "pay-long-token", "payment_token", secret + strings.Repeat("x", 5000),
	})
	dead("pay-no-order", "unknown_order", []string{
		"v", "1", "type", "pay", "event_id", badEvent, "order_id", "pay-no-order", "payment_token", "tok_" + secret,
	})
	dead("cancel-no-order", "order_id: missing", []string{"v", "1", "type", "cancel", "event_id", badEvent})
	dead("cancel-bad-order", "order_id: want", []string{"v", "1", "type", "cancel", "event_id", badEvent, "order_id", "a b"})

	// The order_id is taken.
	conflict := good("taken")
	dead("taken-quantity", "conflict", set(slices.Clone(conflict), "quantity", "1"))
	dead("taken-customer", "conflict", set(slices.Clone(conflict), "customer_id", "somebody-else"))
	dead("taken-type", "conflict", set(slices.Clone(conflict), "type", "hold"))
	dead("taken-price", "conflict", set(slices.Clone(conflict), "unit_price", "1000"))

	// In a stream of another partition.
	right := int(crc16xmodem(badEvent)) % 4
	for off := 1; off < 4; off++ {
		cases = append(cases, badCase{
			name: fmt.Sprintf("wrong-partition-%d", off), fields: good(fmt.Sprintf("wrong-partition-%d", off)),
			stream: (right + off) % 4, dead: "event_id: belongs to partition " + strconv.Itoa(right),
		})
	}

	// Orders that can be told apart, and cannot be accepted.
	const invalid = "invalid"
	reject("no-customer", invalid, "customer_id: missing", without("no-customer", "customer_id"))
	reject("empty-customer", invalid, "customer_id: missing", with("empty-customer", "customer_id", ""))
	reject("long-customer", invalid, "customer_id: want", with("long-customer", "customer_id", long))
	reject("nul-customer", invalid, "customer_id: want", with("nul-customer", "customer_id", "fred\x00"))
	reject("utf8-customer", invalid, "customer_id: want", with("utf8-customer", "customer_id", "\xc3\x28"))
	reject("tag-customer", invalid, "customer_id: want", with("tag-customer", "customer_id", "{fred}"))
	reject("slot-customer", invalid, "customer_id: want", with("slot-customer", "customer_id", "#"))
	reject("empty-section", invalid, "section: missing", with("empty-section", "section", ""))
	reject("bad-section", invalid, "section: want", with("bad-section", "section", "general,vip"))
	reject("twice-quantity", invalid, "quantity: given twice", append(good("twice-quantity"), "quantity", "2"))
	reject("no-quantity", invalid, "quantity: missing", without("no-quantity", "quantity"))
	for name, value := range map[string]string{
		"empty": "", "zero": "0", "negative": "-1", "huge": "9223372036854775808", "huger": strings.Repeat("9", 400), "large": "1000001",
		"text": "two", "half": "1.5", "exponent": "1e3", "hex": "0x10", "plus": "+2", "zeros": "002", "space": " 2", "nul": "2\x00",
		"infinity": "inf", "nan": "nan", "arabic": "٢",
	} {
		reject("quantity-"+name, invalid, "quantity: want", with("quantity-"+name, "quantity", value))
	}
	for name, value := range map[string]string{"empty": "", "negative": "-1", "text": "ten", "huge": "99999999999999999999", "euros": "10.00"} {
		reject("price-"+name, invalid, "unit_price: want", with("price-"+name, "unit_price", value))
	}
	for name, value := range map[string]string{"empty": "", "zero": "0", "negative": "-5", "text": "1m", "huge": "86401"} {
		reject("hold-seconds-"+name, invalid, "hold_seconds: want", with("hold-seconds-"+name, "hold_seconds", value))
	}
	for name, value := range map[string]string{"zero": "0", "negative": "-5", "text": "soon", "huge": "2592001"} {
		reject("valid-seconds-"+name, invalid, "valid_seconds: want", with("valid-seconds-"+name, "valid_seconds", value))
	}
	reject("no-token", invalid, "payment_token: missing", without("no-token", "payment_token"))
	reject("empty-token", invalid, "payment_token: missing", with("empty-token", "payment_token", ""))
	reject("long-token", invalid, "payment_token: longer", with("long-token", "payment_token", secret+strings.Repeat("x", 4096)))
	reject("nul-token", invalid, "payment_token: want", with("nul-token", "payment_token", secret+"\x00"))
	reject("utf8-token", invalid, "payment_token: want", with("utf8-token", "payment_token", secret+"\xff"))
	reject("twice-token", invalid, "payment_token: given twice", append(good("twice-token"), "payment_token", "tok_"+secret))
	reject("large-token", invalid, "payment_token: longer", with("large-token", "payment_token", strings.Repeat(secret, 200_000)))

	// Well-formed, and refused.
	reject("unknown-event", "unknown_event", "", with("unknown-event", "event_id", "no-such-event"))
	reject("unknown-section", "unknown_section", "", with("unknown-section", "section", "vip"))
	reject("closed-event", "not_on_sale", "", with("closed-event", "event_id", closed))
	reject("early", "not_on_sale", "", with("early", "event_id", notYetOpen))
	reject("price", "price_changed", "", with("price", "unit_price", "999"))
	reject("over-limit", "over_limit", "", with("over-limit", "event_id", limited, "quantity", "3"))
	reject("too-many", "sold_out", "", with("too-many", "quantity", "101"))
	reject("most", "sold_out", "", with("most", "quantity", "1000000"))

	// Strange, but fine.
	junk := good("junk")
	for i := range 5000 {
		junk = append(junk, fmt.Sprintf("junk-%d", i), strings.Repeat("y", i%50))
	}
	fine("junk", junk)
	fine("large-junk", append(good("large-junk"), "note", strings.Repeat("z", 1<<20)))
	fine("binary-junk", append(good("binary-junk"), "\x00\xff", "\x00\xff", "", ""))
	fine("bad-trace", with("bad-trace", "traceparent", "\x00 not a trace"))
	fine("no-section", without("no-section", "section"))
	fine("price-right", with("price-right", "unit_price", "1000"))
	undecodable := []string{}
	for i := range 5000 {
		undecodable = append(undecodable, fmt.Sprintf("junk-%d", i), "payment_token")
	}
	dead("dead-junk", "v: missing", undecodable)
	dead("dead-large", "v: missing", []string{"payment_token", secret + strings.Repeat("z", 1<<20)})
	return cases
}

// TestBadInput publishes every kind of bad entry. Each gets a reason, changes
// nothing, and harms nobody; and no payment token comes out.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.event(badEvent, "Bad Input", 100, "10")
	s.event(limited, "Two Each", 100, "10", "--max-per-order", "2")
	s.event(closed, "Closed", 100, "10")
	s.ok("events", "close", closed)
	s.event(notYetOpen, "Not Yet Open", 100, "10", "--on-sale", time.Now().Add(time.Hour).Format(time.RFC3339))
	gateway := startGateway(t)
	args := []string{"--gateway", gateway, "--log-level", "debug", "--pay-wait", "1s", "--reclaim-after", "2s"}
	pool := []*program.Process{s.worker("worker-0", args...), s.worker("worker-1", args...)}
	heard := s.eavesdrop()
	rdb := s.client()

	add := func(stream int, fields []string) string {
		t.Helper()
		if stream < 0 {
			event := ""
			for i := 0; i < len(fields); i += 2 {
				if fields[i] == "event_id" {
					event = fields[i+1]
				}
			}
			stream = s.store().Partition(event)
		}
		id, err := rdb.XAdd(context.Background(), &redis.XAddArgs{Stream: requestsKey(stream), Values: fields}).Result()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d:%s", stream, id)
	}
	add(-1, good("taken"))
	s.drained(soon)
	s.stands(badEvent, 98, 0, 2, 20_00)
	taken := one[orderView](s, "orders", "show", "taken", "--event", badEvent)

	cases := badCases()
	confirmed := int64(1)
	orders := map[string]bool{badEvent + "/taken": true}
	for i := range cases {
		c := &cases[i]
		c.entry = add(c.stream, c.fields)
		if c.dead == "" {
			orders[eventOf(c.fields)+"/"+c.name] = true
		}
		if c.dead == "" && c.rejected == "" {
			confirmed++
		}
	}
	s.drained(soon)

	letters := make(map[string]deadView)
	for _, l := range list[deadView](s, "dead", "list") {
		letters[l.entry()] = l
	}
	for _, c := range cases {
		letter, isDead := letters[c.entry]
		delete(letters, c.entry)
		if c.dead != "" {
			if !isDead || !strings.Contains(letter.Reason, c.dead) {
				t.Errorf("%s: dead letter %t with reason %q, want %q", c.name, isDead, letter.Reason, c.dead)
			}
			continue
		}
		if isDead {
			t.Errorf("%s is a dead letter: %s", c.name, letter.Reason)
			continue
		}
		o := one[orderView](s, "orders", "show", c.name, "--event", eventOf(c.fields))
		state := "rejected"
		if c.rejected == "" {
			state = "confirmed"
		}
		if o.State != state || o.Reason != c.rejected || !strings.Contains(o.Detail, c.detail) || c.detail == "" && o.Detail != "" {
			t.Errorf("%s is %s (%s: %s), want %s (%s: %s)", c.name, o.State, o.Reason, o.Detail, state, c.rejected, c.detail)
		}
	}
	if len(letters) > 0 {
		t.Errorf("dead letters that nobody knows: %v", letters)
	}

	// Nothing else has changed.
	s.stands(badEvent, 100-2*confirmed, 0, 2*confirmed, confirmed*20_00)
	s.stands(limited, 100, 0, 0, 0)
	s.stands(closed, 100, 0, 0, 0)
	s.stands(notYetOpen, 100, 0, 0, 0)
	got := list[orderView](s, "orders", "list")
	for _, o := range got {
		if !orders[o.EventID+"/"+o.OrderID] {
			t.Errorf("order %s/%s came from nowhere", o.EventID, o.OrderID)
		}
	}
	if len(got) != len(orders) {
		t.Errorf("%d orders, want %d", len(got), len(orders))
	}
	if again := one[orderView](s, "orders", "show", "taken", "--event", badEvent); fmt.Sprint(again) != fmt.Sprint(taken) {
		t.Errorf("the order whose id others used was %+v, is %+v", taken, again)
	}
	if n := len(ledger(t, gateway)); int64(n) != confirmed {
		t.Errorf("the gateway knows %d orders, want %d", n, confirmed)
	}
	for _, p := range pool {
		p.Alive()
	}

	// Life goes on.
	add(-1, good("afterwards"))
	s.drained(soon)
	s.allIn(domain.OrderConfirmed, []domain.OrderRef{{EventID: badEvent, OrderID: "afterwards"}})
	s.audit(gateway)
	s.checkDeadCommands()
	s.trimmed()
	program.StopAll(pool...)
	s.checkSecret(heard(), pool...)
	t.Logf("%d bad entries", len(cases))
}

func eventOf(fields []string) string {
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "event_id" {
			return fields[i+1]
		}
	}
	return ""
}

// checkDeadCommands: whatever is in a dead letter, it can be listed, shown,
// redriven, if that makes sense, and discarded, and shows no token.
func (s *system) checkDeadCommands() {
	s.t.Helper()
	said := s.ok("dead", "list") + s.ok("dead", "list", "-o", "json")
	letters := list[deadView](s, "dead", "list")
	for _, l := range letters {
		if len(l.Fields) > 100 || strings.HasPrefix(l.Reason, "conflict") || strings.HasPrefix(l.Reason, "payment_token") {
			said += s.ok("dead", "show", l.DeadID) + s.ok("dead", "show", l.DeadID, "-o", "json")
		}
		if token, ok := l.Fields["payment_token"]; ok && token != "[redacted]" {
			s.t.Errorf("dead letter %s shows %q", l.DeadID, token)
		}
	}
	// What is bad comes back: as a new letter, with the same reason.
	before := reasons(letters)
	r := s.run("", "dead", "redrive", "--all", "-o", "json")
	said += r.stdout + r.stderr
	if r.code != 1 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "more than can be published again: discard it") {
		s.t.Errorf("dead redrive --all: exit %d, want 1 and a line about the one with too many fields\n%s", r.code, r.stderr)
	}
	if n := strings.Count(r.stdout, "\n"); n != len(letters)-1 {
		s.t.Errorf("%d letters redriven, want %d", n, len(letters)-1)
	}
	s.drained(soon)
	if after := reasons(list[deadView](s, "dead", "list")); !maps.Equal(before, after) {
		s.t.Errorf("reasons after redrive: %v, before: %v", after, before)
	}
	said += s.ok("dead", "discard", "--all", "--yes")
	if left := s.ok("dead", "list", "-o", "json"); left != "" {
		s.t.Errorf("discarded all, left is %s", left)
	}
	if strings.Contains(said, secret) {
		s.t.Error("the dead commands show a payment token")
	}
}

func reasons(letters []deadView) map[string]int {
	count := make(map[string]int)
	for _, l := range letters {
		count[l.Reason]++
	}
	return count
}

// eavesdrop listens to everything that is published; the result says what it heard.
func (s *system) eavesdrop() (heard func() string) {
	s.t.Helper()
	pubsub := s.client().PSubscribe(context.Background(), "*")
	if _, err := pubsub.Receive(context.Background()); err != nil { // that it has subscribed
		s.t.Fatal(err)
	}
	var all strings.Builder
	var listening sync.WaitGroup
	listening.Go(func() {
		for m := range pubsub.Channel() {
			all.WriteString(m.Channel + " " + m.Payload + "\n")
		}
	})
	heard = func() string {
		_ = pubsub.Close() // ends the channel
		listening.Wait()
		return all.String()
	}
	s.t.Cleanup(func() { heard() })
	return heard
}

// checkSecret looks for payment tokens wherever they must not be: in what
// workers log, in what is published, and in every key: the requests are trimmed
// by now, the dead letters discarded.
func (s *system) checkSecret(heard string, pool ...*program.Process) {
	s.t.Helper()
	ctx := context.Background()
	rdb := s.client()
	if !strings.Contains(heard, badEvent+"/afterwards") {
		s.t.Error("nothing was heard of an order: that was no test")
	}
	if strings.Contains(heard, secret) {
		s.t.Error("a payment token was published on a channel")
	}
	logged := ""
	for _, p := range pool {
		said := p.Stderr.String() + p.Stdout.String()
		if strings.Contains(said, secret) {
			s.t.Errorf("%s logs a payment token", p.Name)
		}
		logged += said
	}
	if !strings.Contains(logged, "set aside as dead letters") {
		s.t.Error("nothing was logged of dead letters: that was no test")
	}
	looked := make(map[string]bool)
	iter := rdb.Scan(ctx, 0, "*", 1000).Iterator()
	for iter.Next(ctx) {
		key := iter.Val()
		looked[kindOf(key)] = true
		if strings.Contains(key, secret) || strings.Contains(contents(s.t, rdb, key), secret) {
			s.t.Errorf("key %s has a payment token in it", key)
		}
	}
	if err := iter.Err(); err != nil {
		s.t.Fatal(err)
	}
	for _, kind := range []string{"meta", "requests", "log", "events", "orders", "invoices"} {
		if !looked[kind] {
			s.t.Errorf("looked at no key of %s", kind)
		}
	}
}

// contents is all that a key holds, as text.
func contents(t testing.TB, rdb *redis.Client, key string) string {
	t.Helper()
	ctx := context.Background()
	kind, err := rdb.Type(ctx, key).Result()
	if err != nil {
		t.Fatal(err)
	}
	var reply any
	switch kind {
	case "string":
		reply, err = rdb.Get(ctx, key).Result()
	case "hash":
		reply, err = rdb.HGetAll(ctx, key).Result()
	case "set":
		reply, err = rdb.SMembers(ctx, key).Result()
	case "zset":
		reply, err = rdb.ZRange(ctx, key, 0, -1).Result()
	case "list":
		reply, err = rdb.LRange(ctx, key, 0, -1).Result()
	case "stream":
		reply, err = rdb.XRange(ctx, key, "-", "+").Result()
	case "none": // it had a time to live
	default:
		t.Fatalf("key %s is a %s", key, kind)
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return fmt.Sprint(reply)
}
