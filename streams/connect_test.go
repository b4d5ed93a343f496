package streams

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams/redistest"
)

func TestCheckURL(t *testing.T) {
	for _, good := range []string{
		DefaultURL, "redis://h", "redis://h/", "redis://h:1/15", "rediss://h", "redis://[::1]:6379/0", "redis:///3",
		"redis://:pw@h", "redis://user:pw@h/0", "redis://user:a:b@c@h", "redis://user:%23%2F%3F%40%25@h",
		"unix:///run/redis.sock", "unix://user:pw@/run/redis.sock?db=3",
		"redis://h?read_timeout=3s&pool_size=5", "rediss://h?skip_verify=true",
		"redis://h?cluster=true", "redis://h?addr=i:1&addr=j:2", "redis://u:pw@h/0?cluster=1",
		"redis://u:pw@h:26379/3?master_name=m&username=v&password=%23&addr=i:1",
	} {
		if err := CheckURL(good, nil); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, test := range []struct{ url, want string }{
		// A password with a bare character that ends the host.
		{"redis://:12#s3cret@h", "percent-encoded"},
		{"redis://:/s3cret@h", "percent-encoded"},
		{"redis://u:12/s3cret@h:6379/0", "percent-encoded"},
		{"redis://u:12?s3cret@h", "percent-encoded"},
		{"redis://u:s3cret#@h", "percent-encoded"},
		{"redis://u:s3%cret@h", "percent-encoded"},
		{"redis://u:s3cret", "percent-encoded"},
		{"redis://u:12/s3cret", "percent-encoded"},
		{"redis://:/s3cret", "percent-encoded"},
		{"redis://h?master_name=m&password=s3&cret", "percent-encoded"},
		{"redis://h?master_name=m&password=s3;cret", "percent-encoded"},
		{"redis://h?master_name=m&password=s3@cret", "percent-encoded"},
		{"redis://h?master_name=m&password=s3%cret", "percent-encoded"},
		// No host, or not where it seems.
		{"redis:s3cret@h", "redis://user:password@host"},
		{"redis:/s3cret@h", "redis://user:password@host"},
		{"s3cret@h:6379", "the Redis URL"},
		{"h:6379", "the Redis URL"},
		{"", "begins with neither"},
		{"http://h", "begins with neither"},
		{"redis://h:", "no port"},
		{"redis://h:0", "port"},
		{"redis://h:66666", "port"},
		{"redis://s3cret@h", "no password"},
		{"redis://s3cret:@h", "no password"},
		{"unix://run/redis.sock", "unix:///path"},
		{"unix://", "unix:///path"},
		{"unix:///run/redis.sock?cluster=true", "one server"},
		// Another database than was asked for.
		{"redis://h/3?cluster=true", "only database 0"},
		{"redis://h/3?addr=i:1", "only database 0"},
		{"redis://h?cluster=true&db=3", "only database 0"},
		{"redis://h?cluster=false", "cluster that is not true"},
		{"redis://h/s3cret", "number of a database"},
		{"redis://h/-1", "number of a database"},
		{"redis://h?db=s3cret", "number of a database"},
		{"redis://h?master_name=", "empty master_name"},
		// What go-redis would not take, and would repeat, or panic about.
		{"redis://h?s3cret=1", "parameter 1 is not known"},
		{"redis://h?pool_size=2&pool_sze=2", "parameter 2 is not known"},
		{"redis://h?pool_size=s3cret", "parameter pool_size"},
		{"redis://h?read_timeout=s3cret", "parameter read_timeout"},
		{"redis://h?addr=s3cret", "parameter addr"},
		{"redis://h?password=s3cret", "parameter password"},
		{"redis://h?cluster=true&password=s3cret", "parameter password"},
		{"redis://h?master_name=m&idle_timeout=1s&password=s3cret", "parameter idle_timeout"},
		{"redis://h?min_idle_conns=99999999999", "out of all proportion"},
		// What would read from replicas.
		{"redis://h?master_name=m&replica_only=true", "not known"},
		{"redis://h?master_name=m&route_randomly=true", "not known"},
		{"redis://h?cluster=true&read_only=true", "not known"},
	} {
		err := CheckURL(test.url, nil)
		if err == nil || domain.ClassOf(err) != domain.ClassFatal || domain.CodeOf(err) != domain.CodeInvalid || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want it refused: %s", test.url, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "cret") {
			t.Errorf("%s: %v", test.url, err)
		}
		if _, opened := Open(context.Background(), test.url, Options{Create: true}); opened == nil || err != nil && opened.Error() != err.Error() {
			t.Errorf("%s: Open says %v", test.url, opened)
		}
	}
	if err := CheckURL("redis://h", &tls.Config{MinVersion: tls.VersionTLS12}); err == nil || !strings.Contains(err.Error(), "rediss://") {
		t.Errorf("certificates without TLS: %v", err)
	}
}

