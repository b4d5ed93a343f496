package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/streams/redistest"
)

// schema1 is a namespace that a program of schema 1 left behind: see its README.md.
const schema1 = "testdata/schema1"

// loadSchema1 is a Redis that has loaded a copy of it.
func loadSchema1(t *testing.T) *system {
	t.Helper()
	dir, err := os.MkdirTemp("", "holdfast-schema1-")
	if err != nil {
		t.Fatal(err)
	}
	const file = "appendonly.aof"
	if err := os.WriteFile(filepath.Join(dir, file), []byte(readSchema1(t, file)), 0o600); err != nil {
		t.Fatal(err)
	}
	server := redistest.StartIn(t, dir, "--appendonly", "yes")
	s := &system{t: t, url: server.URL(), server: server}
	if r := s.run("", "sales"); r.code == 0 || !strings.Contains(r.stderr, "holdfast migrate") {
		t.Errorf("it is not migrated yet, and sales says %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	s.ok("migrate")
	return s
}

func readSchema1(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(schema1, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// printedLine is an object that a command printed.
type printedLine = map[string]any

// printed is what the program of schema 1 printed, by command.
func printed(t *testing.T) (commands []string, output map[string][]printedLine) {
	t.Helper()
	output = make(map[string][]printedLine)
	for line := range strings.Lines(readSchema1(t, "printed.txt")) {
		if command, is := strings.CutPrefix(line, "$ holdfast "); is {
			commands = append(commands, strings.TrimSpace(command))
			continue
		}
		last := commands[len(commands)-1]
		output[last] = append(output[last], decodePrinted(t, line)...)
	}
	return commands, output
}

// decodePrinted reads JSON lines, numbers as they are written.
func decodePrinted(t *testing.T, text string) (lines []printedLine) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	for decoder.More() {
		var line printedLine
		if err := decoder.Decode(&line); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		lines = append(lines, line)
	}
	return lines
}

// says reports whether what is said now has all that was said then. There may be more: new
// fields are no news to who does not know them.
func says(now, then any) bool {
	switch then := then.(type) {
	case printedLine:
		now, ok := now.(printedLine)
		for name, value := range then {
			if name == "idle_ms" || name == "oldest_idle_ms" {
				continue // since then, time went on
			}
			if name == "history" {
				value = withoutIDs(value)
				ok = ok && says(withoutIDs(now[name]), value)
				continue
			}
			ok = ok && says(now[name], value)
		}
		return ok
	case []any:
		now, ok := now.([]any)
		return ok && slices.EqualFunc(now, then, says)
	default:
		return reflect.DeepEqual(now, then)
	}
}

// withoutIDs is a history whose facts have but their times: the second half of an id is another one now.
func withoutIDs(history any) any {
	facts, _ := history.([]any)
	said := make([]any, len(facts))
	for i, fact := range facts {
		fact, _ := fact.(printedLine)
		fact = maps.Clone(fact)
		delete(fact, "id")
		said[i] = fact
	}
	return said
}

// afterMigration is what must be said now where something else was said then.
func afterMigration(command string, then printedLine, orders []printedLine) printedLine {
	now := maps.Clone(then)
	if then["schema"] == "1" {
		now["schema"] = "2"
	}
	if then["group"] == "workers" {
		now["group"] = "purchase"
	}
	word := strings.Fields(command)[0]
	switch word {
	case "sales": // posting does not come later any more: they are what is confirmed
		var n, tickets, revenue int64
		for _, o := range orders {
			if o["event_id"] == then["event_id"] && o["state"] == "confirmed" {
				n, tickets, revenue = n+1, tickets+number(o["quantity"]), revenue+number(o["amount"])
			}
		}
		now["orders"], now["tickets_sold"], now["revenue"] = json.Number(fmt.Sprint(n)), json.Number(fmt.Sprint(tickets)), json.Number(fmt.Sprint(revenue))
	case "invoices": // a line says what its order is
		for _, o := range orders {
			if o["event_id"] == then["event_id"] && o["order_id"] == then["order_id"] {
				now["status"] = o["state"]
			}
		}
	case "pending": // what was in hand waits for whoever reclaims it
		now["consumers"] = []any{}
		if number(then["pending"]) > 0 {
			now["consumers"] = []any{printedLine{"name": "migrate", "pending": then["pending"], "alive": false}}
		}
		entries, _ := then["entries"].([]any)
		var moved []any
		for _, entry := range entries {
			entry := maps.Clone(entry.(printedLine))
			entry["consumer"] = "migrate"
			moved = append(moved, entry)
		}
		now["entries"] = append([]any{}, moved...)
	case "dead": // the fact is as facts are written now
		fields, _ := then["fields"].(printedLine)
		if fact, is := fields["confirmed"].(string); is {
			v := strings.Split(fact, "|")
			items := strings.Join(v[2:5], ":")
			now["fields"] = printedLine{"confirmed": strings.Join(append([]string{v[0], v[1], items}, v[5:]...), "|")}
		}
	}
	return now
}

func number(value any) int64 {
	n, err := value.(json.Number).Int64()
	if err != nil {
		panic(err) // it was printed as one
	}
	return n
}

// TestSchema1IsRead asks about the namespace, migrated, what was asked when it was made, and wants the answers of
// then, but for what is known to be said otherwise.
func TestSchema1IsRead(t *testing.T) {
	t.Parallel()
	s := loadSchema1(t)
	commands, output := printed(t)
	if len(commands) == 0 {
		t.Fatal("nothing was printed")
	}
	for _, command := range commands {
		now, then := decodePrinted(t, s.ok(strings.Fields(command)...)), output[command]
		// It may come to tell of more that waits than groups; and what was confirmed is on the invoices at once.
		more := strings.HasPrefix(command, "pending") || strings.HasPrefix(command, "invoices")
		if len(now) < len(then) || len(now) > len(then) && !more {
			t.Errorf("holdfast %s: %d lines, want %d", command, len(now), len(then))
		}
		for _, want := range then {
			want = afterMigration(command, want, output["orders list -o json"])
			i := slices.IndexFunc(now, func(got printedLine) bool { return says(got, want) })
			if i < 0 {
				t.Errorf("holdfast %s: no line says %v; those left are %v", command, want, now)
				continue
			}
			now = slices.Delete(now, i, i+1)
		}
	}
	s.audit(gatewayOfSchema1(t))
}

// TestSchema1IsFinished lets a worker finish what the workers of then left undone: every
// deadline has passed, and every request in line has waited for too long.
func TestSchema1IsFinished(t *testing.T) {
	t.Parallel()
	s := loadSchema1(t)
	gateway := gatewayOfSchema1(t)
	worker := s.worker("worker-1", "--gateway", gateway, "--pay-wait", "1s")
	s.drained(soon)
	worker.Stop(endTime)
	s.audit(gateway)

	want := map[string]string{
		"jazz-night/paid-too-late": "expired", // was held, as the next
		"jazz-night/held-1":        "expired",
		"kabuki/held+2":            "expired",
		"jazz-night/in-hand":       "expired", // was authorized, and nobody knew
		"kabuki/in-hand":           "expired",
		"opera/handed-back":        "expired",
		"kabuki/cart-1":            "cancelled", // was confirmed
		"jazz-night/in-line":       "rejected",  // was not there yet
		"opera/in-line":            "rejected",
		"jazz-night/in-line-more":  "rejected",
	}
	_, output := printed(t)
	for _, o := range output["orders list -o json"] {
		ref := fmt.Sprintf("%s/%s", o["event_id"], o["order_id"])
		if _, changes := want[ref]; !changes {
			want[ref] = fmt.Sprint(o["state"])
		}
	}
	got := make(map[string]string)
	for _, o := range list[orderView](s, "orders", "list") {
		got[o.EventID+"/"+o.OrderID] = o.State
	}
	if !maps.Equal(got, want) {
		t.Errorf("orders are %v, want %v", got, want)
	}

	lines := ledger(t, gateway)
	for _, ref := range []domain.OrderRef{
		{EventID: "jazz-night", OrderID: "late-pay"},
		{EventID: "kabuki", OrderID: "late-pay"},
		{EventID: "jazz-night", OrderID: "not-read"},
		{EventID: "kabuki", OrderID: "not-read"},
	} {
		if l := lines[ref]; l.Status != domain.PaymentStatusCaptured {
			t.Errorf("the payment of %s is %s, want it captured", ref, l.Status)
		}
	}
	letters := list[deadView](s, "dead", "list")
	unknown := slices.DeleteFunc(slices.Clone(letters), func(l deadView) bool { return l.Fields["order_id"] != "pay-without-hold" })
	if more := len(letters) - len(output["dead list -o json"]); more != 1 || len(unknown) != 1 || !strings.HasPrefix(unknown[0].Reason, "unknown_order") {
		t.Errorf("%d more dead letters, want that of the pay without a hold: %+v", more, letters)
	}
}

// gatewayOfSchema1 is a gateway that has done what the one of then did, and its URL.
func gatewayOfSchema1(t *testing.T) string {
	t.Helper()
	gateway := startGateway(t)
	do := func(method, path string, body any) {
		t.Helper()
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequestWithContext(t.Context(), method, gateway+path, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		reply, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = reply.Body.Close() // its status tells
		if reply.StatusCode != http.StatusOK && reply.StatusCode != http.StatusPaymentRequired {
			t.Fatalf("%s %s: %s", method, path, reply.Status)
		}
	}
	books := decodeLines[domain.BooksLine](t, readSchema1(t, "books.jsonl"))
	for _, l := range books {
		path := "/authorizations/" + l.EventID + "/" + l.OrderID
		if l.Authorizations > 0 || l.Status == domain.PaymentStatusDeclined {
			token := "tok_fake"
			if l.Status == domain.PaymentStatusDeclined {
				token = "decline_fake"
			}
			do(http.MethodPut, path, map[string]any{
				"amount": l.Authorized, "currency": l.Currency, "customer_id": l.CustomerID, "payment_token": token,
			})
		}
		if l.Captures > 0 {
			do(http.MethodPost, path+"/capture", nil)
		}
		if l.Refunds > 0 {
			do(http.MethodPost, path+"/refund", nil)
		}
		if l.Status == domain.PaymentStatusVoided {
			do(http.MethodPost, path+"/void", nil)
		}
	}
	done := ledger(t, gateway)
	for _, l := range books {
		l.Calls = 0 // it was asked more often
		now := done[domain.OrderRef{EventID: l.EventID, OrderID: l.OrderID}]
		if now.Calls = 0; now != l {
			t.Fatalf("the gateway has %+v, want %+v", now, l)
		}
	}
	return gateway
}
