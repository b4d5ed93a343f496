package audit

import "fmt"

// What an audit looks at. Of the payments there is a verdict only where the gateway's books were seen, and an audit without
// them leaves the verdict of the one before that saw them.
const (
	OfBooks    = "books"    // everything but the payments
	OfPayments = "payments" // I4 and I5
)

// Verdict is what an audit found of one of these.
type Verdict struct {
	Violations int    `json:"violations"`
	First      string `json:"first,omitempty"` // the first of them, in words
}

// Verdicts are those of the report.
func (r Report) Verdicts() map[string]Verdict {
	verdicts := map[string]Verdict{OfBooks: {}}
	if r.Payments != nil {
		verdicts[OfPayments] = Verdict{}
	}
	for _, found := range r.Violations {
		of := OfBooks
		if found.Invariant == "I4" || found.Invariant == "I5" {
			of = OfPayments
		}
		v := verdicts[of]
		if v.Violations++; v.Violations == 1 {
			v.First = fmt.Sprintf("%s %s: %.400s", found.Invariant, found.Subject, found.Detail)
		}
		verdicts[of] = v
	}
	return verdicts
}
