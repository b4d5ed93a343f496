//go:build planted

package webhooks

import (
	"testing"

	"holdfast/e2e/torture"
)

func TestPlantedBugs(t *testing.T) { torture.PlantEach(t, "bugs planted in webhooks", 2, plantedBugs) }

var plantedBugs = []torture.Bug{
	{"a message is settled before it is sent", "sender.go", "	a := l.client.Send(", "	if err := l.deps.Queues.Settle(ctx, l.partition, l.hook.ID, m, try, 0); err != nil {\n		return err\n	}\n	a := l.client.Send("},
	{"redirects are followed", "client.go", "CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },", ""},
	{"only the new secret signs", "client.go", "	signatures := make([]string, len(secrets))", "	secrets = secrets[:1]\n	signatures := make([]string, len(secrets))"},
	{"connections to any address", "client.go", ", Control: onlyPublic}", "}"},
	{"IPv4 addresses in IPv6 ones", "client.go", "ip = ip.Unmap().WithZone(\"\")", "ip = ip.WithZone(\"\")"},
	{"what it asks for is not waited for", "sender.go", "l.rests = now.Add(max(l.backoff(int64(l.failures), l.cfg.MostRest), after))", "l.rests = now.Add(0)"},
	{"an endpoint that is gone is tried on", "sender.go", "case a.Status == http.StatusGone:", "case a.Status == http.StatusTeapot:"},
	{"another id for each try", "sign.go", "\"%s|%d|%s|%s|%s\", endpoint, partition, m.Fact, m.Type, m.Ref)", "\"%s|%d|%s|%s|%s%d\", endpoint, partition, m.Fact, m.Type, m.Ref, time.Now().UnixNano())"},
}
