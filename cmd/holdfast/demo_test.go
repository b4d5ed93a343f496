package main

import (
	"strings"
	"testing"
)

// The quick start runs on an embedded Redis, which lacks some of what a server has:
// whatever workers say to Redis must be understood there, too.
func TestDemoOnEmbeddedRedis(t *testing.T) {
	r := execute(nil, "demo")
	if r.code != 0 || !strings.Contains(r.stdout, "audit: ok") {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}