func TestServerName(t *testing.T) {
	for _, test := range []struct{ url, addr, want string }{
		{"rediss://redis.example", "redis.example:6379", "redis.example"},
		{"rediss://redis.example", "node2.example:6379", "node2.example"},
		{"rediss://redis.example", "10.0.0.7:6379", "redis.example"},
		{"rediss://10.0.0.1", "10.0.0.7:6379", "10.0.0.7"},
		{"rediss://10.0.0.1", "node2.example:6379", "node2.example"},
		{"rediss://redis.example", "[fd00::7]:6379", "redis.example"},
	} {
		e, err := parseURL(test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.dialer.serverName(test.addr); got != test.want {
			t.Errorf("%s at %s: want a certificate of %q, must be %q", test.url, test.addr, got, test.want)
		}
	}
}

// tls.Config with which to open, and what is to be said.
type tlsCase struct {
	name, url string
	config    *tls.Config
	want      string // empty: it opens
	class     domain.Class
	code      domain.Code
}

// A real server that speaks TLS: whom it trusts, whom we trust, and how what is wrong is called.
func TestTLS(t *testing.T) {
	t.Parallel()
	a, stranger := redistest.NewAuthority(t), redistest.NewAuthority(t)
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	mine := a.Issue(later, "127.0.0.1")
	start := func(c redistest.Certificate, args ...string) *redistest.Server {
		return redistest.Start(t, append(redistest.TLSArgs(t, a, c), args...)...)
	}
	server, mutual := start(mine), start(mine, "--tls-auth-clients", "yes")
	expired, elsewhere := start(a.Issue(before, "127.0.0.1")), start(a.Issue(later, "redis.internal"))
	node := redistest.StartNode(t, append(redistest.TLSArgs(t, a, mine), "--tls-cluster", "yes")...)
	client, theirs := a.Issue(later, "client"), stranger.Issue(later, "client")
	for _, test := range []tlsCase{
		{"own authority", "rediss://" + server.TLSAddr(), a.Client(), "", 0, ""},
		{"Cluster", "rediss://" + node.TLSAddr() + "?cluster=true", a.Client(), "", 0, ""},
		{"Cluster, unknown authority", "rediss://" + node.TLSAddr() + "?cluster=true", nil, "signed by an authority that is not known here", domain.ClassFatal, domain.CodeUntrusted},
		{"not verified", "rediss://" + elsewhere.TLSAddr() + "?skip_verify=true", nil, "", 0, ""},
		{"client certificate", "rediss://" + mutual.TLSAddr(), a.Client(client), "", 0, ""},
		{"unknown authority", "rediss://" + server.TLSAddr(), nil, "signed by an authority that is not known here", domain.ClassFatal, domain.CodeUntrusted},
		{"another authority", "rediss://" + server.TLSAddr(), stranger.Client(), "signed by an authority that is not known here", domain.ClassFatal, domain.CodeUntrusted},
		{"expired", "rediss://" + expired.TLSAddr(), a.Client(), "expired", domain.ClassFatal, domain.CodeInvalid},
		{"another host", "rediss://" + elsewhere.TLSAddr(), a.Client(), "doesn't contain any IP SANs", domain.ClassFatal, domain.CodeInvalid},
		{"no client certificate", "rediss://" + mutual.TLSAddr(), a.Client(), "as if it wanted a client certificate", domain.ClassRetry, domain.CodeFailed},
		{"a stranger's client certificate", "rediss://" + mutual.TLSAddr(), a.Client(theirs), "as if it wanted a client certificate", domain.ClassRetry, domain.CodeFailed},
		{"another name", strings.Replace("rediss://"+elsewhere.TLSAddr(), "127.0.0.1", "localhost", 1), a.Client(), "valid for redis.internal, not localhost", domain.ClassFatal, domain.CodeInvalid},
		{"plain to TLS", "redis://" + server.TLSAddr(), nil, "if it speaks TLS, its URL begins with rediss://", domain.ClassRetry, domain.CodeFailed},
		{"TLS to plain", "rediss://" + server.Addr(), a.Client(), "if it does not speak TLS, its URL begins with redis://", domain.ClassRetry, domain.CodeFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			checkOpen(t, test)
		})
	}
}

