package layout

import (
	"strconv"
	"strings"

	"holdfast/domain"
)

// Keys builds the name of every key and channel, and is the only place that
// does. All keys of a partition share the hash tag {p}, so that one script may
// touch them all, in a Redis Cluster too.
type Keys struct {
	Namespace  string   // prefixes every key
	partitions []string // "namespace:{p}:"
}

// NewKeys are the keys of a namespace.
func NewKeys(namespace string, partitions int) Keys {
	k := Keys{Namespace: namespace, partitions: make([]string, partitions)}
	for p := range k.partitions {
		k.partitions[p] = namespace + ":{" + strconv.Itoa(p) + "}:"
	}
	return k
}

// MetaKey is a hash: what the namespace was created with.
func MetaKey(namespace string) string { return namespace + ":meta" }

// Replaced is a hash: when and by whom it was last noticed that the data is other data.
func (k Keys) Replaced() string { return k.Namespace + ":replaced" }

// Troubles is a hash: what workers have to say that is wrong, by worker/what.
func (k Keys) Troubles() string { return k.Namespace + ":troubles" }

// Everything is a pattern for SCAN that all keys of the namespace match.
func (k Keys) Everything() string { return k.Namespace + ":*" }

// Partitions is how many the namespace has.
func (k Keys) Partitions() int { return len(k.partitions) }

// PartitionOf is the partition an event lives in.
func (k Keys) PartitionOf(eventID string) int { return PartitionOf(eventID, len(k.partitions)) }

// Prefix begins every key of a partition; what follows is the kind, and, where there
// are several of a kind, a colon and the id.
func (k Keys) Prefix(p int) string { return k.partitions[p] }

// Requests is a stream.
func (k Keys) Requests(p int) string { return k.partitions[p] + "requests" }

// Log is a stream: the facts.
func (k Keys) Log(p int) string { return k.partitions[p] + "log" }

// Dead is a stream: the dead letters.
func (k Keys) Dead(p int) string { return k.partitions[p] + "dead" }

// Holds is a sorted set: held orders by their deadlines.
func (k Keys) Holds(p int) string { return k.partitions[p] + "holds" }

// SalesSummary is a hash: Totals by event, of every event that was ever listed.
func (k Keys) SalesSummary(p int) string { return k.partitions[p] + "sales_summary" }

// Consumers is a sorted set: group/consumer by the time until which it counts as alive.
func (k Keys) Consumers(p int) string { return k.partitions[p] + "consumers" }

// Delivered is a hash: by group, by when which entries had been given to workers.
func (k Keys) Delivered(p int) string { return k.partitions[p] + "delivered" }

// Probe is a key that never exists: a write of nothing to it shows whether writes are refused.
func (k Keys) Probe(p int) string { return k.partitions[p] + "probe" }

// Turn is a key that exists while one worker does a maintenance job.
func (k Keys) Turn(p int, job string) string { return k.partitions[p] + "turn:" + job }

// SetAside is a hash: event_id/order_id -> a line for each of its requests that is a dead letter.
func (k Keys) SetAside(p int) string { return k.partitions[p] + "set_aside" }

// Outcomes is a pub/sub channel. Pub/sub knows no databases: what tells the namespaces of
// one name on one server apart is the epoch.
func (k Keys) Outcomes(p int, epoch string) string { return k.partitions[p] + "outcomes:" + epoch }

// Event is a hash.
func (k Keys) Event(p int, eventID string) string { return k.partitions[p] + "event:" + eventID }

// InProgress is a hash: the order in progress of each customer.
func (k Keys) InProgress(p int, eventID string) string {
	return k.partitions[p] + "in_progress:" + eventID
}

// SlotsNote is the one field of an in_progress hash that is no customer: see scripts/create_event.lua.
const SlotsNote = "#"

// Sales is a set: the orders that are sold.
func (k Keys) Sales(p int, eventID string) string { return k.partitions[p] + "sales:" + eventID }

// Order is a string: its record.
func (k Keys) Order(p int, ref domain.OrderRef) string {
	return k.partitions[p] + "order:" + ref.EventID + "/" + ref.OrderID
}

// Invoices is a hash: an InvoiceLine by order. It is in the customer's slot, not in a partition's.
func (k Keys) Invoices(customerID string) string {
	return k.invoices() + customerID + "}"
}

// AnyInvoices is a pattern for SCAN that all customers' invoices match.
func (k Keys) AnyInvoices() string { return k.invoices() + "*" }

func (k Keys) invoices() string { return k.Namespace + ":invoices:{" }

// CustomerOf is the inverse of Invoices; ok is false for another key.
func (k Keys) CustomerOf(key string) (customerID string, ok bool) {
	customerID, ok = strings.CutPrefix(key, k.invoices())
	if !ok {
		return "", false
	}
	return strings.TrimSuffix(customerID, "}"), true
}

// Names of the streams, as dead letters and commands say them.
const (
	StreamRequests = "requests"
	StreamLog      = "log"
)

// StreamOf is the stream a group reads: its key and its name.
func (k Keys) StreamOf(p int, group domain.Group) (key, name string) {
	if group == domain.GroupWorkers {
		return k.Requests(p), StreamRequests
	}
	return k.Log(p), StreamLog
}

// Groups are the three, in the order in which people are told of them.
var Groups = [...]domain.Group{domain.GroupWorkers, domain.GroupPosting, domain.GroupSettlement}

// PartitionOf is the partition an event lives in: CRC16-XMODEM of its id, modulo
// the number of partitions. Publishers in every language compute the same.
func PartitionOf(eventID string, partitions int) int {
	return int(crc16(eventID)) % partitions
}

// crc16 is CRC-16/XMODEM: polynomial 0x1021, start 0, nothing reflected; the one
// Redis Cluster uses for its slots.
func crc16(s string) uint16 {
	var crc uint16
	for i := range len(s) {
		crc = crc<<8 ^ crc16Table[byte(crc>>8)^s[i]]
	}
	return crc
}

var crc16Table = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()
