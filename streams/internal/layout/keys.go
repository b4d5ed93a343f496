package layout

import (
	"slices"
	"strconv"
	"strings"

	"holdfast/domain"
)

// Keys builds the name of every key and channel, and is the only place that
// does. All keys of a partition share the hash tag {p}, so that one script may
// touch them all, in a Redis Cluster too.
//
// All but the requests and the meta have the schema in their names: a program of another one
// finds nothing of this one's, and changes nothing of it.
type Keys struct {
	Namespace  string   // prefixes every key
	partitions []string // "namespace:{p}:2:"
	anyones    string   // "namespace:2:invoices:{"
}

// PartitionOfKey is the partition that a key is of, whatever it is; ok is false for one of none.
func (k Keys) PartitionOfKey(key string) (p int, ok bool) {
	rest, is := strings.CutPrefix(key, k.Namespace+":{")
	number, _, found := strings.Cut(rest, "}:")
	p, err := strconv.Atoi(number)
	return p, is && found && err == nil && p >= 0
}

// IsNote reports whether a key of a partition has only what programs note of themselves, of their work, of whom they have turned away and of what webhooks
// are to be sent.
func (k Keys) IsNote(p int, key string) bool {
	kind, ours := strings.CutPrefix(key, k.partition(p)+Schema+":")
	kind, _, _ = strings.Cut(kind, ":")
	return ours && slices.Contains([]string{"consumers", "delivered", "pace", "claims", "handled", "turn", "turned_away", "over", "webhook_marks", "webhook_due", "webhook_queue", "webhook_tries"}, kind)
}

// Schema is the one that this program speaks. SchemaBefore is what package migrate takes to it, and SchemaBetween
// what a namespace has meanwhile: no program works on that.
const (
	Schema        = "2"
	SchemaBefore  = "1"
	SchemaBetween = "1 to 2"
	// SchemaRestoring is what a namespace has while package restore writes it. No program works on that, whatever its version.
	SchemaRestoring = "restoring"
)

// NewKeys are the keys of a namespace.
func NewKeys(namespace string, partitions int) Keys {
	k := Keys{Namespace: namespace, partitions: make([]string, partitions), anyones: namespace + ":" + Schema + ":invoices:{"}
	for p := range k.partitions {
		k.partitions[p] = k.partition(p) + Schema + ":"
	}
	return k
}

func (k Keys) partition(p int) string { return k.Namespace + ":{" + strconv.Itoa(p) + "}:" }

// MetaKey is a hash: what the namespace was created with.
func MetaKey(namespace string) string { return namespace + ":meta" }

// Replaced is a hash: when and by whom it was last noticed that the data is other data.
func (k Keys) Replaced() string { return k.Namespace + ":replaced" }

// Troubles is a hash: what workers have to say that is wrong, by worker/what.
func (k Keys) Troubles() string { return k.Namespace + ":troubles" }

// Workers is a hash: what each worker says of itself (JSON), by its name.
func (k Keys) Workers() string { return k.Namespace + ":workers" }

// APIKeys is a hash: an APIKey (JSON) by its id.
func (k Keys) APIKeys() string { return k.Namespace + ":api_keys" }

// APIKeysUsed is a hash: when a key was used last, in milliseconds, by its id.
func (k Keys) APIKeysUsed() string { return k.Namespace + ":api_keys_used" }

// Webhooks is a hash: an endpoint (JSON) by its id. WebhookSecrets are their secrets, where fewer may read them.
func (k Keys) Webhooks() string { return k.Namespace + ":webhooks" }

// WebhookSecrets is a hash: the secrets of an endpoint (JSON) by its id.
func (k Keys) WebhookSecrets() string { return k.Namespace + ":webhook_secrets" }

// Audited is a hash: what the newest audit found (JSON), by what it looked at.
func (k Keys) Audited() string { return k.Namespace + ":audited" }

// Pauses is a hash: what is paused, and what was of late (JSON), by what it is.
func (k Keys) Pauses() string { return k.Namespace + ":pauses" }

// Everything is a pattern for SCAN that all keys of the namespace match.
func (k Keys) Everything() string { return k.Namespace + ":*" }

// Partitions is how many the namespace has.
func (k Keys) Partitions() int { return len(k.partitions) }

// PartitionOf is the partition an event lives in.
func (k Keys) PartitionOf(eventID string) int { return PartitionOf(eventID, len(k.partitions)) }

// Prefix begins every key of a partition; what follows is the kind, and, where there
// are several of a kind, a colon and the id.
func (k Keys) Prefix(p int) string { return k.partitions[p] }