func checkOpen(t *testing.T, test tlsCase) {
	t.Helper()
	store, err := Open(context.Background(), test.url, Options{Create: true, TLS: test.config})
	if test.want == "" {
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Ledger().Verify(context.Background()); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		return
	}
	if err == nil {
		t.Fatal("it opens")
	}
	if !strings.Contains(err.Error(), test.want) || domain.ClassOf(err) != test.class || domain.CodeOf(err) != test.code {
		t.Errorf("%v (class %s, code %s), want %q, class %s, code %s", err, domain.ClassOf(err), domain.CodeOf(err), test.want, test.class, test.code)
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the password: %v", err)
	}
}

// with puts a user, or more, into a URL.
func with(server *redistest.Server, userinfo, rest string) string {
	return "redis://" + userinfo + "@" + server.Addr() + rest
}

// What a server that answers has against us is said, and that it does not answer only where nobody did.
func TestCauses(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "redis.sock")
	server := redistest.Start(t, "--unixsocket", socket)
	closed := redistest.Start(t)
	closed.Kill()
	rdb := server.Client()
	defer func() { _ = rdb.Close() }()
	ctx := context.Background()
	for _, user := range [][]any{
		{"ACL", "SETUSER", "closed", "on", ">s3cret", "~*", "&*", "+@all"},
		{"ACL", "SETUSER", "uninformed", "on", ">s3cret", "~*", "&*", "+@all", "-info"},
		{"ACL", "SETUSER", "idle", "on", ">s3cret", "+ping"},
		{"ACL", "SETUSER", "default", "on", "resetpass", ">s3cret"},
	} {
		if err := rdb.Do(ctx, user...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []tlsCase{
		{"right", with(server, ":s3cret", ""), nil, "", 0, ""},
		{"socket", "unix://:s3cret@" + socket + "?db=1", nil, "", 0, ""},
		{"no INFO", with(server, "uninformed:s3cret", ""), nil, "", 0, ""},
		{"no password", server.URL(), nil, "the server wants a password (NOAUTH)", domain.ClassFatal, domain.CodeDenied},
		{"wrong password", with(server, ":not-s3cret", ""), nil, "the server refuses user or password (WRONGPASS)", domain.ClassFatal, domain.CodeDenied},
		{"unknown user", with(server, "nobody:s3cret", ""), nil, "percent-encoded", domain.ClassFatal, domain.CodeDenied},
		{"no permission", with(server, "idle:s3cret", ""), nil, "does not permit what is needed: NOPERM", domain.ClassFatal, domain.CodeDenied},
		{"no such database", with(server, ":s3cret", "/99"), nil, "the server has no database 99", domain.ClassFatal, domain.CodeInvalid},
		{"no Cluster", with(server, ":s3cret", "?cluster=true"), nil, "this is no Redis Cluster: take cluster=true (or addr=) out of the URL", domain.ClassFatal, domain.CodeInvalid},
		{"no sentinel", with(server, ":s3cret", "?master_name=m"), nil, "this is no sentinel: take master_name out of the URL", domain.ClassFatal, domain.CodeInvalid},
		{"nobody", closed.URL(), nil, "connection refused", domain.ClassRetry, domain.CodeUnavailable},
		{"no such host", "redis://no-such-host.invalid", nil, "no-such-host.invalid", domain.ClassRetry, domain.CodeUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) { checkOpen(t, test) })
	}
}

// fake serves each connection with a function.
func fake(t *testing.T, serve func(net.Conn)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				serve(c)
			}()
		}
	}()
	return "redis://:s3cret@" + l.Addr().String()
}

