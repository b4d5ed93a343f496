package streams

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams/inspect"
)

// TestTroubles: what a worker reports is what is read, until it reports something else, or
// nothing more for a minute.
func TestTroubles(t *testing.T) {
	f := newFixture(t)
	captures := domain.Trouble{What: "gateway capture", Code: domain.CodeGatewayMisconfigured, Text: "answered 401: \"é\" <&> \\ \n }", LastedMillis: 4_000}
	slow := domain.Trouble{What: "gateway void", Code: domain.CodeGatewaySlow, Text: "takes 8s"}
	report := func(worker string, troubles ...domain.Trouble) {
		t.Helper()
		f.Must(f.ledger.Report(f.Ctx, worker, troubles))
	}
	want := func(want ...inspect.Trouble) {
		t.Helper()
		got, err := f.inspector.Troubles(f.Ctx, f.Now())
		f.Must(err)
		now := f.Now()
		for i := range got {
			if seen := got[i].SeenMillis; seen > now || seen < now-5_000 {
				t.Errorf("seen at %d, now it is %d", seen, now)
			}
			got[i].SinceMillis -= got[i].SeenMillis
			got[i].SeenMillis = 0
		}
		if !slices.Equal(got, want) {
			t.Errorf("troubles\n%+v\nwant\n%+v", got, want)
		}
	}
	want()
	report("w1")
	if n := f.Do("EXISTS", f.Keys.Troubles()); n != int64(0) {
		t.Errorf("no trouble is kept: %v", f.Dump())
	}
	report("w1", captures, slow)
	later := captures
	later.LastedMillis = 1_000
	report("w10", later)
	report("w1", captures, slow) // again: the same
	ofCaptures := inspect.Trouble{Worker: "w1", Code: "gateway_misconfigured", Text: captures.Text, SinceMillis: -4_000}
	alsoOfCaptures, ofVoids := ofCaptures, inspect.Trouble{Worker: "w1", Code: "gateway_slow", Text: slow.Text}
	alsoOfCaptures.Worker, alsoOfCaptures.SinceMillis = "w10", -1_000
	want(ofCaptures, ofVoids, alsoOfCaptures)
	report("w1", slow)
	want(ofVoids, alsoOfCaptures)

	// What nobody says any more, and what nobody of ours has said.
	old := f.Now() - time.Minute.Milliseconds() - 1
	f.Do("HSET", f.Keys.Troubles(), "w2/gateway", `{"code":"gateway_busy","text":"","since_ms":1,"seen_ms":`+strconv.FormatInt(old, 10)+`}`,
		"w3/gateway", `{"code":"gateway_busy","text":"","since_ms":1,"seen_ms":`+strconv.FormatInt(old-time.Hour.Milliseconds(), 10)+`}`, "w4/x", "{", "w5", "")
	want(ofVoids, alsoOfCaptures)
	report("w1", slow)
	if got := f.Do("HKEYS", f.Keys.Troubles()); len(got.([]any)) != 3 {
		t.Errorf("kept %v, want what was said within an hour", got)
	}
	report("w1")
	report("w10")
	want()
}

// TestReportWhenMemoryIsFull: people must hear of trouble above all then.
func TestReportWhenMemoryIsFull(t *testing.T) {
	f := newFixture(t)
	f.Do("CONFIG", "SET", "maxmemory", "1")
	defer f.Do("CONFIG", "SET", "maxmemory", "0")
	f.Must(f.ledger.Report(f.Ctx, "w1", []domain.Trouble{{What: "gateway", Code: domain.CodeGatewayBusy, Text: "t"}}))
	if got, err := f.inspector.Troubles(f.Ctx, f.Now()); err != nil || len(got) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	f.Must(f.ledger.Report(f.Ctx, "w1", nil))
	if got, err := f.inspector.Troubles(f.Ctx, f.Now()); err != nil || len(got) != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}
