package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const typescriptFolder = "../clients/typescript"

// typescript takes care that the packages of the client are there, if they can be had.
func typescript(t *testing.T) {
	t.Helper()
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("!!! THERE IS NO %s: THE TYPESCRIPT CLIENT IS NOT TESTED", name)
		}
	}
	if _, err := os.Stat(filepath.Join(typescriptFolder, "node_modules", "@hey-api/openapi-ts")); err == nil {
		return
	}
	if out, err := shell(t, typescriptFolder, nil, "npm ci --no-audit --no-fund"); err != nil {
		t.Skipf("!!! ITS PACKAGES CANNOT BE HAD HERE: THE TYPESCRIPT CLIENT IS NOT TESTED: %s%v", out, err)
	}
}

// The client is what is generated from the API's document, which is what the code says (api.TestDocument). Then a customer of
// `holdfast dev` shops as the README types it.
func TestTypeScript(t *testing.T) {
	t.Parallel()
	typescript(t)
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
	typed := strings.NewReplacer("http://127.0.0.1:8090", at.API, "npm ci", "true").Replace(readme(t, "sh", "example/shop.js"))
	for range 2 { // the same again is the same order
		out, err := shell(t, "..", []string{"KEY=" + at.Key}, typed)
		if err != nil {
			t.Fatalf("%s%v", out, err)
		}
		for _, want := range []string{"jazz-night: Jazz Night, ", "general: ", " at €25.00", "cart cart-4715: confirmed €50.00\n", "fred has jazz-night/"} {
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
