//go:build planted

package webhooks

import (
	"os/exec"
	"regexp"
	"testing"

	"holdfast/e2e/torture"
)

// TestPlantedBugs plants one bug after the other in what sends, while its tests are built (go build -overlay): one of them must find it. A bug
// that nothing finds is one in the tests.
func TestPlantedBugs(t *testing.T) {
	tally := torture.Begin(t, 11, "bugs planted in webhooks")
	bugs := torture.Some(t, plantedBugs, 2, torture.Seed(t))
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			overlay := torture.Plant(t, b.file, b.old, b.new)
			said, err := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count", "1", "-failfast", ".").CombinedOutput()
			failed := regexp.MustCompile(`(?m)^ *--- FAIL: (\w+)`).FindStringSubmatch(string(said))
			if err == nil || failed == nil {
				t.Fatalf("nothing was wrong: %v\n%s", err, said)
			}
			tally.Count("caught", 1)
			tally.Note("%s | %s | 1", b.name, failed[1])
		})
	}
	tally.Count("bugs", len(bugs))
}

var plantedBugs = []struct{ name, file, old, new string }{
	{"a message is settled before it is sent", "sender.go", "	a := l.client.Send(", "	if err := l.deps.Queues.Settle(ctx, l.partition, l.hook.ID, m, try, 0); err != nil {\n		return err\n	}\n	a := l.client.Send("},
	{"redirects are followed", "client.go", "CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },", ""},
	{"only the new secret signs", "client.go", "	signatures := make([]string, len(secrets))", "	secrets = secrets[:1]\n	signatures := make([]string, len(secrets))"},
	{"connections to any address", "client.go", ", Control: onlyPublic}", "}"},
	{"IPv4 addresses in IPv6 ones", "client.go", "ip = ip.Unmap().WithZone(\"\")", "ip = ip.WithZone(\"\")"},
	{"what it asks for is not waited for", "sender.go", "l.rests = now.Add(max(l.backoff(int64(l.failures), l.cfg.MostRest), after))", "l.rests = now.Add(0)"},
	{"an endpoint that is gone is tried on", "sender.go", "case a.Status == http.StatusGone:", "case false:"},
	{"another id for each try", "sign.go", "\"%s|%d|%s|%s|%s\", endpoint, partition, m.Fact, m.Type, m.Ref)", "\"%s|%d|%s|%s|%s%d\", endpoint, partition, m.Fact, m.Type, m.Ref, time.Now().UnixNano())"},
}
