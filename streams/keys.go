package streams

import (
	"strconv"

	"holdfast/domain"
)

// DefaultNamespace prefixes every key.
const DefaultNamespace = "holdfast"

// keys builds the name of every key and channel, and is the only place that
// does. All keys of a partition share the hash tag {p}, so that one script may
// touch them all, in a Redis Cluster too.
type keys struct {
	namespace  string
	partitions []string // "namespace:{p}:"
}

func newKeys(namespace string, partitions int) keys {
	k := keys{namespace: namespace, partitions: make([]string, partitions)}
	for p := range k.partitions {
		k.partitions[p] = namespace + ":{" + strconv.Itoa(p) + "}:"
	}
	return k
}

func metaKey(namespace string) string { return namespace + ":meta" }

func (k keys) requests(p int) string     { return k.partitions[p] + "requests" }
func (k keys) log(p int) string          { return k.partitions[p] + "log" }
func (k keys) dead(p int) string         { return k.partitions[p] + "dead" }
func (k keys) holds(p int) string        { return k.partitions[p] + "holds" }
func (k keys) salesSummary(p int) string { return k.partitions[p] + "sales_summary" }

// consumers is a sorted set: group/consumer by the time until which it counts as alive.
func (k keys) consumers(p int) string { return k.partitions[p] + "consumers" }

// turn is a key that exists while one worker does a maintenance job.
func (k keys) turn(p int, job string) string { return k.partitions[p] + "turn:" + job }

// outcomes is a pub/sub channel.
func (k keys) outcomes(p int) string { return k.partitions[p] + "outcomes" }

func (k keys) event(p int, eventID string) string { return k.partitions[p] + "event:" + eventID }
func (k keys) inProgress(p int, eventID string) string {
	return k.partitions[p] + "in_progress:" + eventID
}

// inProgressNote is the one field of an in_progress hash that is no customer: see scripts/create_event.lua.
const inProgressNote = "#"

func (k keys) sales(p int, eventID string) string { return k.partitions[p] + "sales:" + eventID }

func (k keys) order(p int, ref domain.OrderRef) string {
	return k.partitions[p] + "order:" + ref.EventID + "/" + ref.OrderID
}

// invoices is in the customer's slot, not in a partition's.
func (k keys) invoices(customerID string) string {
	return k.namespace + ":invoices:{" + customerID + "}"
}

func (k keys) invoicesPattern() string { return k.namespace + ":invoices:{*}" }

// customerOf is the inverse of invoices.
func (k keys) customerOf(invoicesKey string) string {
	prefix := len(k.namespace) + len(":invoices:{")
	if len(invoicesKey) <= prefix {
		return ""
	}
	return invoicesKey[prefix : len(invoicesKey)-1]
}

// Names of the streams, as dead letters and commands say them.
const (
	streamRequests = "requests"
	streamLog      = "log"
)

// streamOf is the stream a group reads: its key and its name.
func (k keys) streamOf(p int, group domain.Group) (key, name string) {
	if group == domain.GroupWorkers {
		return k.requests(p), streamRequests
	}
	return k.log(p), streamLog
}

var groups = [...]domain.Group{domain.GroupWorkers, domain.GroupPosting, domain.GroupSettlement}

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
