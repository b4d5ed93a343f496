package chart

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The image is built FROM scratch: its binary must do without anything else, as somebody who is not root. It is built as
// the Dockerfile says, and run where nothing else is.
func TestImage(t *testing.T) {
	text, err := os.ReadFile("../../deployments/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"FROM scratch", "ENV CGO_ENABLED=0 GOFLAGS=-mod=readonly", "USER 65532:65532", "ENV HOLDFAST_LISTEN=:9090", `ENTRYPOINT ["/holdfast"]`, "STOPSIGNAL SIGTERM",
	} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("there is no %q", line)
		}
	}
	if !strings.Contains(string(text), `CMD ["/holdfast", "check", "--self"]`) {
		t.Error("its health check is another")
	}
	command := regexp.MustCompile(`(?m)^RUN (go build .* -o /out/holdfast \./cmd/holdfast)$`).FindStringSubmatch(string(text))
	if command == nil {
		t.Fatal("it is built otherwise")
	}
	root := t.TempDir()
	binary := filepath.Join(root, "holdfast")
	build := exec.Command("sh", "-c", strings.Replace(command[1], "/out/holdfast", binary, 1))
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // it was only read
	for _, part := range file.Progs {
		if part.Type == elf.PT_INTERP || part.Type == elf.PT_DYNAMIC {
			t.Error("it is not static")
		}
	}
	if os.Getuid() != 0 {
		t.Skip("only root can run it where nothing else is")
	}
	for dir := root; dir != "/"; dir = filepath.Dir(dir) { // the temporary directories of a test are its own
		if strings.HasPrefix(dir, os.TempDir()+"/") {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	alone := exec.Command("/holdfast", "demo")
	alone.Path, alone.Dir, alone.Env = "/holdfast", "/", []string{"PATH=/"}
	alone.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	if out, err := alone.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
