package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"holdfast/e2e/program"
)

// The quick start runs on an embedded Redis, which lacks some of what a server has:
// whatever workers say to Redis must be understood there, too.
func TestDemoOnEmbeddedRedis(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var stdout, stderr program.Buffer
	code := run(ctx, []string{"demo"}, nil, &stdout, &stderr)
	said := stdout.String()
	for _, want := range []string{"jim wants B-13 B-14: rejected (seat_taken: B-13)", "fred pays with a card that is declined: held", "with another card: confirmed; then gives C-14 back, and gets 45.00 EUR back", "mary wants two seats for fans, with a code: held"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if code != 0 || strings.Count(said, "audit: ok") != 2 || t.Failed() {
		t.Errorf("exit %d\n%s%s", code, stdout.String(), stderr.String())
	}
}

// Whoever stops it does not want to hear what was under way.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var stdout, stderr program.Buffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"demo"}, nil, &stdout, &stderr) }()
	eventually(t, "it begins", func() bool { return strings.Contains(stdout.String(), "1. Four purchases") })
	cancel()
	if code := <-ended; code != exitFailed || stderr.String() != "holdfast: interrupted\n" {
		t.Errorf("exit %d: %q", code, stderr.String())
	}
}