// What is no Redis may repeat what it was sent, and so may a Redis that lacks a command.
func TestAnswersAreNotRepeated(t *testing.T) {
	t.Parallel()
	answer := func(text string) string {
		return fake(t, func(c net.Conn) {
			buffer := make([]byte, 4096)
			for {
				if _, err := c.Read(buffer); err != nil {
					return
				}
				if _, err := io.WriteString(c, text+"\r\n"); err != nil {
					return
				}
			}
		})
	}
	for _, test := range []tlsCase{
		{"HTTP", answer("HTTP/1.1 400 I do not understand AUTH s3cret"), nil, "what answers there is no Redis", domain.ClassFatal, domain.CodeInvalid},
		{"echo", answer("s3cret"), nil, "what answers there is no Redis", domain.ClassFatal, domain.CodeInvalid},
		{"unknown command", answer("-ERR unknown command 'AUTH', with args beginning with: 's3cret' "), nil, "unknown command 'AUTH'", domain.ClassFatal, domain.CodeInvalid},
		{"TLS alert", answer("\x15\x03\x01\x00\x02\x02\x46"), nil, "speaks TLS", domain.ClassFatal, domain.CodeInvalid},
		{"loading", answer("-LOADING Redis is loading the dataset in memory"), nil, "loading its data", domain.ClassRetry, domain.CodeLoading},
		{"silence", fake(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }) + "?read_timeout=50ms", nil, "timeout", domain.ClassRetry, domain.CodeUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			checkOpen(t, test)
		})
	}
}

// A server that has as many clients as it takes says so before it hangs up.
func TestMaxClients(t *testing.T) {
	t.Parallel()
	a := redistest.NewAuthority(t)
	server := redistest.Start(t, redistest.TLSArgs(t, a, a.Issue(time.Now().Add(time.Hour), "127.0.0.1"))...)
	rdb := server.Client()
	defer func() { _ = rdb.Close() }()
	ctx := context.Background()
	store, err := Open(ctx, server.URL(), Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	if err := rdb.ConfigSet(ctx, "maxclients", "1").Err(); err != nil {
		t.Fatal(err)
	}
	want := "as many clients as it takes (maxclients)"
	checkOpen(t, tlsCase{"open", server.URL(), nil, want, domain.ClassRetry, domain.CodeFailed})
	// With TLS it has nothing to say it on.
	checkOpen(t, tlsCase{"open", "rediss://" + server.TLSAddr(), a.Client(), "maxclients", domain.ClassRetry, domain.CodeFailed})
	// A request that found no connection was not published.
	if err := rdb.ClientKillByFilter(ctx, "SKIPME", "yes").Err(); err != nil {
		t.Fatal(err)
	}
	got := store.Checkout().Append(ctx, purchases(1), domain.Confirmation{})[0]
	if !errors.Is(got.Err, errMaxClients) || errors.Is(got.Err, domain.ErrUnknownOutcome) {
		t.Errorf("publishing: %v, want it surely not published, because of maxclients", got.Err)
	}
}

// A server that cuts off who is idle: a connection of the pool that is dead is not used, with TLS either.
func TestIdleConnectionsAreCut(t *testing.T) {
	t.Parallel()
	a := redistest.NewAuthority(t)
	server := redistest.Start(t, append(redistest.TLSArgs(t, a, a.Issue(time.Now().Add(time.Hour), "127.0.0.1")), "--timeout", "1")...)
	for _, test := range []struct {
		name, url string
		config    *tls.Config
	}{
		{"plain", server.URL(), nil},
		{"TLS", "rediss://" + server.TLSAddr(), a.Client()},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := context.Background()
			store, err := Open(ctx, test.url, Options{Create: true, TLS: test.config, Partitions: 1, Namespace: test.name})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = store.Close() }()
			checkout, ledger := store.Checkout(), store.Ledger()
			rdb := server.Client()
			defer func() { _ = rdb.Close() }()
			idle := func() int { // but for the one that asks
				list, err := rdb.ClientList(ctx).Result()
				if err != nil {
					t.Fatal(err)
				}
				return strings.Count(list, "\n") - 1
			}
			use := func() {
				t.Helper()
				// Several at a time, so that there is more than one connection; a pipeline, single commands, a script.
				errs := make(chan error)
				for range 4 {
					go func() { errs <- checkout.Append(ctx, purchases(1), domain.Confirmation{})[0].Err }()
					go func() { _, err := checkout.Orders(ctx, []domain.OrderRef{{EventID: "e", OrderID: "o"}}); errs <- err }()
					go func() {
						errs <- ledger.Post(ctx, 0, []string{"1-1"}, []domain.Fact{{ID: "1-1", Type: domain.FactConfirmed, EventID: "e", OrderID: "o"}})
					}()
					go func() { errs <- ledger.Verify(ctx) }()
				}
				for range 16 {
					if err := <-errs; err != nil {
						t.Error(err)
					}
				}
			}
			use()
			if idle() == 0 {
				t.Fatal("no connection is left that could be cut")
			}
			deadline := time.Now().Add(20 * time.Second)
			for idle() > 0 {
				if time.Now().After(deadline) {
					t.Fatalf("the server has not cut %d connections", idle())
				}
			}
			began := time.Now()
			use()
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %s to go on", took)
			}
		})
	}
}

