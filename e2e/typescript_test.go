package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/e2e/program"
)

const typescriptFolder = "../clients/typescript"

const typescriptUntested = "THE TYPESCRIPT CLIENT IS NOT TESTED"

// The client is what is generated from the API's document, which is what the code says (api.TestDocument).
func TestTypeScriptIsGenerated(t *testing.T) {
	t.Parallel()
	program.NodePackages(t, typescriptFolder, typescriptUntested)
	fresh := t.TempDir()
	if out, err := shell(t, typescriptFolder, []string{"FRESH=" + fresh}, `npm run generate -- --output "$FRESH"`); err != nil {
		t.Fatalf("%s%v", out, err)
	}
	committed, generated := treeOf(t, filepath.Join(typescriptFolder, "src")), treeOf(t, fresh)
	if len(generated) == 0 {
		t.Fatal("nothing was generated")
	}
	for name, text := range generated {
		if !bytes.Equal(text, committed[name]) {
			t.Errorf("clients/typescript/src/%s is not what api/openapi.json says: make client, and commit it", name)
		}
	}
	for name := range committed {
		if generated[name] == nil {
			t.Errorf("clients/typescript/src/%s is of nothing: make client, and commit it", name)
		}
	}
}

// From nothing to a sale, as the README types it: `holdfast dev`, curl, and in the same terminal the shop in TypeScript.
func TestReadmeFromNothing(t *testing.T) {
	t.Parallel()
	dev := start(t, "dev", "dev", "--listen", "127.0.0.1:0", "--customers", "0", "-o", "json")
	var at struct {
		API string `json:"api"`
		Key string `json:"checkout_key"`
	}
	eventually(t, soon, "dev says where it is", func() error {
		line, _, complete := strings.Cut(dev.Stdout.String(), "\n")
		if !complete {
			return errors.New("not yet")
		}
		return json.Unmarshal([]byte(line), &at)
	})
	t.Cleanup(func() { dev.Stop(endTime) }) // it clears away what it has made
	here := strings.NewReplacer("http://127.0.0.1:8090", at.API, "hf_…", at.Key, "npm ci", "true").Replace
	begin := here(readme(t, "sh", "KEY=hf_…"))
	for range 2 { // the same again is the same order
		out, err := shell(t, "..", nil, begin)
		if err != nil || !strings.Contains(out, `"state":"confirmed"`) || !strings.Contains(out, `"available":4998`) {
			t.Fatalf("curl says %s%v", out, err)
		}
	}
	program.NodePackages(t, typescriptFolder, typescriptUntested)
	shop := here(readme(t, "sh", "example/shop.js"))
	for range 2 {
		out, err := shell(t, "..", nil, begin+shop)
		if err != nil {
			t.Fatalf("%s%v", out, err)
		}
		for _, want := range []string{"jazz-night: Jazz Night, ", "general: ", " at €25.00", "cart cart-4715: confirmed €50.00\n", "heard: confirmed\n", "fred has jazz-night/"} {
			if !strings.Contains(out, want) {
				t.Errorf("it does not say %q:\n%s", want, out)
			}
		}
		if n := strings.Count(out, "fred has "); n != 1 {
			t.Errorf("fred has %d orders, want 1:\n%s", n, out)
		}
	}
}

// treeOf is every file below a folder, by its path in it.
func treeOf(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	root := os.DirFS(folder)
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(root, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
