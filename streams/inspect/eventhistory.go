package inspect

import (
	"context"

	"holdfast/domain"
)

// EventHistory are the facts about an event itself, not those about its orders, the oldest first. The log of its partition is read for
// them, from its start: progress is told how many log entries were read since it was told last. Error: of domain.CodeLogTrimmed, beside
// what there is, if the log does not reach back as far any more.
func (in *Inspector) EventHistory(ctx context.Context, eventID string, progress func(entries int)) (history []domain.Fact, err error) {
	p := in.ns.Keys.PartitionOf(eventID)
	last := ""
	_, err = in.ns.ReadLog(ctx, p, "0-0", "+", func(f domain.Fact) error {
		if f.ID != last {
			last = f.ID
			progress(1)
		}
		if f.OrderID == "" && f.EventID == eventID {
			history = append(history, f)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return history, in.ns.SinceBegin(ctx, p, 0)
}