// A connection that was closed while an answer was waited for is looked at no more, although its timer went off just then.
func TestClosedConnectionIsLeftAlone(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	read := make(chan error, 1)
	go func() { _, err := theirs.Read(make([]byte, 1)); read <- err }()
	c := newConnection(ours, ours)
	if _, err := c.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-read, c.Close()); err != nil {
		t.Fatal(err)
	}
	c.closeUnused()
	if c.unused.Stop() {
		t.Error("it will be looked at again")
	}
}

// A sentinel and a master, each with TLS, users and passwords of its own.
func TestSentinelWithPasswordsAndTLS(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	a := redistest.NewAuthority(t)
	certificate := a.Issue(time.Now().Add(time.Hour), "127.0.0.1")
	secured := append(redistest.TLSArgs(t, a, certificate), "--tls-auth-clients", "yes", "--tls-replication", "yes")
	master := redistest.Start(t, secured...)
	do := func(s *redistest.Server, args ...any) {
		t.Helper()
		rdb := s.Client()
		defer func() { _ = rdb.Close() }()
		if err := rdb.Do(ctx, args...).Err(); err != nil {
			t.Fatalf("%v: %v", args[:2], err)
		}
	}
	do(master, "ACL", "SETUSER", "watcher", "on", ">watch", "allchannels", "+multi", "+slaveof", "+ping", "+exec", "+subscribe",
		"+config|rewrite", "+role", "+publish", "+info", "+client|setname", "+client|kill", "+script|kill")
	do(master, "ACL", "SETUSER", "worker", "on", ">w#rk/s3cret", "~*", "&*", "+@all")
	do(master, "ACL", "SETUSER", "default", "off")
	secured = append(redistest.TLSArgs(t, a, certificate), "--tls-auth-clients", "yes", "--tls-replication", "yes")
	sentinel := redistest.StartSentinel(t, master.TLSAddr(), []string{
		"sentinel auth-user " + redistest.MasterName + " watcher", "sentinel auth-pass " + redistest.MasterName + " watch",
		"sentinel down-after-milliseconds " + redistest.MasterName + " 60000",
	}, secured...)
	do(sentinel, "ACL", "SETUSER", "finder", "on", ">find@s3cret", "allchannels", "-@all", "+hello", "+auth", "+ping", "+role", "+subscribe",
		"+sentinel|get-master-addr-by-name", "+sentinel|sentinels")
	do(sentinel, "ACL", "SETUSER", "asker", "on", ">ask", "+@all")
	do(sentinel, "ACL", "SETUSER", "default", "off")

	client := a.Client(certificate)
	at := func(sentinels, servers, name string) string {
		return "rediss://" + sentinels + sentinel.TLSAddr() + "?master_name=" + name + servers
	}
	const finder, worker = "finder:find%40s3cret@", "&username=worker&password=w%23rk%2Fs3cret"
	for _, test := range []tlsCase{
		{"right", at(finder, worker, redistest.MasterName), client, "", 0, ""},
		{"sentinels without a password", at("", worker, redistest.MasterName), client, "the sentinel wants a password (NOAUTH)", domain.ClassFatal, domain.CodeDenied},
		{"sentinels with a wrong one", at("finder:s3cret@", worker, redistest.MasterName), client, "the sentinel refuses user or password (WRONGPASS)", domain.ClassFatal, domain.CodeDenied},
		{"master without a password", at(finder, "", redistest.MasterName), client, "the master wants a password (NOAUTH)", domain.ClassFatal, domain.CodeDenied},
		{"master with a wrong one", at(finder, "&username=worker&password=s3cret", redistest.MasterName), client, "the master refuses user or password (WRONGPASS)", domain.ClassFatal, domain.CodeDenied},
		{"unknown master", at(finder, worker, "other"), client, "watch no master of the name in the URL", domain.ClassFatal, domain.CodeInvalid},
		{"unknown authority", at(finder, worker, redistest.MasterName), nil, "signed by an authority that is not known here", domain.ClassFatal, domain.CodeUntrusted},
		{"as a server", "rediss://" + finder + sentinel.TLSAddr(), client, "if it is a sentinel, its URL needs master_name", domain.ClassFatal, domain.CodeInvalid},
		{"as a server that tells", "rediss://asker:ask@" + sentinel.TLSAddr(), client, "this is a sentinel: its URL needs master_name", domain.ClassFatal, domain.CodeInvalid},
	} {
		t.Run(test.name, func(t *testing.T) { checkOpen(t, test) })
	}
}

