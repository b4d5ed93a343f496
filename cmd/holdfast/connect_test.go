package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/e2e/program"
	"holdfast/payments/remote"
	"holdfast/streams"
	"holdfast/streams/redistest"

	"github.com/redis/go-redis/v9"
)

func TestRedactURL(t *testing.T) {
	for raw, want := range map[string]string{
		"redis://127.0.0.1:6379/0":                           "redis://127.0.0.1:6379/0",
		"redis://[::1]:6379/3":                               "redis://[::1]:6379/3",
		"redis://u:pw@h:1/0":                                 "redis://h:1/0",
		"rediss://:pw@h:1?cluster=true":                      "rediss://h:1?cluster=true",
		"redis://h:1?db=3&pool_size=5":                       "redis://h:1?db=3",
		"redis://u:p@h:1?master_name=m&password=pw&addr=i:2": "redis://h:1?master_name=m&addr=i:2",
		"unix://u:pw@/run/redis.sock?db=1":                   "unix:///run/redis.sock?db=1",
		"https://payments.example":                           "https://payments.example",
		"https://key:pw@payments.example:8443/base":          "https://payments.example:8443/…",
		"redis://u:a@b@h:1/0":                                "redis://h:1/0",
		"redis://h:1?master_name=m&sentinel_password=pw":     malformedURL,
		"redis://h:1?master_name=%23":                        malformedURL,
		"redis://:pw%zz@h":                                   malformedURL,
		"redis://:12#s3cret@h":                               malformedURL,
		"redis://:/s3cret@h":                                 malformedURL,
		"redis://:12?s3cret@h":                               malformedURL,
		"redis://s3cret@h":                                   malformedURL,
		"redis://s3cret|@h":                                  malformedURL,
		"redis:s3cret@h":                                     malformedURL,
		"s3cret@h":                                           malformedURL,
		"https://:12/s3cret@h":                               malformedURL,
		"https://h?key=s3cret":                               malformedURL,
		"https://h#s3cret":                                   malformedURL,
		"ftp://h/s3cret":                                     malformedURL,
		"":                                                   malformedURL,
	} {
		if got := redactURL(raw); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

// What the documentation says to type is taken.
func TestDocumentedURLs(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## Connecting to Redis")
	section, _, _ = strings.Cut(section, "\n### ")
	lines := 0
	for line := range strings.Lines(section) {
		args, found := strings.CutPrefix(line, "holdfast sales --redis ")
		if !found {
			continue
		}
		lines++
		raw := strings.Trim(strings.Fields(args)[0], "'")
		if err := streams.CheckURL(raw, nil); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		if shown := redactURL(raw); shown == malformedURL || strings.Contains(shown, "s3cret") || strings.Contains(shown, "operator") {
			t.Errorf("%s is shown as %s", raw, shown)
		}
	}
	if lines < 10 {
		t.Errorf("%d lines with a URL", lines)
	}
}

// Whatever a password is, and however it got into a URL, nothing that is said of the URL has it.
func FuzzRedactURL(f *testing.F) {
	const secret = "s3cret"
	places := []func(password, rest string) string{
		func(p, rest string) string { return "redis://user:" + p + "@" + rest },
		func(p, rest string) string { return rest + p + "@host:6379/0" },
		func(p, rest string) string { return "rediss://:" + p + "@host:6379/0?" + rest },
		func(p, rest string) string { return "redis://" + p + "@host/" + rest },
		func(p, rest string) string { return "unix://:" + p + "@/run/redis.sock?" + rest },
		func(p, rest string) string { return "https://user:" + p + "@payments.example/" + rest },
		func(p, rest string) string { return "https://" + p + "@payments.example" + rest },
		func(p, rest string) string { return "redis://user:" + url.PathEscape(p) + "@host:6379/" + rest },
		func(p, rest string) string {
			return "redis://host?master_name=m&password=" + url.QueryEscape(p) + "&" + rest
		},
		// Bare, and nothing behind it: what follows an & is another parameter then, by its name.
		func(p, rest string) string {
			return "redis://host?master_name=m&" + rest + "&password=" + strings.ReplaceAll(p, "&", "")
		},
		func(p, rest string) string {
			return "redis://host?" + rest + "&sentinel_password=" + strings.ReplaceAll(p, "&", "")
		},
	}
	for place := range places {
		for _, before := range []string{"", "12#", "/", "12/", "12?", "@", "%", "a:b", "[", " ", "\\", ";", "+", "%23", "1&", "\x00", "|"} {
			f.Add(uint8(place), before, "", "")
			f.Add(uint8(place), before, "#/?@", "host:6379/0")
			f.Add(uint8(place), "", before, "redis://h")
		}
	}
	f.Fuzz(func(t *testing.T, place uint8, before, after, rest string) {
		if strings.Contains(rest, secret) {
			return // which is no password then
		}
		raw := places[int(place)%len(places)](before+secret+after, rest)
		said := []string{redactURL(raw)}
		if err := streams.CheckURL(raw, nil); err != nil {
			said = append(said, err.Error())
		}
		if _, err := remote.New(raw, remote.Options{}); err != nil {
			said = append(said, err.Error())
		}
		for _, text := range said {
			plain, err := url.PathUnescape(text)
			if err != nil {
				plain = text
			}
			if strings.Contains(strings.ToLower(plain), secret) {
				t.Errorf("%q: %s", raw, text)
			}
		}
	})
}

// What is wrong with a URL is said without it, and before anything is tried, wherever it stands.
func TestURLsAreNotRepeated(t *testing.T) {
	t.Parallel()
	const secret = "s3cret"
	for _, args := range [][]string{
		{"sales", "--redis", "redis://:12#s3cret@h"},
		{"sales", "--redis=redis://:/s3cret@h"},
		{"sales", "--redis", "redis://:12?s3cret@h"},
		{"worker", "--redis", "redis://:12#s3cret@h", "--gateway", "simulator"},
		{"worker", "--redis", "redis://" + closedPort(t), "--wait-redis", "0s", "--gateway", "http://u:12/s3cret@h"},
		{"worker", "--redis", "redis://:s3cret@" + closedPort(t), "--wait-redis", "1ms", "--gateway", "simulator"},
		{"audit", "--redis", "redis://" + closedPort(t), "--gateway", "https://:12#s3cret@h"},
		{"pending", "redis://:s3cret@h"},
		{"worker", "--roles", "redis://:s3cret@h"},
		{"dead", "show", "redis://:s3cret@h", "--redis", "redis://" + closedPort(t)},
	} {
		if r := execute(nil, args...); r.code == exitDone || strings.Contains(r.stdout+r.stderr, secret) {
			t.Errorf("%v: exit %d: %s%s", args, r.code, r.stdout, r.stderr)
		}
	}
	h := start(t)
	h.ok("init")
	h.fails(exitFailed, []string{"(a malformed URL)", "not found"}, "events", "show", "redis://s3cret|:x@h")
}

// The files of TLS, as flags and from the environment, for a command and for a worker.
func TestTLSFlags(t *testing.T) {
	a := redistest.NewAuthority(t)
	later := time.Now().Add(time.Hour)
	server := redistest.Start(t, append(redistest.TLSArgs(t, a, a.Issue(later, "127.0.0.1")), "--tls-auth-clients", "yes")...)
	client := a.Issue(later, "client")
	url := "rediss://" + server.TLSAddr()
	missing := filepath.Join(t.TempDir(), "nothing.pem")
	for _, test := range []struct {
		want string
		args []string
	}{
		{"--redis-ca: open " + missing, []string{"--redis-ca", missing}},
		{"--redis-ca: no certificate in " + client.Key, []string{"--redis-ca", client.Key}},
		{"--redis-cert, --redis-key: one without the other", []string{"--redis-cert", client.File}},
		{"--redis-cert, --redis-key: ", []string{"--redis-cert", client.File, "--redis-key", missing}},
		{"does not begin with rediss://", []string{"--redis-ca", a.File, "--redis", server.URL()}},
	} {
		args := append([]string{"sales", "--redis", url}, test.args...)
		checkFailure(t, execute(nil, args...), exitUsage, []string{test.want}, args)
	}
	args := []string{"sales", "--redis", url}
	checkFailure(t, execute(nil, args...), exitFailed, []string{"an authority that is not known here", "--redis-ca"}, args)
	args = append(args, "--redis-ca", a.File)
	checkFailure(t, execute(nil, args...), exitFailed, []string{"a client certificate"}, args)

	args[0] = "init"
	if r := execute(nil, append(args, "--redis-cert", client.File, "--redis-key", client.Key)...); r.code != exitDone {
		t.Errorf("with flags: %s", r.stderr)
	}
	t.Setenv("HOLDFAST_REDIS", url)
	t.Setenv("HOLDFAST_REDIS_CA", a.File)
	t.Setenv("HOLDFAST_REDIS_CERT", client.File)
	t.Setenv("HOLDFAST_REDIS_KEY", client.Key)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var log program.Buffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"worker", "--gateway", "simulator"}, nil, io.Discard, &log) }()
	eventually(t, "the worker starts", func() bool { return strings.Contains(log.String(), `"worker started"`) })
	for _, args := range [][]string{
		{"events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=1@1.00"},
		{"publish", "--event", "e1", "--customer", "c", "--token", "t", "--wait"},
	} {
		if r := execute(nil, args...); r.code != exitDone {
			t.Errorf("%v: %s", args, r.stderr)
		}
	}
	// A certificate that is renewed is used by the next connection; one that is gone keeps from making any.
	for _, moved := range []string{client.File, client.Key} {
		if err := os.Rename(moved, moved+".old"); err != nil {
			t.Fatal(err)
		}
	}
	server.Restart()
	eventually(t, "it cannot connect", func() bool { return strings.Contains(log.String(), "redis does not work, trying on") })
	renewed := a.Issue(later, "client")
	for to, from := range map[string]string{client.Key: renewed.Key, client.File: renewed.File} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it works again", func() bool { return strings.Contains(log.String(), "redis works again") })
	cancel()
	if code := <-ended; code != exitDone {
		t.Errorf("exit %d:\n%s", code, log.String())
	}
}

