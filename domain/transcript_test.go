package domain_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/domain/wire"
)

var update = flag.Bool("update", false, "write what the transcripts in testdata say now")

// TestTranscripts plays the transcripts in testdata/transcripts: commands above each ----, what they lead to
// below it, until an empty line. They are to be read from top to bottom, as a book of the rules.
//
//	go test ./domain -run Transcripts -update
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := newPlay(t).all(string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(text) && !*update {
				t.Errorf("it goes\n%s", got)
			}
		})
	}
}

// play is a book that commands are decided by, and that the facts they lead to are folded into.
type play struct {
	t    *testing.T
	book *domain.Snapshot
	now  int64
	sent map[string][]string // the fields of each order's last request
}

func newPlay(t *testing.T) *play {
	return &play{t: t, book: domain.NewSnapshot(), sent: make(map[string][]string)}
}

// all plays a transcript and returns it with what came of each command.
func (p *play) all(text string) string {
	var out strings.Builder
	below := false // a ----, where the file says what came of it last time
	for line := range strings.Lines(text) {
		switch line = strings.TrimSuffix(line, "\n"); {
		case below:
			below = line != ""
		case line == "----":
			below = true
			continue
		}
		if below {
			continue
		}
		out.WriteString(line + "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if said := p.command(words.FindAllString(line, -1)); said != "" {
			out.WriteString("----\n" + said)
		}
	}
	return out.String()
}

// words are those of a command. Between quotes they may have spaces.
var words = regexp.MustCompile(`([^\s"]|"[^"]*")+`)

// command is a name, what it is about, and NAME=VALUE pairs.
func (p *play) command(words []string) string {
	with := make(map[string]string)
	var about []string
	for _, word := range words[1:] {
		if name, value, found := strings.Cut(word, "="); found {
			with[name] = strings.Trim(value, `"`)
		} else {
			about = append(about, word)
		}
	}
	subject := ""
	if len(about) > 0 {
		subject = about[0]
	}
	cause := domain.Cause{Reason: with["reason"], By: with["by"]}
	e := p.book.Events[subject]
	switch words[0] {
	case "at":
		p.now = p.number(subject)
		return ""
	case "create":
		return p.event(domain.Create(e, subject, p.terms(domain.Terms{}, about[1:], with)))
	case "adjust":
		return p.event(domain.Adjust(e, subject, p.terms(e.Terms(), about[1:], with)))
	case "close":
		return p.event(domain.Close(e, subject, cause))
	case "reopen":
		return p.event(domain.Reopen(e, subject, cause))
	case "cancel-event":
		return p.event(domain.CancelEvent(e, subject, cause))
	case "show":
		return p.show(subject)
	}
	ref, ok := domain.ParseOrderRef(subject)
	if !ok {
		p.t.Fatalf("%q: want EVENT/ORDER", words)
	}
	switch words[0] {
	case "purchase", "hold", "pay":
		return p.request(ref, words[0], with)
	case "again":
		return p.take(ref, p.sent[ref.String()], p.now)
	case "approved", "declined", "unknown":
		outcome := map[string]domain.PaymentOutcome{"approved": domain.PaymentApproved, "declined": domain.PaymentDeclined, "unknown": domain.PaymentUnknown}
		attempt := p.number(cmp.Or(with["attempt"], "1"))
		return p.decide(ref, domain.Resolve{Attempt: int(attempt), Outcome: outcome[words[0]], AuthorizationID: with["authorization"]})
	case "expire":
		return p.decide(ref, domain.Expire{})
	case "cancel":
		return p.decide(ref, domain.Cancel{Reason: cmp.Or(with["reason"], domain.ReasonRequested)})
	}
	p.t.Fatalf("no such command: %q", words)
	return ""
}

