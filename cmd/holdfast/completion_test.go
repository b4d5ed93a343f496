package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// completionScript writes one to a file.
func completionScript(t *testing.T, shell string) string {
	t.Helper()
	r := execute(nil, "completion", shell)
	if r.code != exitDone || r.stderr != "" {
		t.Fatalf("exit %d: %s", r.code, r.stderr)
	}
	file := filepath.Join(t.TempDir(), "holdfast."+shell)
	if err := os.WriteFile(file, []byte(r.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// drivers run a script as the shell would when TAB is pressed behind LINE, and print the candidates.
var drivers = map[string]string{
	// Bash itself takes words apart at a =, too.
	"bash": `source "$SCRIPT"
read -ra COMP_WORDS <<<"${LINE//=/ = }"
[[ $LINE == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { COMPREPLY=(files); files=1; }
_holdfast
[ -n "$files" ] && COMPREPLY=(files)
printf '%s\n' "${COMPREPLY[@]}"`,
	"zsh": `compdef() { : }
compset() { typed=${typed#*=} }
compadd() { shift; for word in "$@"; do [[ $word == ${typed}* ]] && print -r -- "$word"; done }
_files() { print files }
source "$SCRIPT"
words=(${(z)LINE})
[[ $LINE == *' ' ]] && words+=('')
CURRENT=${#words}
typed=${words[CURRENT]}
_holdfast || true`,
	"fish": `function __fish_complete_path; echo files; end
source "$SCRIPT"
complete -C "$LINE" | string replace -r '^--[a-z-]+=' ''
true`,
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := completionScript(t, shell)
		if _, err := exec.LookPath(shell); err != nil {
			if shell == "bash" {
				t.Fatal(err)
			}
			t.Logf("no %s here: its script is not tried", shell)
			continue
		}
		if out, err := exec.Command(shell, "-n", script).CombinedOutput(); err != nil {
			t.Fatalf("%s -n: %v\n%s", shell, err, out)
		}
		for line, want := range map[string]string{
			"holdfast ev":                       "events",
			"holdfast events cr":                "create",
			"holdfast orders s":                 "show",
			"holdfast help events cr":           "create",
			"holdfast completion ":              "bash zsh fish",
			"holdfast publish --ty":             "--type",
			"holdfast publish --type ":          "purchase hold pay cancel change refund payment_update",
			"holdfast publish --type p":         "purchase pay payment_update",
			"holdfast publish --type=p":         "purchase pay payment_update",
			"holdfast publish --type hold --ty": "--type",
			"holdfast publish --event ":         "",
			"holdfast publish --file ":          "files",
			"holdfast publish --fail":           "--fail-unless-confirmed",
			"holdfast sales -o ":                "table json",
			"holdfast worker --log-level ":      "debug info warn error",
			"holdfast --namespace events pub":   "publish", // events is the namespace here
			"holdfast --namespace=events pub":   "publish",
		} {
			cmd := exec.Command(shell, "-c", drivers[shell])
			cmd.Env = append(os.Environ(), "SCRIPT="+script, "LINE="+line)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %q: %v\n%s", shell, line, err, out)
			}
			got, wanted := strings.Fields(string(out)), strings.Fields(want)
			slices.Sort(got)
			slices.Sort(wanted)
			if !slices.Equal(got, wanted) {
				t.Errorf("%s: %q: %q, want %q", shell, line, got, wanted)
			}
		}
	}
}
