package torture

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
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
