package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
)

// block is a piece of code in a document.
type block struct{ language, code string }

// blocksOf are all of a file.
func blocksOf(t *testing.T, file string) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile(file) //nolint:gosec // of this repository
	if err != nil {
		t.Fatal(err)
	}
	var in *block
	for line := range strings.Lines(string(text)) {
		language, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && in == nil:
			in = &block{language: language}
		case fence:
			blocks = append(blocks, *in)
			in = nil
		case in != nil:
			in.code += line
		}
	}
	return blocks
}

// readme is the one block of README.md that has all of these in it.
func readme(t *testing.T, language string, parts ...string) string {
	t.Helper()
	return theBlock(t, "../README.md", language, parts...)
}

// theBlock is the one of a file that has all of these in it.
func theBlock(t *testing.T, file, language string, parts ...string) string {
	t.Helper()
	var found []string
	for _, b := range blocksOf(t, file) {
		has := func(part string) bool { return strings.Contains(b.code, part) }
		if b.language == language && !slices.ContainsFunc(parts, func(part string) bool { return !has(part) }) {
			found = append(found, b.code)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s has %d blocks in %s with %q, want 1", file, len(found), language, parts)
	}
	return found[0]
}

// shell types lines into a shell.
func shell(t *testing.T, dir string, env []string, lines string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), goTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e")
	cmd.Dir, cmd.Env, cmd.Stdin = dir, append(os.Environ(), env...), strings.NewReader(lines)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, stderr.String())
	}
	return string(out), err
}

// goTime is enough for modules to come over the network.
const goTime = 3 * time.Minute

// The program of the README, typed from an empty folder beside this repository.
func TestReadmeInGo(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.event("jazz-night", "Jazz Night", 200, "10")
	w := s.worker("w1", "--gateway", startGateway(t))

	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(repository, filepath.Join(dir, "holdfast")); err != nil {
		t.Fatal(err)
	}
	env := []string{"HOLDFAST_REDIS=" + s.url}
	if out, err := shell(t, dir, env, readme(t, "sh", "go mod init", "go mod edit -replace")); err != nil {
		t.Fatalf("%s%v", out, err)
	}
	dir = filepath.Join(dir, "checkout")
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(readme(t, "go", "package main")), 0o600); err != nil {
		t.Fatal(err)
	}
	rest := readme(t, "sh", "go mod tidy", "go run")
	for range 2 { // publishing it again leads to the same outcome
		out, err := shell(t, dir, env, rest)
		if err != nil || strings.TrimSpace(out) != "confirmed" {
			t.Fatalf("it says %q, %v; want confirmed", out, err)
		}
	}
	s.drained(soon)
	s.allIn(domain.OrderConfirmed, []domain.OrderRef{{EventID: "jazz-night", OrderID: "cart-4711"}})
	s.stands("jazz-night", 198, 0, 2, 20_00)
	w.Stop(endTime)
}

// The recipe for every other language, typed as the user of Redis that checkouts have.
func TestReadmeInShell(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.event("jazz-night", "Jazz Night", 200, "10")
	s.shippedUser("producer")
	w := s.worker("w1", "--gateway", startGateway(t), "--pay-wait", "100ms")
	env := []string{"HOLDFAST_REDIS=" + strings.Replace(s.url, "redis://", "redis://producer:CHANGE-ME-producer@", 1)}
	recipe := readme(t, "sh", "XADD", "crc")
	eventually(t, soon, "the order is confirmed", func() error { // publishing it again is harmless
		out, err := shell(t, t.TempDir(), env, recipe)
		if err != nil {
			t.Fatalf("%s%v", out, err)
		}
		said := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if len(said) != 3 || domain.EntryMillis(said[0]) == 0 || !strings.Contains(said[1], "|c2|p|") || said[2] != "" {
			return fmt.Errorf("it says %q", said)
		}
		return nil
	})
	s.drained(soon)
	s.stands("jazz-night", 197, 0, 3, 30_00)

	// The same with a request that is set aside: the recipe tells why.
	aside := strings.NewReplacer("type purchase", "type pay", "cart-4712", "cart-4713").Replace(recipe)
	eventually(t, soon, "why it was set aside is told", func() error {
		out, err := shell(t, t.TempDir(), env, aside)
		if err != nil {
			t.Fatalf("%s%v", out, err)
		}
		said := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if len(said) < 3 || said[1] != "" || !strings.Contains(said[2], " pay unknown_order: ") {
			return fmt.Errorf("it says %q", said)
		}
		return nil
	})
	// And in every partition: the arithmetic is what the program does.
	p := s.producer()
	for i := range 20 {
		event := fmt.Sprintf("event-%d.%s", i, strings.Repeat("x", i))
		out, err := shell(t, t.TempDir(), env, strings.ReplaceAll(recipe, "jazz-night", event)+"\necho p=$p")
		if err != nil {
			t.Fatalf("%s%v", out, err)
		}
		if want := fmt.Sprintf("p=%d", s.store().Partition(event)); !strings.HasSuffix(strings.TrimSpace(out), want) {
			t.Errorf("%s: %q, want %s", event, out, want)
		}
		outcome, err := p.Wait(context.Background(), event, "cart-4712")
		if err != nil || outcome.Order.Reason != domain.ReasonUnknownEvent {
			t.Errorf("%s: %+v, %v", event, outcome, err)
		}
	}
	w.Stop(endTime)
}

// shippedUser adds a user of deployments/redis/users.acl to the server.
func (s *system) shippedUser(name string) {
	s.t.Helper()
	file, err := os.ReadFile("../deployments/redis/users.acl")
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		rules, found := strings.CutPrefix(strings.TrimSpace(line), "user "+name+" ")
		if !found {
			continue
		}
		args := []any{"ACL", "SETUSER", name}
		for _, rule := range strings.Fields(rules) {
			args = append(args, rule)
		}
		if err := s.client().Do(context.Background(), args...).Err(); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	s.t.Fatalf("no user %s is shipped", name)
}

// What the README shows of a producer, a worker and a gateway is what the examples run.
func TestReadmeShowsTheExamples(t *testing.T) {
	t.Parallel()
	var shown strings.Builder
	for _, b := range blocksOf(t, "../README.md") {
		if b.language == "go" {
			shown.WriteString(flat(b.code))
		}
	}
	for _, of := range []string{"producer", "workers", "payments"} {
		text, err := os.ReadFile("../" + of + "/example_test.go")
		if err != nil {
			t.Fatal(err)
		}
		_, body, found := strings.Cut(string(text), "\nfunc Example() {\n")
		_, body, found2 := strings.Cut(body, "\n\n") // what comes before is its surroundings
		body, _, found3 := strings.Cut(body, "\t// Output:")
		if !found || !found2 || !found3 || len(body) < 200 {
			t.Errorf("%s: no example of the form that this test reads", of)
			continue
		}
		if !strings.Contains(shown.String(), flat(body)) {
			t.Errorf("README.md does not show the example of %s:\n%s", of, body)
		}
	}
}

// flat is code without its indentation.
func flat(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		b.WriteString(strings.TrimLeft(line, "\t"))
	}
	return b.String()
}
