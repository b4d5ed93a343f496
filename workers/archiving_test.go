package workers

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
)

// What fails is told when it has failed for a while, in whichever partition for the longest; not any more when it works, nor when this worker has not failed for so
// long that others had the turn.
func TestFailingIsToldAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchiving(zap.NewNop(), "trimming", domain.Trouble{What: "trimming", Code: domain.CodeLogNotTrimmed, Text: "not trimmed: "}, 10*time.Minute, 20*time.Minute)
		want := func(what, text string, lasted time.Duration) {
			t.Helper()
			is := a.look()
			if text == "" && len(is) > 0 || text != "" && (len(is) != 1 || is[0] != domain.Trouble{What: "trimming", Code: domain.CodeLogNotTrimmed, Text: "not trimmed: " + text, LastedMillis: lasted.Milliseconds()}) {
				t.Errorf("%s: %+v", what, is)
			}
		}
		fail := func(partition int, why string) { a.failed(partition, errors.New(why)) }
		fail(0, "away")
		want("at once", "", 0)
		time.Sleep(9 * time.Minute)
		fail(0, "still away")
		fail(1, "another one")
		want("for 9 minutes", "", 0)
		time.Sleep(time.Minute)
		want("for 10", "still away", 10*time.Minute)
		a.worked(0)
		want("it works in that partition", "", 0)
		time.Sleep(9 * time.Minute)
		want("the other one", "another one", 10*time.Minute)
		time.Sleep(11 * time.Minute)
		want("it has not failed for long", "", 0)
		fail(1, "again")
		want("it fails again", "", 0)
		time.Sleep(10 * time.Minute)
		want("for 10 minutes again", "again", 10*time.Minute)
	})
}
