// Package schema1 is what a namespace of schema 1 is, as far as it must be read to be taken to schema 2.
// It is frozen: nothing of it changes any more, and nothing but package migrate knows it. It does no I/O.
package schema1

import (
	"strconv"
	"strings"

	"holdfast/domain"
)

// GroupWorkers is the consumer group of the requests.
const GroupWorkers = "workers"

// SlotsNote is the one field of an in_progress hash that is no customer.
const SlotsNote = "#"

// Keys builds the names of keys. Those of the requests and of the meta are the same in every schema.
type Keys struct {
	namespace  string
	partitions []string // "namespace:{p}:"
}

// NewKeys are the keys of a namespace.
func NewKeys(namespace string, partitions int) Keys {
	k := Keys{namespace: namespace, partitions: make([]string, partitions)}
	for p := range k.partitions {
		k.partitions[p] = namespace + ":{" + strconv.Itoa(p) + "}:"
	}
	return k
}

// Log is a stream: the facts.
func (k Keys) Log(p int) string { return k.partitions[p] + "log" }

// Dead is a stream: the dead letters.
func (k Keys) Dead(p int) string { return k.partitions[p] + "dead" }

// Holds is a sorted set: held orders by their deadlines.
func (k Keys) Holds(p int) string { return k.partitions[p] + "holds" }

// SalesSummary is a hash: Totals by event.
func (k Keys) SalesSummary(p int) string { return k.partitions[p] + "sales_summary" }

// Consumers is a sorted set: group/consumer by the time until which it counts as alive.
func (k Keys) Consumers(p int) string { return k.partitions[p] + "consumers" }

// Delivered is a hash: by group, by when which entries had been given to workers.
func (k Keys) Delivered(p int) string { return k.partitions[p] + "delivered" }

// SetAside is a hash: event_id/order_id -> a line for each of its requests that is a dead letter.
func (k Keys) SetAside(p int) string { return k.partitions[p] + "set_aside" }

// Event is a hash.
func (k Keys) Event(p int, eventID string) string { return k.partitions[p] + kindEvent + eventID }

// InProgress is a hash: the order in progress of each customer.
func (k Keys) InProgress(p int, eventID string) string {
	return k.partitions[p] + kindInProgress + eventID
}

// Sales is a set: the orders that are posted.
func (k Keys) Sales(p int, eventID string) string { return k.partitions[p] + kindSales + eventID }

// Order is a string: its record.
func (k Keys) Order(p int, ref domain.OrderRef) string {
	return k.partitions[p] + kindOrder + ref.String()
}

// Invoices is a hash, in the customer's slot.
func (k Keys) Invoices(customerID string) string { return k.invoices() + customerID + "}" }

func (k Keys) invoices() string { return k.namespace + ":invoices:{" }

// MovedLog is where the log is once workers of schema 1 must not find it any more.
func (k Keys) MovedLog(p int) string { return k.partitions[p] + "1:log" }

// MovedDead is where the dead letters are then.
func (k Keys) MovedDead(p int) string { return k.partitions[p] + "1:dead" }

// Kind is of which of the many a key is.
type Kind string

// The kinds of which there are several keys.
const (
	KindEvent      Kind = kindEvent
	KindInProgress Kind = kindInProgress
	KindSales      Kind = kindSales
	KindOrder      Kind = kindOrder
	KindInvoices   Kind = "invoices"
)

const (
	kindEvent      = "event:"
	kindInProgress = "in_progress:"
	kindSales      = "sales:"
	kindOrder      = "order:"
)

// Parse takes a name apart that SCAN has found: its kind, its partition (but for invoices), and of what it is. ok is
// false for a key that is none of the many.
func (k Keys) Parse(key string) (kind Kind, p int, id string, ok bool) {
	if strings.HasPrefix(key, k.invoices()) {
		return KindInvoices, 0, strings.TrimSuffix(key[len(k.invoices()):], "}"), true
	}
	rest, ours := strings.CutPrefix(key, k.namespace+":{")
	number, rest, closed := strings.Cut(rest, "}:")
	p, err := strconv.Atoi(number)
	if !ours || !closed || err != nil || p < 0 || p >= len(k.partitions) {
		return "", 0, "", false
	}
	for _, kind := range []Kind{KindEvent, KindInProgress, KindSales, KindOrder} {
		if id, is := strings.CutPrefix(rest, string(kind)); is {
			return kind, p, id, true
		}
	}
	return "", 0, "", false
}
