package e2e

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/streams"
	"holdfast/streams/redistest"
)

// commandsOn are commands of every kind about a namespace, of which jazz-night is an event.
func commandsOn(gateway string) [][]string {
	return [][]string{
		{"init"},
		{"worker", "--gateway", gateway, "--name", "of-another-schema"},
		{"events", "create", "new", "--name", "New", "--currency", "EUR", "--section", "general=10@1.00"},
		{"events", "close", "jazz-night"},
		{"events", "list"},
		{"publish", "--type", "cancel", "--event", "jazz-night", "--order", "nobody-s"},
		{"orders", "list"},
		{"sales"},
		{"invoices", "fred"},
		{"pending"},
		{"dead", "list"},
		{"audit"},
	}
}

// refused runs commands of a program, all of which must fail with one line that says which schemas there are, and change nothing.
func (s *system) refused(binary, why string, commands [][]string) {
	s.t.Helper()
	before := s.dump()
	for _, args := range commands {
		cmd := exec.Command(binary, append(args, "--redis", s.url)...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		_ = cmd.Run() // its exit status tells
		if code := cmd.ProcessState.ExitCode(); code < 1 || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), why) {
			s.t.Errorf("%s: exit %d\n%swant one line: %s", strings.Join(args, " "), code, stderr.String(), why)
		}
	}
	if after := s.dump(); !maps.Equal(before, after) {
		s.t.Errorf("%d keys have become %d, or other ones", len(before), len(after))
	}
}

// dump is all that there is, by key, but for what goes by itself.
func (s *system) dump() map[string]string {
	s.t.Helper()
	ctx := context.Background()
	keys, err := s.client().Keys(ctx, "*").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	values := make(map[string]string, len(keys))
	for _, key := range keys {
		value, err := s.client().Dump(ctx, key).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			s.t.Fatal(err)
		}
		if stays := s.client().PTTL(ctx, key).Val() == -1; stays {
			values[key] = value
		}
	}
	return values
}

// A namespace of schema 1 is not served, not shown and not changed; a checkout is told so as well.
func TestSchema1IsRefused(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "holdfast-schema1-")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("testdata/schema1/appendonly.aof")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "appendonly.aof"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	server := redistest.StartIn(t, dir, "--appendonly", "yes")
	s := &system{t: t, url: server.URL(), server: server}
	const why = "namespace holdfast has schema 1, this program speaks 2"
	s.refused(holdfastBinary, why, commandsOn(startGateway(t)))
	if store, err := streams.Open(context.Background(), s.url, streams.Options{}); domain.ClassOf(err) != domain.ClassFatal || err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("opening it: %v, %v", store, err)
	}
}

// A program of schema 1 does not serve, show or change a namespace of schema 2, and what waits there is not lost.
func TestProgramOfSchema1RefusesSchema2(t *testing.T) {
	t.Parallel()
	old := oldBinary(t)
	s := newSystem(t)
	gateway := startGateway(t)
	s.event("jazz-night", "Jazz Night", 100, "10.00")
	worker := s.worker("worker", "--gateway", gateway)
	sold, waits := purchase("jazz-night", "fred", 2), purchase("jazz-night", "amy", 3)
	p := s.producer()
	publish(t, p, sold)
	s.drained(soon)
	s.trimmed()
	worker.Stop(endTime)
	publish(t, p, waits)
	s.refused(old, "schema 2", commandsOn(gateway))
	worker = s.worker("worker", "--gateway", gateway)
	s.drained(soon)
	refs := []domain.OrderRef{sold.Ref(), waits.Ref()}
	s.allIn(domain.OrderConfirmed, refs)
	paidOnce(t, gateway, refs)
	s.audit(gateway)
	program.StopAll(worker)
}
