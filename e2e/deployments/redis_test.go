package deployments

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"holdfast/e2e/program"

	"github.com/redis/go-redis/v9"
)

// shippedRedis is a server with the configuration and the users that are shipped: all that differs is where it listens and
// keeps its files.
type shippedRedis struct {
	t       testing.TB
	address string
}

func startRedis(t testing.TB) *shippedRedis {
	t.Helper()
	dir, port := t.TempDir(), strconv.Itoa(freePort(t))
	conf, users := filepath.Join(dir, "redis.conf"), filepath.Join(dir, "users.acl")
	elsewhere := strings.NewReplacer("bind * -::*\n", "bind 127.0.0.1\n", "port 6379\n", "port "+port+"\n", "dir /data\n", "dir "+dir+"\n",
		"aclfile /etc/redis/users.acl\n", "aclfile "+users+"\n")
	for file, text := range map[string]string{conf: elsewhere.Replace(read(t, shipped+"/redis/redis.conf")), users: read(t, shipped+"/redis/users.acl")} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := &shippedRedis{t, "127.0.0.1:" + port}
	program.Start(t, "redis-server", exec.Command("redis-server", conf))
	probe := r.client("probe")
	eventually(t, "Redis answers", func() error { return probe.Ping(context.Background()).Err() })
	return r
}

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }() // it only asked
	return listener.Addr().(*net.TCPAddr).Port
}

func (r *shippedRedis) url(user string) string {
	return fmt.Sprintf("redis://%[1]s:CHANGE-ME-%[1]s@%[2]s/0", user, r.address)
}

func (r *shippedRedis) client(user string) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: r.address, Protocol: 2, Username: user, Password: "CHANGE-ME-" + user, MaxRetries: -1})
	r.t.Cleanup(func() { _ = client.Close() })
	return client
}

// The configuration is taken as it stands, and "holdfast check" has nothing against it.
func TestRedisConfiguration(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	admin, ctx := r.client("admin"), context.Background()
	for setting, want := range map[string]string{
		"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no", "maxmemory-policy": "noeviction", "save": "",
		"aof-load-truncated": "yes", "timeout": "0",
	} {
		if got, err := admin.ConfigGet(ctx, setting).Result(); err != nil || got[setting] != want {
			t.Errorf("%s is %q, want %q (%v)", setting, got[setting], want, err)
		}
	}
	ok(t, r.url("worker"), "init")
	worker, _ := worker(t, r.url("worker"))
	eventually(t, "all is well", func() error {
		if out, exit := holdfast(t, r.url("monitor"), "check"); exit != 0 {
			return errors.New(out)
		}
		return nil
	})
	worker.Stop(patience)
	if said := worker.Stderr.String(); strings.Contains(said, "not set up as it has to be") {
		t.Error(said)
	}
}

