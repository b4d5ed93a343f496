package deployments

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const unitFile = shipped + "/systemd/holdfast-worker@.service"

// systemd understands every line, and lets a worker do little.
func TestUnit(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze: make systemd-analyze")
	}
	text := read(t, unitFile)
	const installed = "/usr/local/bin/holdfast"
	if !strings.Contains(text, "ExecStart="+installed+" worker\n") {
		t.Fatal("it starts something else")
	}
	verify := func(text string) (string, error) {
		unit := filepath.Join(t.TempDir(), "holdfast-worker@01.service")
		if err := os.WriteFile(unit, []byte(strings.ReplaceAll(text, installed, holdfastBinary)), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "verify", unit).CombinedOutput()
		if err == nil {
			var more []byte
			// 20 is an exposure of 2.0 of 10.
			more, err = exec.Command(analyze, "security", "--offline=true", "--threshold=20", "--no-pager", unit).CombinedOutput()
			if err != nil {
				out = append(out, more...)
			}
		}
		return string(out), err
	}
	if out, err := verify(text); err != nil || out != "" { // of an unknown key it only warns
		t.Errorf("%v: %s", err, out)
	}
	if out, err := verify(strings.Replace(text, "MemoryMax=", "MemoryMaxi=", 1)); err == nil && out == "" {
		t.Error("an unknown key is not noticed")
	}
	if _, err := verify(strings.Replace(text, "CapabilityBoundingSet=\n", "", 1)); err == nil {
		t.Error("a unit with all capabilities is not noticed")
	}
}
