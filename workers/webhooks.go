package workers

import "context"

// Webhooks tells others of orders.
type Webhooks interface {
	// Run sends until reading ends; what is under way then may still end, until working does. It deals with whatever fails by itself: nothing else of the
	// worker ends, or waits, because of it.
	Run(reading, working context.Context)
}
