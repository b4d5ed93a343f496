package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/e2e/program"
)

// The recipes for Node, as they stand in the docs, with both clients, as the user of Redis that checkouts have.
func TestRecipesForNode(t *testing.T) {
	t.Parallel()
	program.NodePackages(t, "node", "THE RECIPES FOR NODE ARE NOT TESTED")
	dir := t.TempDir()
	packages, err := filepath.Abs("node/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(packages, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	for name, part := range map[string]string{"holdfast": "export async function publish", "ioredis": "from 'ioredis'", "node-redis": "from 'redis'"} {
		if err := os.WriteFile(filepath.Join(dir, name+".mjs"), []byte(theBlock(t, "../docs/node.md", "js", part)), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	s := newSystem(t)
	s.event("jazz-night", "Jazz Night", 200, "10")
	s.event("fair", "The Fair", 1_000_000, "10") // it has three hashes of orders of its own
	s.shippedUser("producer")
	w := s.worker("w1", "--gateway", startGateway(t), "--pay-wait", "100ms")
	says := func(recipe string, edit ...string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, recipe+".mjs"))
		if err != nil {
			t.Fatal(err)
		}
		// From standard input, so that what it imports is found beside it.
		node := exec.CommandContext(t.Context(), "node", "--input-type=module")
		node.Dir, node.Stdin = dir, strings.NewReader(strings.NewReplacer(edit...).Replace(string(text)))
		node.Env = append(os.Environ(), "HOLDFAST_REDIS="+strings.Replace(s.url, "redis://", "redis://producer:CHANGE-ME-producer@", 1))
		said, err := node.CombinedOutput()
		if err != nil {
			return string(said) + err.Error()
		}
		return string(said)
	}
	const confirmed = "{ state: 'confirmed', reason: '' }\n"
	for _, recipe := range []string{"ioredis", "node-redis"} {
		for range 2 { // publishing it again leads to the same outcome
			if said := says(recipe); said != confirmed {
				t.Errorf("%s says %s", recipe, said)
			}
		}
		if said := says(recipe, "jazz-night", "fair"); said != confirmed {
			t.Errorf("%s: of an event with three hashes it says %s", recipe, said)
		}
		if said, want := says(recipe, "jazz-night", "nothing"), "{ state: 'rejected', reason: 'unknown_event' }\n"; said != want {
			t.Errorf("%s: of an event that is not it says %s", recipe, said)
		}
		if said := says(recipe, "type: 'purchase'", "type: 'pay'", "order_id: '", "order_id: 'x-"); !strings.Contains(said, "set aside") || !strings.Contains(said, "unknown_order") {
			t.Errorf("%s: of what is set aside it says %s", recipe, said)
		}
	}
	s.drained(soon)
	s.allIn(domain.OrderConfirmed, []domain.OrderRef{{EventID: "jazz-night", OrderID: "cart-4716"}, {EventID: "jazz-night", OrderID: "cart-4717"}})
	s.stands("jazz-night", 195, 0, 5, 50_00)
	s.stands("fair", 999_995, 0, 5, 50_00)
	w.Stop(endTime)
}
