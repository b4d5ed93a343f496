package workers

import (
	"context"

	"holdfast/domain"
)

// Webhooks tells others of orders.
type Webhooks interface {
	// Run sends until reading ends; what is under way then may still end, until working does. It deals with whatever fails by itself: nothing else of the
	// worker ends, or waits, because of it.
	Run(reading, working context.Context)
	// Counts are how often each endpoint was tried.
	Counts() map[string]domain.WebhookCounts
}

// WebhookCounts are how often this worker has tried each endpoint; none if webhooks is no role of it.
func (p *Pool) WebhookCounts() map[string]domain.WebhookCounts {
	if p.webhooks == nil {
		return nil
	}
	return p.webhooks.Counts()
}
