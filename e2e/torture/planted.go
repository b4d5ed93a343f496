package torture

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Some are so many of all, chosen by chance, or in full all of them, in another order each time.
func Some[T any](tb testing.TB, all []T, slice int, seed uint64) []T {
	tb.Helper()
	some := slices.Clone(all)
	random := rand.New(rand.NewPCG(seed, 11))
	random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	return some[:Size(min(slice, len(some)), len(some))]
}

// Plant returns what go build takes as -overlay, to build the program with a bug in it: in a file, which is named
// from the folder of the test, something else is said in one place.
func Plant(tb testing.TB, file, old, instead string) (overlay string) {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	if n := strings.Count(string(text), old); n != 1 {
		tb.Fatalf("%s has %q %d times, want it once", file, old, n)
	}
	original, err := filepath.Abs(file)
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	changed, overlay := filepath.Join(dir, filepath.Base(file)), filepath.Join(dir, "overlay.json")
	replaced, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		tb.Fatal(err)
	}
	for name, content := range map[string]string{changed: strings.Replace(string(text), old, instead, 1), overlay: string(replaced)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return overlay
}

// Bug is a bug to be planted: its name, and what Plant takes.
type Bug [4]string

// PlantEach plants one bug after the other, or so many of them in a slice, while the tests of the package are built once more: one of them must find
// it. A bug that nothing finds is one in the tests. flags are of the tests.
func PlantEach(t *testing.T, what string, slice int, bugs []Bug, flags ...string) {
	t.Helper()
	tally := Begin(t, 11, what)
	overlays := make(map[string]string, len(bugs))
	for _, b := range bugs { // whether there still is a place for each of them
		overlays[b[0]] = Plant(t, b[1], b[2], b[3])
	}
	some := Some(t, bugs, slice, Seed(t))
	for _, b := range some {
		t.Run(b[0], func(t *testing.T) {
			args := append([]string{"test", "-overlay", overlays[b[0]], "-count", "1", "-failfast", "."}, flags...)
			said, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
			failed := regexp.MustCompile(`(?m)^ *--- FAIL: (\w+)`).FindStringSubmatch(string(said))
			if err == nil || failed == nil {
				t.Fatalf("nothing was wrong: %v\n%s", err, said)
			}
			tally.Count("caught", 1)
			tally.Note("%s | %s | 1", b[0], failed[1])
		})
	}
	tally.Count("bugs", len(some))
}
