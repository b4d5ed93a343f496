//go:build planted

package streams

import (
	"testing"

	"holdfast/e2e/torture"
)

// TestPlantedMissing plants bugs where orders come back that a failover lost.
func TestPlantedMissing(t *testing.T) {
	torture.PlantEach(t, "bugs planted in giving back what was lost", 2, missingBugs, "-run", "TestMissing")
}

var missingBugs = []torture.Bug{
	{"an order comes back though its places are taken", "../domain/restore.go", "		if item.Quantity > section.Available {\n				return ReasonSoldOut, item.Section\n			}", ""},
	{"an order comes back though its seats are taken", "../domain/restore.go", "reason != \"\" {\n			return reason, item.Section", "reason == \"none\" {\n			return reason, item.Section"},
	{"an order comes back to who has as many as they may", "../domain/restore.go", "	case more > 0 && e.MaxPerCustomer > 0 && v.Places+more > e.MaxPerCustomer:\n		return ReasonOverCustomer, \"\"\n", "	case more < 0:\n		return ReasonOverCustomer, \"\"\n"},
	{"an order comes back twice, or after it has gone on", "../domain/restore.go", "if is.Version != \"\" && entryAfter(is.Version, c.Common) {", "if false {"},
	{"what is restored is of another body, and is captured once more", "../domain/restore.go", "	next.Version, next.ResolvedAtMillis = \"\", 0\n", "	next.Version, next.ResolvedAtMillis, next.Fingerprint = \"\", 0, \"another\"\n"},
	{"what has no place is cancelled without anybody asking for it", "../domain/restore.go", "if !c.Refund {", "if false {"},
	{"what has no place is cancelled, and its money kept", "../domain/restore.go", "next = next.ends(FactCancelled, ReasonPlacesGone)", "next.State, next.Reason, next.Kept = OrderCancelled, ReasonPlacesGone, next.PaidAmount()"},
	{"the money of another body is given back", "../domain/restore.go", "case is.Fingerprint != was.Fingerprint && is.Fingerprint != \"\":", "case false:"},
	{"a look changes something", "missing.go", "	if apply {\n", "	if true {\n"},
	{"places of a customer who has no order are not counted", "move.go", "customer := cmp.Or(was.CustomerID, d.next.CustomerID)", "customer := was.CustomerID"},
	{"what is held again never ends", "scripts/move.lua", "        redis.call('ZADD', KEYS[3], ARGV[at + 2], members[n])\n        redis.call('HSET'", "        redis.call('HSET'"},
	{"what is held again is not in progress", "scripts/move.lua", "        redis.call('HSET', KEYS[5], ARGV[at + 3], match(members[n], '/(.*)$'))\n", ""},
	{"what is held again is so beside another order", "scripts/move.lua", "(bounds[n] == 'anew' or bounds[n] == 'hold') and redis", "bounds[n] == 'anew' and redis"},
}