// Requests is a stream. Its name is a contract with whoever publishes: it has no schema.
func (k Keys) Requests(p int) string { return k.partition(p) + "requests" }

// LogBefore is what the schema before called the log. A stream of that name is of a namespace that is not migrated.
func (k Keys) LogBefore(p int) string { return k.partition(p) + "log" }

// Log is a stream: the facts.
func (k Keys) Log(p int) string { return k.partitions[p] + "log" }

// Dead is a stream: the dead letters.
func (k Keys) Dead(p int) string { return k.partitions[p] + "dead" }

// Holds is a sorted set: held orders by their deadlines.
func (k Keys) Holds(p int) string { return k.partitions[p] + "holds" }

// Owed is a sorted set: event_id/order_id of the orders whose money waits, by when they are due to be settled.
func (k Keys) Owed(p int) string { return k.partitions[p] + "owed" }

// OwedNotes is a hash: an OwedNote for each order of Owed.
func (k Keys) OwedNotes(p int) string { return k.partitions[p] + "owed_notes" }

// Consumers is a sorted set: group/consumer by the time until which it counts as alive.
func (k Keys) Consumers(p int) string { return k.partitions[p] + "consumers" }

// Delivered is a hash: by group, by when which entries had been given to workers.
func (k Keys) Delivered(p int) string { return k.partitions[p] + "delivered" }

// Claims is a list, the newest first: when people had the entries of a worker that was gone handed over, who, and why.
func (k Keys) Claims(p int) string { return k.partitions[p] + "claims" }

// Handled is a list, the newest first: which dead letters people had redriven, rerouted or discarded, when, who, and why.
func (k Keys) Handled(p int) string { return k.partitions[p] + "handled" }

// Parked is a hash: of each event that has parked requests, how many. They are in ParkedOf, a sorted set, in the order in which
// they were published.
func (k Keys) Parked(p int) string { return k.partitions[p] + "parked" }

// ParkedOf is where an event's parked requests are.
func (k Keys) ParkedOf(p int, eventID string) string { return k.Parked(p) + ":" + eventID }

// Probe is a key that never exists: a write of nothing to it shows whether writes are refused.
func (k Keys) Probe(p int) string { return k.partitions[p] + "probe" }

// Turn is a key that exists while one worker does a maintenance job.
func (k Keys) Turn(p int, job string) string { return k.partitions[p] + "turn:" + job }

// Pace is a list: a Sample of the requests of every second or so while there are any, of longer ago of fewer.
func (k Keys) Pace(p int) string { return k.partitions[p] + "pace" }

// Unknown is a sorted set: "entry-id event_id/order_id …", the orders that a log entry rejected because there was no such
// event, by when none of their requests that had been published by then is valid any more.
func (k Keys) Unknown(p int) string { return k.partitions[p] + "unknown" }

// Over is a hash: an OverNote of each event that is closed, by its id.
func (k Keys) Over(p int) string { return k.partitions[p] + "over" }

// Forgetting is a hash: of each event that is forgotten, and whose orders are not yet, where they are (ForgettingNote), by its id.
func (k Keys) Forgetting(p int) string { return k.partitions[p] + "forgetting" }

// Archived is a string: how far the log is archived (DecodeArchived).
func (k Keys) Archived(p int) string { return k.partitions[p] + "archived" }

// Restoring is a string: the run of package restore that writes the partition, or that it was written whole. RestoredLog and RestoredEvents are
// what the log and the events are called until then: whoever knows the namespace from before finds neither, and changes nothing.
func (k Keys) Restoring(p int) string { return k.partitions[p] + "restoring" }

// RestoredLog is the log while it is written.
func (k Keys) RestoredLog(p int) string { return k.Restoring(p) + ":log" }

// RestoredEvents are the events while they are written.
func (k Keys) RestoredEvents(p int) string { return k.Restoring(p) + ":events" }

// WebhookMarks is a hash: of each endpoint the fields that begin with its id: up to where the log was copied for it (WebhookMark), and
// WebhookReplay, WebhookWaiting, WebhookLease, WebhookLost, WebhookTaken and WebhookFailed.
func (k Keys) WebhookMarks(p int) string { return k.partitions[p] + "webhook_marks" }

// WebhookReplay is a field of WebhookMarks: up to where the log was copied for an endpoint once more (WebhookMark).
func WebhookReplay(id string) string { return id + "#replay" }

// WebhookWaiting is one: how many messages wait for an endpoint.
func WebhookWaiting(id string) string { return id + "#waiting" }

