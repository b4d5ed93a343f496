//go:build planted

package audit_test

import (
	"testing"

	"holdfast/e2e/torture"
)

func TestPlantedBugs(t *testing.T) {
	torture.PlantEach(t, "bugs planted in the audit", 2, plantedBugs, "-run", "TestAuditDoesNotCare|TestAuditFromASnapshot|TestAuditWithABrokenArchive")
}

var plantedBugs = []torture.Bug{
	{"a snapshot behind which something waits is asked for", "begin.go", "			if !id.After(done) {\n				done = id.Before()", "			if false {\n				done = id.Before()"},
	{"a snapshot that posting has not come to is asked for", "begin.go", "		if done.After(at.delivered) {", "		if false {"},
	{"a log that begins in the middle is folded all the same", "begin.go", "	p.unknown = true\n", "	p.unknown = false\n"},
	{"what is neither archived nor in the log is not missed", "begin.go", "	case !begins.After(folded) || fromTheMiddle:", "	case folded != (layout.LogID{}) || fromTheMiddle:"},
	{"an archive of another branch is folded", "begin.go", "mark.Branch != branch && !goesOnFrom(branch, layout.AsString(is.Val()[1]), mark) {", "branch == \"\" {"},
	{"what a broken archive has told is kept", "begin.go", "		p.take(domain.ArchivedBook{Book: domain.NewSnapshot(), Last: \"0-0\"})\n", ""},
	{"what is older than the snapshot is judged by no position", "partition.go", "			*id = p.based\n", ""},
	{"sales of a snapshot are not counted", "begin.go", "		if o.State == domain.OrderConfirmed {", "		if o.State == domain.OrderNone {"},
}
