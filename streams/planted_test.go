//go:build planted

package streams

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/e2e/torture"
)

// TestPlantedBugs plants one bug after the other where the rules are: in Decide, in the step from what was decided to
// what is stored, and in the scripts. Random commands, or concurrent clients, must find it. A bug that nothing
// finds is one in the tests.
//
// It is planted while the tests are built (go build -overlay), so that nothing of it is in the product.
func TestPlantedBugs(t *testing.T) {
	seed := torture.Seed(t)
	tally := torture.Begin(t, 11, "bugs planted in the rules")
	overlays := make(map[string]string, len(plantedBugs))
	for _, b := range plantedBugs { // whether there still is a place for each of them
		overlays[b.name] = torture.Plant(t, filepath.Join("..", b.file), b.old, b.new)
	}
	bugs := torture.Some(t, plantedBugs, 4, seed)
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel() // most of the time of one goes into waiting for replies
			b.catch(t, overlays[b.name], seed, tally)
		})
	}
	tally.Count("bugs", len(bugs))
}

// plantedBug is a file of the program that says something else than it should.
type plantedBug struct{ name, file, old, new string }

var plantedBugs = []plantedBug{
	// What is decided: the second opinion must differ.
	{"Decide confirms what has expired", decideFile, "case !o.payableAt(nowMillis):\n			return expired(ref), VerdictVoid", "case !o.payableAt(0):\n			return expired(ref), VerdictVoid"},
	{
		"Decide cancels with the wrong sale", decideFile, "Items: o.Items, Currency: o.Currency, ConfirmedAtMillis: o.ConfirmedAtMillis,",
		"Items: o.Items + \"1\", Currency: o.Currency, ConfirmedAtMillis: o.ConfirmedAtMillis,",
	},
	{"Decide cancels without the time of the sale", decideFile, "ConfirmedAtMillis: o.ConfirmedAtMillis,", "ConfirmedAtMillis: o.HeldAtMillis,"},
	{
		"Decide confirms with the wrong sale", decideFile, "Items: o.Items, Currency: o.Currency, AuthorizationID: c.AuthorizationID,",
		"Items: o.Items + \"1\", Currency: o.Currency, AuthorizationID: c.AuthorizationID,",
	},
	{"Decide takes no answer for a no", decideFile, "case c.Outcome == PaymentDeclined:", "case c.Outcome == PaymentDeclined || c.Outcome == PaymentUnknown:"},
	{"Decide lets a hold wait for an answer for ever", decideFile, "return expired(ref), VerdictVoid", "return nil, VerdictWait"},
	{
		"Decide keeps money that comes too late", decideFile, "		if c.Outcome == PaymentDeclined {\n			return nil, VerdictDone\n		}\n		return nil, VerdictVoid\n	}\n	return nil, VerdictDone",
		"		return nil, VerdictDone\n	}\n	return nil, VerdictDone",
	},
	{"Decide expires before the deadline", decideFile, "nowMillis < v.Order.PayableUntilMillis()", "nowMillis < v.Order.HeldAtMillis"},
	{
		"Decide gives up what is held because a capture was refused", decideFile, "case c.Reason == ReasonCaptureFailed && o.State != OrderConfirmed && o.State != OrderCancelled:",
		"case c.Reason == ReasonCaptureFailed && o.State == OrderNone:",
	},
	{"Decide does not tell another body from the same", decideFile, "o.Fingerprint != c.Request.Fingerprint {", "o.CustomerID != c.Request.CustomerID {"},
	{"Decide pays what waited too long", decideFile, "o.payableAt(nowMillis) && nowMillis-c.EntryMillis > c.ValidMillis", "o.payableAt(nowMillis) && nowMillis-c.EntryMillis > c.ValidMillis+1000"},

	{"Decide lets an attempt begin while the one before is open", decideFile, "o.Attempt > 0 && o.PayState != PayDeclined:\n", "false:\n"},
	{"Decide confirms by an attempt that is over", decideFile, "(c.Attempt != o.Attempt || o.PayState == PayDeclined)", "(c.Attempt > o.Attempt)"},
	{"Decide ends a hold because an attempt was declined", decideFile, "c.Outcome == PaymentDeclined && o.RequestType == RequestHold:", "c.Outcome == PaymentDeclined && o.RequestType == \"\":"},
	{"Decide does not tell another pay from the same", decideFile, "o.PayFingerprint != c.Fingerprint {", "false {"},
	{"Decide tries again what was declined", decideFile, "case c.Attempt < o.Attempt, c.Attempt == o.Attempt && o.PayState != PayOpen:", "case c.Attempt < o.Attempt:"},

	{"Decide changes an order without a look at the number", changeFile, "case r.Change <= o.Change:", "case false:"},
	{"Decide does not tell another change of the number", changeFile, "case r.Change == o.Change && r.Fingerprint != o.ChangeFingerprint:", "case false:"},
	{"Decide takes seats that are not free", changeFile, "if len(blamed) > 0 {", "if reason = \"\"; len(blamed) > 0 {"},
	{"Decide moves who has what they want", changeFile, "case best && len(own) == wish.Quantity &&", "case false &&"},
	{"Decide leaves apart who wants to be side by side", changeFile, "(asked.Apart || own[len(own)-1]-own[0] == len(own)-1)", "true"},
	{"what an order gives is not free for it", changeFile, "err == nil {\n		all = freed", "err == nil {\n		all, _ = all, freed"},
	{"Decide changes what is being paid for", changeFile, "if o.BeingPaid() {", "if false {"},
	{"what is given back is not owed", changeFile, "less := o.Amount() - next.Amount()", "less := int64(0)"},
	{"a refund granted twice", changeFile, "o.owes(was, f.Refund)", "o.owes(was, 2*f.Refund)"},
	{"a refund of more than was paid", changeFile, "amount == 0 || amount > left", "amount == 0"},
	{"a cancel that shall refund nothing refunds", "domain/apply.go", "next.owes(o, 0)", "next.owes(o, o.Amount())"},
	{"money is kept that could not be captured", "domain/apply.go", "next.owes(o, o.PaidAmount())", "next.owes(o, 0)"},

	{"Decide confirms late without a look at the customer's other order", decideFile, "case v.InProgress != \"\":\n		return gone", "case false:\n		return gone"},
	{"Decide confirms late without a look at the seats", "domain/restore.go", "Named: own}); reason != \"\" {", "Named: own}); false && reason != \"\" {"},
	{"Decide lets lapse what ends", decideFile, "if v.Order.State == OrderHeld && v.Event.LateApprovalMillis > 0 {", "if v.Order.State == OrderHeld {"},
	{"Decide lapses for ever", decideFile, "if v.Order.State == OrderHeld && v.Event.LateApprovalMillis > 0 {", "if v.Event.LateApprovalMillis > 0 {"},
	{"Decide ends what may lapse", decideFile, "if v.Order.State == OrderHeld && v.Event.LateApprovalMillis > 0 {", "if false {"},
	{"a late approval without compare of the customer's order in progress", moveFile, "if (bounds[n] == 'anew' or bounds[n] == 'hold') and redis.call", "if false and redis.call"},
	{"what lapses is not among the holds", moveFile, "if fact == 'lapsed' then", "if false then"},
	{"an order in progress ends with another one that lapsed", "streams/move.go", "case d.fact == nil, d.bound != \"anew\" && was.State == domain.OrderLapsed:", "case d.fact == nil:"},
	{"a late approval without compare of the terms", "streams/ledger.go", "if m.exchanges(j) && e.Exists() {", "if m.exchanges(j) && e.Exists() && m.order(j).State != domain.OrderLapsed {"},
	{"a dispute that was asked for before is believed", "domain/dispute.go", "case c.Version != o.Version:", "case false:"},
	{"a dispute changes nothing", "domain/dispute.go", "	o.Dispute, o.DisputedAtMillis = f.Dispute, f.AtMillis\n", "	o.DisputedAtMillis = f.AtMillis\n"},
	{"a dispute of more than was paid", "domain/dispute.go", "d.Amount = min(d.Amount, o.PaidAmount())", "d.Amount = max(d.Amount, 0)"},
	{"nobody asks about disputes", "domain/decide.go", "|| o.hasPayment() && c.Attempt == o.LastAttempt()", ""},
	{"nobody asks about what lapsed", "domain/order.go", "|| o.State == OrderLapsed && o.BeingPaid()", ""},

	// What is made of it.
	{"an exchange that gives and does not take", "streams/move.go", "for _, by := range d.Each() {", "for _, by := range []domain.Effect{d.Effect} {"},
	{"an exchange without compare of the terms", "streams/ledger.go", "m.terms[ref.EventID] = e.Version", "delete(m.terms, ref.EventID)"},
	{"an exchange without compare of what is beside its seats", "streams/move.go", "if !e.NoOrphans {", "if true {"},
	{"an exchange up to no limit", moveFile, "if tonumber(ARGV[by + 2]) < 0 and most > 0 and left > most then", "if false then"},
	{"what may free places behind what takes them", "streams/move.go", "all || waits[m.stands[i]]", "waits[m.stands[i]]"},
	{"what takes places waits, and what is behind it does not", "streams/move.go", "all := m.exchange(later)", "all := false"},
	{"an order twice in a call", "streams/move.go", "row, known := of[m.stands[i]]", "row, known := of[-1]"},
	{"acknowledges what has still to be voided", "streams/move.go", "if verdict == domain.VerdictDone && m.entries[i] != \"\" {", "if m.entries[i] != \"\" {"},
	{"decides again about what it had read", "streams/move.go", "m.orders[m.stands[i]] = o\n	}\n	return nil", "_ = o\n	}\n	return nil"},
	{"sales are not reversed", "streams/move.go", "		if d.Sold != 0 {\n", "		if d.Sold > 0 {\n"},
	{"cancels with an event that was looked at once", "streams/move.go", "for eventID, version := range m.terms {", "for eventID, version := range map[string]int64{} {"},

	{"holds what the gateway does not take", holdFile, "class.amount < tonumber(least) then", "false then"},

	// What is stored.
	{"hold without compare of the branch", holdFile, "if (values[#fields] or '') ~= BRANCH then", "if false then"},
	{"move without compare of the branch", moveFile, "if (values[#fields] or '') ~= BRANCH then", "if false then"},
	{"a branch begun without compare", "streams/scripts/begin_branch.lua", "if branch ~= ARGV[1] then", "if false then"},
	{"move without compare", moveFile, "if not is or", "if"},
	{"version without seq", moveFile, "string.find(record, version .. '|', 1, true) == 1", "match(record, '^%d+') == match(version, '^%d+')"},
	{"that there is an order for its version", moveFile, "string.find(record, version .. '|', 1, true) == 1", "record ~= ''"},
	{"a deadline not checked", moveFile, "(bound == 'before' or bound == 'anew' or bound == 'hold') and now >=", "bound == 'never' and now >="},
	{"XACK before the swap", moveFile, "local stale = { stamp, 'stale' }\n", "local stale = { stamp, 'stale' }\n" +
		"if ACKS <= #ARGV then\n  redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, ACKS))\nend\n"},
	{
		"now from TIME alone", "streams/scripts/lib/log.lua", "return math.max(tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000), tonumber(newest or '0'))",
		"return tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)",
	},
	{"the time of the newest entry is not kept", moveFile, "local changes = { '#now', stamp }", "local changes = { '#now', values[1] }"},
	{"goes on to ask about what is over", moveFile, "elseif ARGV[head + 2] == '-' then", "elseif false then"},
	{"asks about nobody", moveFile, "redis.call('ZADD', KEYS[6 + B], int(now + FIRST_ASKED), members[n])", "local _ = FIRST_ASKED"},
	{"Decide believes what was done for another attempt", decideFile, "o.Awaited() && c.Attempt == o.Attempt", "o.Awaited()"},
	{"two orders of a customer in one batch", holdFile, "      in_progress[customer] = true\n", ""},
	{"a batch that takes more than there is", holdFile, "if item.quantity > item.section.available then", "if item.quantity > tonumber(item.section.capacity) - item.section.sold then"},
	{"looks whether there are places for the first item only", holdFile, "    item = item.next\n  until not item\n  return nil\n", "    item = nil\n  until not item\n  return nil\n"},
	{"takes the places of the first item only", holdFile, "section.available - item.quantity, section.held + item.quantity, true\n        item = item.next", "section.available - item.quantity, section.held + item.quantity, true\n        item = nil"},
	{"gives back the places of the first item only", "streams/move.go", "				if item.Places != \"\" {\n					from, to := by.Marks(", "				if by.Available > 0 {\n					break\n				}\n				if item.Places != \"\" {\n					from, to := by.Marks("},
	{"a limit per customer that is not looked at", holdFile, "if limit and places[customer] + class.places > limit then", "if false then"},
	{"a limit per customer that counts what one order has", holdFile, "places[customer] + class.places > limit", "class.places > limit"},
	{"places of a customer not given back", "streams/move.go", "if n := d.Places(); d.Available > 0 &&", "if n := d.Places(); d.Available > 0 && d.Sold < 0 &&"},
	{"places of a customer not given back on expiry", "streams/move.go", "if n := d.Places(); d.Available > 0 &&", "if n := d.Places(); d.Available > 0 && d.fact.Type != domain.FactExpired &&"},
	{"a customer without places is kept", moveFile, "local lists = left > 0 and kept or gone", "local lists = kept"},
	{"refused demand of the first item only", holdFile, "refused_places[field] = refused_places[field] + count * item.quantity\n      end\n      item = item.next", "refused_places[field] = refused_places[field] + count * item.quantity\n      end\n      item = nil"},
	{"refused demand counts requests", holdFile, "refused_places[field] + count * item.quantity", "refused_places[field] + count"},
	{"all items at one price", decideFile, "section, _ := e.Section(item.Section)\n		got :=", "section, _ := e.Section(DefaultSection)\n		got :="},
	{"an order from before its event is not found", "streams/scripts/lib/orders.lua", "if #missing > 0 and others[hash] then", "if false then"},
	{"an order from before its event is not noted", holdFile, "early[class.section.id] = (early[class.section.id] or 0) + 1", ""},
	{"forgotten without compare", forgetFile, "local is_now = record and string.find(record, version .. '|', 1, true) == 1", "local is_now = record"},
	{"an order from before its event counts when it is forgotten", forgetFile, "'0')) - 1", "'0'))"},

	{"an older fact takes the place of a newer one that is owed", "streams/scripts/owe.lua", "elseif not kept[order] then", "else"},

	// Whose trace an order keeps.
	{"a record does not keep its trace", holdFile, "(further[i] and further[i] .. ';t' or 't') .. trace", "further[i]"},
	{"a record of a refusal does not keep its trace", holdFile, "'|t' .. trace .. '|' .. detail", "'||' .. detail"},
	{"a refusal forgets the trace", decideFile, "Detail: detail, Trace: c.Trace,", "Detail: detail,"},
	{"a confirmation forgets the trace", decideFile, "later(c.Attempt), Trace: o.Trace,", "later(c.Attempt),"},
	// What goes of the log.
	{"the log is trimmed before it is durable", "streams/scripts/trim_log.lua", "before(position, upto)", "false"},
	{"the log is trimmed behind another branch's mark", "streams/scripts/trim_log.lua", "if branch ~= ARGV[1] or before", "if before"},
	{"the log is trimmed under whoever has an entry in hand", "streams/scripts/trim_log.lua", "if pending[1] > 0 and before(pending[2], upto) then", "if false then"},
	{"an entry is trimmed that a dead letter needs", "streams/trimlog.go", "if letter.Stream == layout.StreamLog {", "if false {"},
	{"what was trimmed is taken for other data", "streams/replaced.go", "return isEntry(entry.Val(), known) || layout.ParseLogID(trimmed.Val()).After(known.id), nil", "return isEntry(entry.Val(), known) || trimmed == nil, nil"},
	{"orders that were trimmed are left out in silence", "streams/internal/access/log.go", "if err != nil || mark == (layout.LogID{}) || sinceMillis", "if true || sinceMillis"},

	// What is sent to webhooks.
	{"a webhook's mark moves, and its messages are not there", "streams/scripts/copy_webhook.lua", "for order, queue in pairs(queues) do", "for order, queue in pairs({}) do"},
	{"messages for a webhook are copied without compare of its mark", "streams/scripts/copy_webhook.lua", "~= ARGV[1] or (redis.call('HGET', KEYS[2], ARGV[3]) or '') ~= ARGV[4] then", "~= ARGV[1] then"},
	{"a message is dropped that a webhook did not take", "streams/scripts/settle_webhook.lua", "if ARGV[5] == 'taken' then", "if true then"},
	{"the next message of an order is due while the one before is in hand", "streams/scripts/take_webhook.lua", "redis.call('ZADD', KEYS[2], int(now + tonumber(ARGV[5])), order)", "redis.call('ZADD', KEYS[2], int(now), order)"},
	{"two senders of one webhook", "streams/scripts/take_webhook.lua", "and who ~= ARGV[2] then", "and false then"},
	{"a late answer counts for another try", "streams/scripts/settle_webhook.lua", "if not waiting or string.sub(", "if not waiting or false and string.sub("},
	{"a webhook's queue without end", "streams/webhooks.go", "at.waiting >= domain.MaxWebhookQueue {", "false {"},
	{"a webhook goes on behind what the log has lost", "streams/webhooks.go", "if common := layout.ParseLogID(b.Common); m.Position.After(common) {", "if common := layout.ParseLogID(b.Common); false {"},
	{"nobody is told that facts are gone that a webhook was not sent", "streams/webhooks.go", "begins.missing(from) {\n			known = false\n", "begins.missing(from) {\n			_ = known\n"},

	// Which seats are taken.
	{"Choose leaves seats alone", "domain/seats/places.go", "if length == w.Quantity || length > w.Quantity+1 {", "if length >= w.Quantity {"},
	{"a seat is taken without a look", seatsFile, "if not free(s, i, code) then", "if false then"},
	{"a seat is given back without a look", seatsFile, "if is and is ~= from or not is and byte(places, i) ~= was then", "if false then"},
	{"best available leave seats alone", seatsFile, "if not free(s, behind, code) or free(s, behind + 1, code) then", "if true then"},
	{"named seats leave seats alone", seatsFile, "if free(s, before, code) and not free(s, before - 1, code) then", "if false then"},
	{"what is left of a run is forgotten", seatsFile, "if from < kind.suited then", "if false then"},
	{"what is free again is forgotten", seatsFile, "s.behind = true", "s.behind = false"},
	{"Choose is not told that no seat may be left alone", decideFile, "choose(item, got.Free(), e.NoOrphans)", "choose(item, got.Free(), false)"},
	{"no event minds seats that are left alone", holdFile, "section.mark, section.event.strict, '-')", "section.mark, false, '-')"},
	{"seats of an order that does not get all are kept", holdFile, "          seats.change(before.section.seats, before.list, '-', before.section.mark)\n", ""},
	{"seats are given that a caller knows nothing of", holdFile, "if not parted and tag ~= ARGV[at + 2] then", "if false then"},
	{"names for an event that minds nothing left alone", holdFile, "(limit ~= '' and '|' or '') .. strict ~= ARGV", "(limit ~= '' and '|' or '') ~= string.gsub(ARGV[EVENTS + 2 * e - 1], '!', '') and ARGV"},
	{"seats that expire are not given back", "streams/move.go", "if item.Places != \"\" {\n					from", "if item.Places != \"\" && d.fact.Type != domain.FactExpired {\n					from"},
	{"a seat that is sold stays held", moveFile, "seats.list_of(ARGV[n]), from, to)", "seats.list_of(ARGV[n]), from, to == '+' and from or to)"},

	// Who gets places of an allocation, and where they go.
	{"a code's use is not given back on expiry", "streams/move.go", "if d.Code != \"\" {\n			codes", "if d.Code != \"\" && d.fact.Type != domain.FactExpired {\n			codes"},
	{"a code's use is never given back", "domain/apply.go", "effect.Code, effect.Uses = o.Code, -1", "effect.Code, effect.Uses = o.Code, 0"},
	{"a code that is used up opens", holdFile, "and (code.uses == 0 or code.used < code.uses) then", "then"},
	{"a code that is revoked opens", holdFile, "code and code.open and", "code and"},
	{"a code opens every allocation", holdFile, "code.allocation == class.opens", "true"},
	{"the time of an allocation is ignored", holdFile, "section.on_sale = on_sale(event, tail)", "section.on_sale = event.on_sale"},
	{"Decide ignores the time of an allocation", "domain/allocation.go", "if a.OnSaleMillis > 0 {", "if false {"},
	{"seats of an allocation are given back to everybody", "streams/move.go", "by.Marks(item.Free())", "by.Marks(seats.Free)"},
	{"seats are moved without a look", "streams/scripts/adjust_event.lua", "if wrong then", "if false then"},
	{"who has a letter redriven is not noted", "streams/scripts/redrive.lua", "note_handled(KEYS[7], now, 'redriven', ARGV[1], ARGV[2], done)\n", ""},
	{"a letter that is gone is noted as discarded", "streams/scripts/discard.lua", "  if found then\n    local letter = {}", "  done[#done + 1] = { id = ARGV[i], order = '', entry_id = '' }\n  if found then\n    local letter = {}"},
	{"places are put together as they came", seatsFile, "if not s.ascending then", "if false then"},
}