func (p *play) number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// terms are those given, changed as the command says; SECTION CAPACITY PRICE stand for a section each.
func (p *play) terms(t domain.Terms, sections []string, with map[string]string) domain.Terms {
	t.Name, t.Currency = cmp.Or(with["name"], t.Name), cmp.Or(with["currency"], t.Currency)
	for name, field := range map[string]*int64{"max_per_order": &t.MaxPerOrder, "on_sale": &t.OnSaleMillis, "off_sale": &t.OffSaleMillis} {
		if said, given := with[name]; given {
			*field = p.number(said)
		}
	}
	for s := range slices.Chunk(sections, 3) {
		i := slices.IndexFunc(t.Sections, func(old domain.SectionTerms) bool { return old.Name == s[0] })
		if i < 0 {
			t.Sections = append(t.Sections, domain.SectionTerms{Name: s[0]})
			i = len(t.Sections) - 1
		}
		t.Sections[i].Capacity, t.Sections[i].Price = p.number(s[1]), p.number(s[2])
	}
	return t
}

func (p *play) event(fact *domain.Fact, err error) string {
	if err != nil {
		return fmt.Sprintf("%s: %v\n", domain.CodeOf(err), err)
	}
	return p.fold(fact)
}

// request is one that a checkout makes, as it stands in the stream. waited is how long it was in line.
func (p *play) request(ref domain.OrderRef, kind string, with map[string]string) string {
	waited := int64(0)
	if kind != "pay" && with["quantity"] == "" {
		with["quantity"] = "1"
	}
	version := "1"
	if with["attempt"] != "" {
		version = "2"
	}
	fields := []string{"v", version, "type", kind, "event_id", ref.EventID, "order_id", ref.OrderID}
	for _, name := range slices.Sorted(maps.Keys(with)) {
		if name == "waited" {
			waited = p.number(with[name])
			continue
		}
		fields = append(fields, name, with[name])
	}
	if kind != "hold" {
		fields = append(fields, "payment_token", "tok_1")
	}
	p.sent[ref.String()] = fields
	return p.take(ref, fields, p.now-waited)
}

// take handles a request as a worker with default flags does.
func (p *play) take(ref domain.OrderRef, fields []string, atMillis int64) string {
	const holdMillis, validMillis = 120_000, 900_000
	r, err := wire.ParseRequest(fields)
	invalid := ""
	if err != nil {
		invalid = err.Error()
	}
	if r.Type == domain.RequestPay {
		return p.decide(ref, domain.Pay{Attempt: r.AttemptNumber(), Fingerprint: r.Fingerprint, EntryMillis: atMillis, ValidMillis: validMillis})
	}
	return p.decide(ref, domain.Hold{
		Request: r, Invalid: invalid, EntryMillis: atMillis, ValidMillis: validMillis, HoldMillis: cmp.Or(1000*r.HoldSeconds, holdMillis),
	})
}

func (p *play) decide(ref domain.OrderRef, c domain.Command) string {
	customer := ""
	if h, ok := c.(domain.Hold); ok {
		customer = h.Request.CustomerID
	}
	fact, verdict := domain.Decide(p.book.View(ref, customer), ref, p.now, c)
	return p.fold(fact) + "-> " + verdict.String() + "\n"
}

// fold takes a fact over, and says how it stands in the log.
func (p *play) fold(fact *domain.Fact) string {
	if fact == nil {
		return "nothing changes\n"
	}
	fact.AtMillis = p.now
	if err := p.book.Fold(*fact); err != nil {
		p.t.Fatal(err)
	}
	return string(fact.Type) + " " + wire.FactLine(*fact) + "\n"
}

// show is an event with its orders, as they are now.
func (p *play) show(eventID string) string {
	var out strings.Builder
	e := p.book.Events[eventID]
	state := "on sale"
	switch {
	case e.Cancelled:
		state = "cancelled"
	case e.Closed:
		state = "closed"
	case !e.OnSaleAt(p.now):
		state = "not on sale"
	}
	fmt.Fprintf(&out, "%s version %d, %s\n", eventID, e.Version, state)
	for _, s := range e.Sections {
		fmt.Fprintf(&out, "  %s: %d available, %d held, %d sold of %d\n", s.Name, s.Available, s.Held, s.Sold, s.Capacity)
	}
	for _, ref := range slices.SortedFunc(maps.Keys(p.book.Orders), func(a, b domain.OrderRef) int { return cmp.Compare(a.String(), b.String()) }) {
		if o := p.book.Orders[ref]; ref.EventID == eventID {
			fmt.Fprintf(&out, "  %s: %s\n", ref.OrderID, strings.TrimSpace(o.State.String()+" "+o.Reason))
		}
	}
	return out.String()
}
