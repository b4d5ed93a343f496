package audit

import "fmt"

// What an audit looks at. Of the payments there is a verdict only where the gateway's books were seen, and an audit without
// them leaves the verdict of the one before that saw them.
const (
	OfBooks    = "books"    // everything but these
	OfPayments = "payments" // I4 and I5
	OfArchive  = "archive"  // I11; likewise
)

// Verdict is what an audit found of one of these.
type Verdict struct {
	Violations int    `json:"violations"`
	First      string `json:"first,omitempty"` // the first of them, in words
}

// Verdicts are those of the report, to which violations of the archive may have been added, if that was looked at. Of some payments only
// (Options.FromMillis) there is a verdict if something is wrong.
func (r Report) Verdicts(archive bool) map[string]Verdict {
	verdicts := map[string]Verdict{OfBooks: {}}
	if archive {
		verdicts[OfArchive] = Verdict{}
	}
	if r.Payments != nil && r.Payments.FromMillis == 0 && r.Payments.UntilMillis == 0 {
		verdicts[OfPayments] = Verdict{}
	}
	for _, found := range r.Violations {
		of := OfBooks
		switch found.Invariant {
		case "I4", "I5":
			of = OfPayments
		case "I11":
			of = OfArchive
		}
		v := verdicts[of]
		if v.Violations++; v.Violations == 1 {
			v.First = fmt.Sprintf("%s %s: %.400s", found.Invariant, found.Subject, found.Detail)
		}
		verdicts[of] = v
	}
	return verdicts
}