// A node of a Cluster that is addressed as if it were alone says where else to go, and not that it is not there.
func TestClusterNodeAlone(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t, 2)
	for _, n := range nodes.Masters() {
		checkOpen(t, tlsCase{"", n.URL(), nil, "its URL needs cluster=true", domain.ClassFatal, domain.CodeInvalid})
		checkOpen(t, tlsCase{"", "redis://" + n.Addr() + "/3", nil, "its URL needs cluster=true", domain.ClassFatal, domain.CodeInvalid})
		checkOpen(t, tlsCase{"", "redis://" + n.Addr() + "?cluster=true", nil, "", 0, ""})
	}
	store, err := Open(context.Background(), nodes.URL(), Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	servers, err := store.Servers(context.Background())
	if err != nil || len(servers) != 2 || servers[0].Addr == servers[1].Addr || len(servers[0].Faults) != 1 || len(servers[1].Faults) != 1 {
		t.Errorf("the servers of the Cluster: %+v, %v", servers, err)
	}
}

// What is wrong with a server for holdfast's purposes is found, as far as it says.
func TestServers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes")
	rdb := server.Client()
	defer func() { _ = rdb.Close() }()
	ctx := context.Background()
	f := openFixture(t, server)
	codes := func(store *Store) (codes []FaultCode) {
		t.Helper()
		servers, err := store.Servers(ctx)
		if err != nil || len(servers) != 1 || !strings.HasPrefix(servers[0].Version, "7.") && !strings.HasPrefix(servers[0].Version, "8.") {
			t.Fatalf("%+v, %v", servers, err)
		}
		for _, fault := range servers[0].Faults {
			codes = append(codes, fault.Code)
			if fault.Detail == "" {
				t.Errorf("%s does not say what it means", fault.Code)
			}
		}
		return codes
	}
	if got := codes(f.store); got != nil {
		t.Errorf("a server that is well: %v", got)
	}
	f.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	if got := codes(f.store); !slices.Equal(got, []FaultCode{FaultEviction}) {
		t.Errorf("one that evicts: %v", got)
	}
	f.Do("CONFIG", "SET", "appendonly", "no")
	if got := codes(f.store); !slices.Equal(got, []FaultCode{FaultEviction, FaultNoAOF}) {
		t.Errorf("one that evicts and does not append: %v", got)
	}
	f.Do("ACL", "SETUSER", "uninformed", "on", ">s3cret", "~*", "&*", "+@all", "-info")
	store, err := Open(ctx, with(server, "uninformed:s3cret", ""), Options{Create: true})
	f.Must(err)
	defer func() { _ = store.Close() }()
	_, err = store.Servers(ctx)
	f.WantClass(err, domain.ClassFatal)
}
