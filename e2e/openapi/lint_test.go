package openapi

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"holdfast/e2e/program"
)

// The document is well-formed and whole in the eyes of both, and they would say so if it were not.
func TestLint(t *testing.T) {
	program.NodePackages(t, ".", "WHETHER OTHERS CAN READ THE API'S DOCUMENT IS NOT TESTED")
	const document = "../../api/openapi.json"
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	astray := bytes.ReplaceAll(text, []byte("#/components/schemas/Problem"), []byte("#/components/schemas/Trouble"))
	if bytes.Equal(astray, text) {
		t.Fatal("the document has no Problem")
	}
	broken := filepath.Join(t.TempDir(), "openapi.json")
	if err := os.WriteFile(broken, astray, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, linter := range [][]string{
		{"redocly", "lint", "--config", "redocly.yaml"},
		{"spectral", "lint", "--ruleset", ".spectral.yaml", "--fail-severity", "hint"},
	} {
		t.Run(linter[0], func(t *testing.T) {
			t.Parallel()
			if said, err := lint(t, linter, document); err != nil {
				t.Errorf("%v\n%s", err, said)
			}
			if said, err := lint(t, linter, broken); err == nil || !bytes.Contains(said, []byte("schemas/Trouble")) {
				t.Errorf("of references to nothing it says: %v\n%s", err, said)
			}
		})
	}
}

func lint(t *testing.T, linter []string, document string) (said []byte, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node_modules/.bin/"+linter[0], append(linter[1:], document)...) //nolint:gosec // of the table above
	cmd.Env = append(os.Environ(), "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true")
	return cmd.CombinedOutput()
}