// WebhookLease is one: until when, in milliseconds, a bar, and who sends to an endpoint.
func WebhookLease(id string) string { return id + "#lease" }

// WebhookLost is one: since when, in milliseconds, facts are missing in the log that an endpoint was not sent.
func WebhookLost(id string) string { return id + "#lost" }

// WebhookTaken is one: how many tries an endpoint has taken, and WebhookFailed how many it has not.
func WebhookTaken(id string) string { return id + "#taken" }

// WebhookFailed is one.
func WebhookFailed(id string) string { return id + "#failed" }

// WebhookDue is a sorted set: event_id/order_id of the orders of which an endpoint is to be sent something, by when that is due.
func (k Keys) WebhookDue(p int, id string) string { return k.partitions[p] + "webhook_due:" + id }

// WebhookQueue is a hash: by event_id/order_id a WebhookHeader, and under it a WebhookLine for each message, the oldest first.
func (k Keys) WebhookQueue(p int, id string) string { return k.partitions[p] + "webhook_queue:" + id }

// WebhookTries is a list, the newest first: how an endpoint was tried lately (JSON).
func (k Keys) WebhookTries(p int, id string) string { return k.partitions[p] + "webhook_tries:" + id }

// Awaited is the sorted set of the orders whose customers have something to do at their bank, event_id/order_id by when the
// gateway is asked about them next.
func (k Keys) Awaited(p int) string { return k.partitions[p] + "awaited" }

// SetAside is a hash: event_id/order_id -> a line for each of its requests that is a dead letter.
func (k Keys) SetAside(p int) string { return k.partitions[p] + "set_aside" }

// Outcomes is a pub/sub channel. Pub/sub knows no databases: what tells the namespaces of
// one name on one server apart is the epoch.
func (k Keys) Outcomes(p int, epoch string) string { return k.partitions[p] + "outcomes:" + epoch }

// Events is a hash: of each event the fields TermsField, AboutField, SalesField and, for each section,
// SectionField; perhaps EarlyField, RefusedFields and CodeFields; and ClockField, BranchField, BranchesField and TrimmedField.
func (k Keys) Events(p int) string { return k.partitions[p] + "events" }

// Places is a hash: what each seat of a seated section is (package seats), by SectionField. They are not in Events: many a script
// reads a section that has nothing to do with its seats.
func (k Keys) Places(p int) string { return k.partitions[p] + "places" }

// TurnedAway is a hash: how many places were asked for in vain of whoever recorded nothing of it, by RefusedField.
func (k Keys) TurnedAway(p int) string { return k.partitions[p] + "turned_away" }

// ClockField is one of Events: the time of the newest log entry.
const ClockField = "#now"

// BranchField is one of Events: the id of the partition's branch. BranchesField lists it and those before it (DecodeBranches).
const (
	BranchField   = "#branch"
	BranchesField = "#branches"
)

// TrimmedField is one of Events: the trim mark, the id of the oldest entry that was left in the log when it was trimmed last. It is not there if it never was.
const TrimmedField = "#trimmed"

// TermsField is what the scripts read of an event. It is there if and only if the event is.
func TermsField(eventID string) string { return eventID }

// AboutField is what only people read of an event.
func AboutField(eventID string) string { return eventID + "#about" }

// SalesField is the Totals of an event.
func SalesField(eventID string) string { return eventID + "#sales" }

// EarlyField is how many orders there are from before the event was: refused, or cancelled unseen; it is not there if there
// are none. They are in the hash that it shares.
func EarlyField(eventID string) string { return eventID + "#early" }

// SectionField is a section's price, capacity and where its places are.
func SectionField(eventID, section string) string { return eventID + "/" + section }

// CodeField is an access code of an event, by its hash.
func CodeField(eventID, hash string) string { return eventID + "!" + hash }

// RefusedField is how many places of a section were asked for in vain, for a reason; it is there if any were.
func RefusedField(what domain.RefusedDemand) string {
	return SectionField(what.EventID, what.Section) + "#" + what.Reason
}

// InProgress is a hash: the order in progress of each event_id/customer_id.
func (k Keys) InProgress(p int) string { return k.partitions[p] + "in_progress" }

// InProgressField is one of InProgress.
func InProgressField(eventID, customerID string) string { return eventID + "/" + customerID }