// However long Redis takes to load its data, a worker waits: it does answer.
func TestWorkerWaitsForRedisToLoad(t *testing.T) {
	t.Parallel()
	h := start(t)
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	ctx := context.Background()
	// Redis looks up from loading once a kilobyte, so each key takes 20 ms, and all 40 s.
	pipe := rdb.Pipeline()
	pipe.ConfigSet(ctx, "rdbcompression", "no")
	for i := range 2000 {
		pipe.Set(ctx, fmt.Sprint("key", i), strings.Repeat("x", 1024), 0)
	}
	pipe.Save(ctx)
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	h.server.Configure("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
	h.server.Launch()
	eventually(t, "Redis loads", func() bool { return redis.IsLoadingError(rdb.Ping(ctx).Err()) })
	h.fails(exitFailed, []string{"loading its data", "try again in a moment"}, "sales")
	const patience = 300 * time.Millisecond
	worker := h.background(nil, "worker", "--gateway", "simulator", "--wait-redis", patience.String())
	eventually(t, "it says what it waits for", func() bool { return strings.Contains(worker.stderr.String(), "redis is loading its data, waiting") })
	began := time.Now()
	eventually(t, "it has waited longer than for one that does not answer", func() bool { return time.Since(began) > 3*patience })
	if !redis.IsLoadingError(rdb.Ping(ctx).Err()) {
		t.Fatal("Redis has loaded: this tests nothing")
	}
	if err := rdb.ConfigSet(ctx, "key-load-delay", "0").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it starts", func() bool { return strings.Contains(worker.stderr.String(), `"worker started"`) })
	if got := strings.Count(worker.stderr.String(), "waiting"); got != 1 {
		t.Errorf("it says %d times that it waits:\n%s", got, worker.stderr.String())
	}
	if code := worker.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
}

// What is wrong with the server stands in the log of a worker that starts, and its version.
func TestWorkerWarnsOfTheServer(t *testing.T) {
	t.Parallel()
	h := start(t)
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	ctx := context.Background()
	info, err := rdb.InfoMap(ctx, "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	says := func(worker *running, want map[string]bool) {
		t.Helper()
		for text, is := range want {
			if strings.Contains(worker.stderr.String(), text) != is {
				t.Errorf("that it says %s is %t, want %t:\n%s", text, !is, is, worker.stderr.String())
			}
		}
		if code := worker.stop(); code != exitDone {
			t.Errorf("exit %d", code)
		}
	}
	version := `"redis_version":"` + info["Server"]["redis_version"] + `"`
	says(h.worker(), map[string]bool{version: true, `"fault":"no_aof"`: true, `"fault":"eviction"`: false})
	for _, args := range [][]any{
		{"CONFIG", "SET", "appendonly", "yes", "maxmemory-policy", "volatile-lru"},
		{"ACL", "SETUSER", "uninformed", "on", ">s3cret", "~*", "&*", "+@all", "-info"},
	} {
		if err := rdb.Do(ctx, args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	says(h.worker(), map[string]bool{version: true, `"fault":"no_aof"`: false, `"fault":"eviction"`: true, "volatile-lru": true})
	if err := rdb.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err(); err != nil {
		t.Fatal(err)
	}
	says(h.worker(), map[string]bool{version: true, "fault": false})
	h.user = "uninformed:s3cret@"
	says(h.worker(), map[string]bool{`"redis_version":"not known"`: true, "redis does not say how it is set up": true, "fault": false})
}

// Without the permission for channels, waits say so, once for all partitions, and find the outcome all the same.
func TestWaitWithoutChannels(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.event("e2")                            // in another partition
	h.worker("--simulator-latency", "500ms") // so that no outcome is there at the first look
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	if err := rdb.Do(context.Background(), "ACL", "SETUSER", "deaf", "on", ">s3cret", "~*", "+@all", "resetchannels").Err(); err != nil {
		t.Fatal(err)
	}
	h.user = "deaf:s3cret@"
	for _, output := range []string{"table", "json"} {
		r := execute(strings.NewReader(`{"type":"purchase","event_id":"e1","quantity":1,"customer_id":"a`+output+`","payment_token":"t"}`+"\n"+`{"type":"purchase","event_id":"e2","quantity":1,"customer_id":"b`+output+`","payment_token":"t"}`),
			"publish", "--file", "-", "--wait", "-o", output, "--redis", h.url())
		if r.code != exitDone || strings.Count(r.stdout, "confirmed") != 2 {
			t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
		}
		if strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "may not listen for outcomes") || !strings.Contains(r.stderr, "NOPERM") {
			t.Errorf("want it said once: %q", r.stderr)
		}
		if begins := map[string]string{"table": "holdfast: the user", "json": `{"warning":"the user`}[output]; !strings.HasPrefix(r.stderr, begins) {
			t.Errorf("-o %s: %q", output, r.stderr)
		}
	}
}
