//go:build planted

package streams

import (
	"testing"

	"holdfast/e2e/torture"
)

// TestPlantedForgetting plants bugs where events are forgotten that are over.
func TestPlantedForgetting(t *testing.T) {
	torture.PlantEach(t, "bugs planted in forgetting events", 2, forgettingBugs, "-run", "ForgetEvent|EventThatIsForgotten|NotForgotten|RecallEvent|NotRecalled")
}

var forgettingBugs = []torture.Bug{
	{"an event is forgotten before it is settled", "forget_event.go", "range []domain.Group{domain.GroupPosting, domain.GroupSettlement} {\n		if to :=", "range []domain.Group{domain.GroupPosting} {\n		if to :="},
	{"an event is forgotten before it is posted", "forget_event.go", "range []domain.Group{domain.GroupPosting, domain.GroupSettlement} {\n		if to :=", "range []domain.Group{domain.GroupSettlement} {\n		if to :="},
	{"an event is forgotten before it is archived", "forget_event.go", "done := layout.ParseLogID(state.Mark.Position)", "done := layout.LogID{Millis: 1 << 62}"},
	{"an event is forgotten that is archived on another branch", "forget_event.go", "if state.Mark.Branch != state.Branch {", "if state.Mark.Branch == \"\" {"},
	{"an event is forgotten while an order is held", "forget_event.go", "open = open || o.Open() || err != nil", "open = open || err != nil"},
	{"an event is forgotten that a person must look at", "forget_event.go", "if letter.Stream != layout.StreamRequests && (", "if letter.Stream == \"none\" && ("},
	{"what comes about an event while it is looked at is not seen", "scripts/forget_event.lua", "for n = 2, #since do", "for n = 2, 0 do"},
	{"the mark of an event that is forgotten is not written", "scripts/forget_event.lua", ", event, int(tonumber(ARGV[3]) + 1) .. '|f|' .. id)", ")\nredis.call('HDEL', KEYS[2], event)"},
	{"what was cancelled is confirmed on the invoices", "../domain/order.go", "return Line{o.CustomerID, o.State,", "return Line{o.CustomerID, OrderConfirmed,"},
	{"orders go before the invoices say what they were", "forget_event.go", "if err := f.finalLines(ctx, page); err != nil {", "if err := f.finalLines(ctx, nil); err != nil {"},
	{"posting writes over what the invoices say", "posting.go", "args.text(\"hsetnx\")", "args.text(\"hset\")"},
	{"an order of an event that is forgotten is changed", "scripts/move.lua", "  if over then\n", "  if false then\n"},
	{"a request for an event that is forgotten is recorded", "scripts/hold.lua", "elseif class.section.event == OVER then", "elseif false then"},
	{"a request for an event that is forgotten is not acknowledged", "scripts/hold.lua", "    reply[1 + S + i] = '!'\n    acks[#acks + 1] = entry\n", "    reply[1 + S + i] = '!'\n"},
	{"orders that an event had before it was listed stay", "forget_event.go", "if f.note.Hashes == 0 || f.note.Early {", "if f.note.Hashes == 0 {"},
	{"whoever waits is not told", "outcomes.go", "err == nil && t.Over != \"\" {\n			over[events[i]] = true", "err == nil && t.Over == \"\" {\n			over[events[i]] = false"},
	{"an event is recalled before its orders are", "recall_event.go", "	if err := r.orders(ctx); err != nil {", "	if err := r.write(ctx, nil, \"\", nil); err != nil {"},
	{"orders are recalled with versions of their own", "recall_event.go", "		key := k.Orders(r.p, hash)\n", "		key := k.Orders(r.p, hash)\n		o.Version = r.is.Over + \"1-1\"\n"},
	{"an event is recalled on sale", "recall_event.go", "	event.Version = there.Version + 1\n", "	event.Version, event.Closed = there.Version + 1, false\n"},
	{"orders that come back are forgotten", "forget_event.go", "if note.Recalled {", "if false {"},
	{"orders come back while they go", "scripts/recall_orders.lua", "if noted and noted ~= ARGV[4] then", "if false then"},
	{"orders come back twice", "scripts/recall_orders.lua", "  if not value then\n", "  if true then\n"},
	{"what a restore had brought back is recalled once more", "scripts/recall_orders.lua", "KEYS[5] ~= KEYS[4] and redis", "false and redis"},
	{"what a restore had brought back stays where it put it, too", "scripts/recall_orders.lua", "if #moved > 0 then", "if false then"},
	{"an event comes back on another branch", "scripts/recall_orders.lua", "if (is[3] or '') ~= ARGV[1] or", "if"},
	{"what customers have does not come back", "recall_event.go", "range r.book.Places[r.id] {", "range r.book.Places[\"\"] {"},
	{"whoever knew that it was forgotten goes on not to find its orders", "internal/access/reads.go", "terms.Version > 0 && terms.Over == \"\"", "terms.Version > 0"},
	{"orders are forgotten on another branch", "scripts/forget_orders.lua", "if (is[1] or '') ~= ARGV[1] or not", "if not"},
}