// Orders of a partition are in hashes, by event_id/order_id. Those of most events share sharedOrders of
// them, by the event; those of an event of many places have hashes of their own, by the order, as many as
// its terms say: no key shall grow without bound, and an event's orders be found without a look at all. Each
// hash of a batch costs calls, so there are no more than that takes: an order is some 220 bytes.
const (
	sharedOrders    = 32     // of all partitions, but for leastShared
	leastShared     = 4      // of each
	fewPlaces       = 50_000 // of an event that has no hashes of its own
	placesPerHash   = 400_000
	mostOrderHashes = 64
)

// OrderHashes is how many hashes of its own an event gets when it is created: 0 for none.
func OrderHashes(t domain.Terms) int {
	places := int64(0)
	for _, s := range t.Sections {
		places += s.Capacity
	}
	return hashesFor(places)
}

// OrderHashesOf is how many an event gets that is written anew, as it is.
func OrderHashesOf(e domain.Event) int {
	places := int64(0)
	for _, s := range e.Sections {
		places += s.Capacity
	}
	return hashesFor(places)
}

func hashesFor(places int64) int {
	if places < fewPlaces {
		return 0
	}
	return int(min((places+placesPerHash-1)/placesPerHash, mostOrderHashes))
}

// OrderHash names one of a partition's hashes of orders.
type OrderHash struct {
	EventID string // whose own it is; empty: one of the shared ones
	Index   int
}

// SharedHash is the hash that an event shares with others. An order of an event with hashes of its own
// is there, too, if it was refused before the event was created.
func (k Keys) SharedHash(eventID string) OrderHash {
	shared := max(sharedOrders/k.Partitions(), leastShared)
	return OrderHash{Index: int(fnv1a(eventID) % uint32(shared))} //nolint:gosec // leastShared to sharedOrders
}

// HashOf is the hash of an order of an event that has so many of its own.
func (k Keys) HashOf(ref domain.OrderRef, hashes int) OrderHash {
	if hashes == 0 {
		return k.SharedHash(ref.EventID)
	}
	return OrderHash{EventID: ref.EventID, Index: int(fnv1a(ref.OrderID) % uint32(hashes))} //nolint:gosec // 1 to mostOrderHashes
}

// Orders is a hash: an order's record by event_id/order_id.
func (k Keys) Orders(p int, h OrderHash) string {
	if h.EventID == "" {
		return k.OrdersPrefix(p) + strconv.Itoa(h.Index)
	}
	return k.OrdersPrefix(p) + h.EventID + "/" + strconv.Itoa(h.Index)
}

// Customers is a hash: how many places each event_id/customer_id has, held and sold, of events that have a limit of that. There is
// one beside each hash of orders, and an event has as many of its own, where its customers are by HashOfCustomer.
func (k Keys) Customers(p int, h OrderHash) string {
	if h.EventID == "" {
		return k.CustomersPrefix(p) + strconv.Itoa(h.Index)
	}
	return k.CustomersPrefix(p) + h.EventID + "/" + strconv.Itoa(h.Index)
}

// CustomersPrefix begins the names of all hashes of customers of a partition.
func (k Keys) CustomersPrefix(p int) string { return k.partitions[p] + "customers:" }

// HashOfCustomer is the one that a customer of an event is in which has so many hashes of its own.
func (k Keys) HashOfCustomer(eventID, customerID string, hashes int) OrderHash {
	return k.HashOf(domain.OrderRef{EventID: eventID, OrderID: customerID}, hashes)
}

// OrdersPrefix begins the names of all hashes of orders of a partition.
func (k Keys) OrdersPrefix(p int) string { return k.partitions[p] + "orders:" }

// fnv1a is the 32 bit FNV-1a hash.
func fnv1a(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// Invoices is a hash: its fields are the orders of a customer that were ever confirmed, its values are empty. It is
// in the customer's slot, not in a partition's.
func (k Keys) Invoices(customerID string) string { return string(k.AppendInvoices(nil, customerID)) }

// AppendInvoices is Invoices without a string of its own.
func (k Keys) AppendInvoices(b []byte, customerID string) []byte {
	return append(append(append(b, k.anyones...), customerID...), '}')
}

// AnyInvoices is a pattern for SCAN that all customers' invoices match.
func (k Keys) AnyInvoices() string { return k.anyones + "*" }

// CustomerOf is the inverse of Invoices; ok is false for another key.
func (k Keys) CustomerOf(key string) (customerID string, ok bool) {
	customerID, ok = strings.CutPrefix(key, k.anyones)
	if !ok {
		return "", false
	}
	return strings.TrimSuffix(customerID, "}"), true
}

// Names of the streams, as dead letters and commands say them.
const (
	StreamRequests = "requests"
	StreamLog      = "log"
	StreamOwed     = "owed" // no stream: the list of orders whose money waits
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