const (
	decideFile = "domain/decide.go"
	changeFile = "domain/change.go"
	moveFile   = "streams/scripts/move.lua"
	holdFile   = "streams/scripts/hold.lua"
	forgetFile = "streams/scripts/forget.lua"
	seatsFile  = "streams/scripts/lib/seats.lua"
)

// finders are the tests that must find a bug, in this order, with so many sequences: those of exchanges, allocations, late approvals, webhooks, a trimmed log and seats are
// done in seconds, and some bugs of scripts show in one of 200 only.
var finders = []struct{ test, sequences string }{
	{"Test(Exchange|Refund|AdjustAllocations|Allocation|Codes|RevokedCodes|Late|Lapsed|Owe|Webhook|TrimLog|TrimmedLog).*", "1"}, {"TestTortureSeatsFollowTheRules", "600"}, {"TestTortureScriptsFollowTheRules", "3000"}, {"TestTortureLinearizability", "600"},
}

// catch builds the tests with the bug in them, and runs them until one fails.
func (b plantedBug) catch(t *testing.T, overlay string, seed uint64, tally *torture.Tally) {
	binary := filepath.Join(t.TempDir(), "streams.test")
	if said, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, said)
	}
	for _, f := range finders {
		test := f.test
		run := exec.CommandContext(t.Context(), binary, "-test.run", "^"+test+"$", "-rapid.checks", f.sequences, "-rapid.nofailfile", "-rapid.shrinktime", "0s")
		run.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HOLDFAST_TORTURE") }), "SEED="+strconv.FormatUint(seed, 10))
		said, err := run.CombinedOutput()
		if err == nil {
			continue
		}
		// A test that fails says where. A sequence is a run.
		found := regexp.MustCompile(`(?m)^ +\w+_test\.go:\d+: (?:\[rapid\] failed after (\d+) tests: )?(.+)$`)
		for _, line := range found.FindAllStringSubmatch(string(said), -1) {
			if strings.HasPrefix(line[2], "SEED=") || strings.HasPrefix(line[2], "[rapid] flaky") { // what depends on the time may not come again
				continue
			}
			runs, _ := strconv.Atoi(line[1]) // none, if it is not of rapid
			tally.Count("caught", 1)
			tally.Count("runs until caught", max(runs, 1))
			tally.Note("%s | %s | %.160s | %d", b.name, test, line[2], max(runs, 1))
			t.Logf("%s, after %d: %.300s", test, max(runs, 1), line[2])
			return
		}
		t.Fatalf("%s: %v, and no test says why:\n%s", test, err, said)
	}
	t.Error("nothing was wrong")
}
