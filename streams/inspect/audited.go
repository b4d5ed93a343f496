package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"holdfast/domain"
	"holdfast/streams/audit"
	"holdfast/streams/internal/access"
)

// Audited is what the newest audit found of the books, or of the payments.
type Audited struct {
	Of string `json:"of"` // audit.OfBooks or OfPayments
	audit.Verdict
	AtMillis int64 `json:"at"` // when it was done
}

// KeepVerdict keeps what an audit found, and when by Redis's clock, where Audited finds it. An error leaves the verdict before.
func (in *Inspector) KeepVerdict(ctx context.Context, report audit.Report) error {
	now, err := in.ns.Client.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("asking Redis for the time: %w", access.Classify(err))
	}
	var fields []any
	for of, v := range report.Verdicts() {
		said, err := json.Marshal(Audited{Of: of, Verdict: v, AtMillis: now.UnixMilli()})
		if err != nil {
			return fmt.Errorf("keeping the verdict of an audit: %w", err)
		}
		fields = append(fields, of, said)
	}
	if err := in.ns.Client.HSet(ctx, in.ns.Keys.Audited(), fields...).Err(); err != nil {
		return fmt.Errorf("keeping the verdict of an audit: %w", access.ClassifyChange(err))
	}
	return nil
}

// Audited are the verdicts that were kept: none before the first audit.
func (in *Inspector) Audited(ctx context.Context) ([]Audited, error) {
	h, err := in.ns.Client.HGetAll(ctx, in.ns.Keys.Audited()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading what the last audit found: %w", access.Classify(err))
	}
	var all []Audited
	for _, of := range slices.Sorted(maps.Keys(h)) {
		var a Audited
		if err := json.Unmarshal([]byte(h[of]), &a); err != nil {
			return nil, domain.WithClass(domain.ClassPoison, fmt.Errorf("what the last audit found is damaged: %q", h[of]))
		}
		all = append(all, a)
	}
	return all, nil
}