// Nobody may do what is not their task: neither by the program, nor with a client of their own.
func TestUsersMayNoMore(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	admin, ctx := r.client("admin"), context.Background()
	ok(t, r.url("worker"), "init", "--partitions", "1")
	ok(t, r.url("organizer"), "events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=9@1.00")
	ok(t, r.url("producer"), "publish", "--event", "e1", "--customer", "c", "--order", "o1", "--token", "tok_secret")
	const p = "holdfast:{0}:"
	var (
		// The server, and what is not holdfast's.
		anybody = [][]any{
			{"FLUSHALL"},
			{"FLUSHDB"},
			{"SHUTDOWN"},
			{"CONFIG", "SET", "maxmemory", "1"},
			{"CONFIG", "GET", "*"},
			{"ACL", "LIST"},
			{"ACL", "SETUSER", "x"},
			{"MONITOR"},
			{"KEYS", "*"},
			{"REPLICAOF", "NO", "ONE"},
			{"SCRIPT", "FLUSH"},
			{"CLIENT", "LIST"},
			{"SET", "other", "1"},
			{"GET", "other"},
			{"DEL", "other"},
			{"FUNCTION", "FLUSH"},
			{"RANDOMKEY"},
			{"DBSIZE"},
			{"SWAPDB", 0, 1},
			{"SUBSCRIBE", "other"},
			{"BGREWRITEAOF"},
		}
		selling  = [][]any{{"XADD", p + "requests", "*", "a", "b"}, {"EVAL", "return redis.call('XADD', KEYS[1], '*', 'a', 'b')", 1, p + "requests"}}
		groups   = [][]any{{"XREADGROUP", "GROUP", "purchase", "x", "STREAMS", p + "requests", ">"}, {"XACK", p + "requests", "purchase", "1-1"}, {"XGROUP", "DESTROY", p + "requests", "purchase"}}
		tokens   = [][]any{{"XRANGE", p + "requests", "-", "+"}, {"XREAD", "STREAMS", p + "requests", "0"}, {"DUMP", p + "requests"}, {"XRANGE", p + "2:dead", "-", "+"}}
		books    = [][]any{{"HSET", p + "2:orders:0", "e1/o1", "x"}, {"DEL", p + "2:log"}, {"XADD", p + "2:log", "*", "a", "b"}, {"HSET", "holdfast:2:invoices:{c}", "a", "b"}, {"XTRIM", p + "2:log", "MAXLEN", 0}}
		meta     = [][]any{{"HSET", "holdfast:meta", "partitions", 1}, {"DEL", "holdfast:meta"}}
		names    = [][]any{{"SCAN", "0"}} // of all keys
		removing = [][]any{{"DEL", p + "requests"}, {"XTRIM", p + "requests", "MAXLEN", 0}, {"DEL", p + "2:orders:0"}, {"RENAME", p + "2:log", p + "2:other"}}
	)
	for user, denied := range map[string][][][]any{
		"producer":  {names, groups, tokens, books, {{"HSET", "holdfast:meta", "partitions", 1}, {"DEL", p + "requests"}, {"XDEL", p + "requests", "1-1"}, {"HGETALL", p + "2:owed_notes"}}},
		"api":       {names, groups, tokens, books, meta, removing, {{"HSET", "holdfast:api_keys", "a", "b"}, {"HDEL", "holdfast:api_keys", "a"}, {"XDEL", p + "requests", "1-1"}}},
		"staff":     {{{"XACK", p + "requests", "purchase", "1-1"}, {"XGROUP", "DESTROY", p + "requests", "purchase"}, {"HSET", "holdfast:2:invoices:{c}", "a", "b"}, {"XTRIM", p + "2:log", "MAXLEN", 0}}, removing, {{"DEL", "holdfast:meta"}, {"DEL", "holdfast:api_keys"}}},
		"worker":    {names},
		"organizer": {names, selling, groups, {{"XRANGE", p + "requests", "-", "+"}, {"DEL", p + "2:log"}, {"XTRIM", p + "2:log", "MAXLEN", 0}, {"HSET", "holdfast:2:invoices:{c}", "a", "b"}, {"XDEL", p + "2:dead", "1-1"}}, removing},
		"operator":  {{{"XACK", p + "requests", "purchase", "1-1"}, {"XGROUP", "DESTROY", p + "requests", "purchase"}, {"HSET", p + "2:orders:0", "e1/o1", "x"}, {"HSET", "holdfast:2:invoices:{c}", "a", "b"}, {"DEL", p + "2:events"}}, removing, {{"XTRIM", p + "2:log", "MAXLEN", 0}}, {{"DEL", "holdfast:meta"}}},
		"monitor":   {names, selling, groups, books, meta, removing, {{"HGETALL", p + "2:events"}, {"HGETALL", p + "2:orders:0"}, {"HGETALL", "holdfast:2:invoices:{c}"}, {"HGETALL", "holdfast:webhook_secrets"}}},
		"auditor":   {selling, groups, books, {{"DEL", "holdfast:meta"}, {"HSET", "holdfast:meta", "partitions", 1}}, removing},
		"archiver":  {names, selling, groups, tokens, removing, {{"DEL", p + "2:log"}, {"XTRIM", p + "2:log", "MAXLEN", 0}, {"HSET", p + "2:orders:0", "e1/o1", "x"}, {"HGETALL", "holdfast:api_keys"}, {"HGETALL", "holdfast:2:invoices:{c}"}, {"XACK", p + "2:log", "posting", "1-1"}}},
		"webhooks":  {names, selling, groups, tokens, books, removing, {{"HSET", p + "2:orders:0", "e1/o1", "x"}, {"HGETALL", "holdfast:api_keys"}, {"HGETALL", "holdfast:2:invoices:{c}"}, {"XACK", p + "2:log", "posting", "1-1"}}},
		"viewer":    {selling, groups, tokens, books, meta, removing},
		"probe":     {names, selling, groups, tokens, books, meta, removing, {{"HGETALL", "holdfast:meta"}, {"INFO"}}},
	} {
		client := r.client(user)
		for _, commands := range append(denied, anybody) {
			for _, command := range commands {
				err := client.Do(ctx, command...).Err()
				if err == nil || errors.Is(err, redis.Nil) || !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "can't access") {
					t.Errorf("%s may %v (%v)", user, command, err)
				}
			}
		}
	}
	if err := admin.Do(ctx, "AUTH", "default", "x").Err(); err == nil {
		t.Error("the default user is on")
	}
	// The programs of others: each is told no, and nothing is changed.
	for user, commands := range map[string][][]string{
		"producer":  {{"events", "close", "e1"}, {"dead", "list"}, {"audit"}},
		"organizer": {{"publish", "--event", "e1", "--customer", "c", "--token", "t"}, {"orders", "cancel", "e1/o1"}},
		"operator":  {{"events", "close", "e1"}},
		"monitor":   {{"orders", "list"}, {"sales"}, {"events", "close", "e1"}, {"publish", "--event", "e1", "--customer", "c", "--token", "t"}},
		"auditor":   {{"events", "close", "e1"}, {"orders", "cancel", "e1/o1"}, {"publish", "--event", "e1", "--customer", "c", "--token", "t"}},
		"viewer":    {{"dead", "list"}, {"audit"}, {"events", "close", "e1"}},
	} {
		for _, args := range commands {
			if out, exit := holdfast(t, r.url(user), args...); exit == 0 || !strings.Contains(out, "NOPERM") {
				t.Errorf("%s may %v: exit %d: %s", user, args, exit, out)
			}
		}
	}
	if n := admin.XLen(ctx, p+"requests").Val(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}
