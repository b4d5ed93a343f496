package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// installing is held while packages are installed: tests beside each other want the same ones.
var installing sync.Mutex

// NodePackages takes care that the packages of a folder are there. Where Node or they cannot be had, it skips the test, and says what is not
// tested.
func NodePackages(t testing.TB, folder, untested string) {
	t.Helper()
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("!!! THERE IS NO %s: %s", name, untested)
		}
	}
	installing.Lock()
	defer installing.Unlock()
	// npm writes it last: folders of packages are there before they are whole.
	if _, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json")); err == nil {
		return
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
	install.Dir, install.Env = folder, append(os.Environ(), "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1")
	if said, err := install.CombinedOutput(); err != nil {
		t.Skipf("!!! ITS PACKAGES CANNOT BE HAD HERE: %s: %v\n%s", untested, err, said)
	}
}
