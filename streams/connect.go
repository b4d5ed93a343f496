package streams

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// DefaultURL is where Redis is looked for if nobody says.
const DefaultURL = "redis://127.0.0.1:6379/0"

// Dial returns a client for a URL:
//
//	redis://[user:password@]host:port/db, rediss://…, unix:///path
//	redis://host1:port?master_name=mymaster&addr=host2:port …   Sentinel
//	redis://host1:port?addr=host2:port …, or ?cluster=true       Redis Cluster
//
// Further query parameters are go-redis's. The client does not send a command
// twice by itself: whoever calls knows whether that is harmless. Only that of a Cluster
// does when a connection breaks, but for reads that hand out entries. blocking is how
// many connections block at a time; the pool is that much larger, and a reply may
// take as much longer as a blocking read does. Nothing is sent yet.
func Dial(rawURL string, blocking int) (redis.UniversalClient, error) {
	return dial(rawURL, blocking, nil)
}

// dial is Dial with a look at each connection before it is used, but for those to nodes of a Cluster.
func dial(rawURL string, blocking int, onConnect func(context.Context, *redis.Conn) error) (redis.UniversalClient, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// The error of url.Parse repeats the URL, which may hold a password.
		return nil, domain.WithClass(domain.ClassFatal, errors.New("the Redis URL cannot be read: want redis://host:port/db"))
	}
	query := u.Query()
	poolSize := 16 + blocking
	switch {
	case query.Has("master_name"):
		o, err := redis.ParseFailoverURL(rawURL)
		if err != nil {
			return nil, urlError(err)
		}
		o.MaxRetries, o.Protocol, o.PoolSize, o.ContextTimeoutEnabled = -1, 2, max(o.PoolSize, poolSize), true
		o.ReadTimeout = readTimeout(o.ReadTimeout, blocking)
		o.OnConnect = masterOnly(onConnect)
		return redis.NewFailoverClient(o), nil
	case query.Has("addr") || query.Has("cluster"):
		query.Del("cluster")
		u.RawQuery = query.Encode()
		o, err := redis.ParseClusterURL(u.String())
		if err != nil {
			return nil, urlError(err)
		}
		o.MaxRetries, o.Protocol, o.PoolSize, o.ContextTimeoutEnabled = -1, 2, max(o.PoolSize, poolSize), true
		o.ReadTimeout = readTimeout(o.ReadTimeout, blocking)
		o.MaxRedirects = 8 // MOVED and ASK: the command was not executed where it was sent first
		// A master that died says nothing about who took its slots over, and go-redis
		// would ask the others once a minute.
		o.ClusterStateReloadInterval = time.Second
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		return redis.NewClusterClient(o), nil
	default:
		o, err := redis.ParseURL(rawURL)
		if err != nil {
			return nil, urlError(err)
		}
		o.MaxRetries, o.Protocol, o.PoolSize, o.ContextTimeoutEnabled = -1, 2, max(o.PoolSize, poolSize), true
		o.ReadTimeout = readTimeout(o.ReadTimeout, blocking)
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		o.OnConnect = onConnect
		return redis.NewClient(o), nil
	}
}

// readTimeout is what the URL says a reply may take. A read that waits for work
// answers after that time: on a client for those, it comes on top.
func readTimeout(said time.Duration, blocking int) time.Duration {
	if said > 0 && blocking > 0 {
		return said + readBlock
	}
	return said // 0 is go-redis's default, which is longer, and less is none
}

// masterOnly refuses a server that is no master (any more), before then sees it. A
// sentinel may name one that was replaced a moment ago; it would answer everything
// that only reads, and nobody would notice. Connections to the sentinels come here, too.
func masterOnly(then func(context.Context, *redis.Conn) error) func(context.Context, *redis.Conn) error {
	return func(ctx context.Context, conn *redis.Conn) error {
		reply, err := conn.Do(ctx, "ROLE").Slice()
		if err != nil {
			return err
		}
		var role string
		if len(reply) > 0 {
			role = layout.AsString(reply[0])
		}
		switch {
		case role == "sentinel", role == "master" && then == nil:
			return nil
		case role == "master":
			return then(ctx, conn)
		}
		return fmt.Errorf("the server is no master, but %q", role)
	}
}

func urlError(err error) error {
	return domain.WithClass(domain.ClassFatal, fmt.Errorf("the Redis URL cannot be used: %w", err))
}

// minServerVersion is the oldest Redis the scripts work on.
const minServerVersion = 7

// checkServer returns a ClassFatal error for a server that is too old, and a
// ClassRetry one if it does not answer.
func checkServer(ctx context.Context, rdb redis.UniversalClient) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	info, err := rdb.Info(ctx, "server").Result()
	if err != nil {
		if answered(err) && strings.HasPrefix(err.Error(), "section") {
			return nil // miniredis, which tells no version
		}
		return fmt.Errorf("asking Redis for its version: %w", access.Classify(err))
	}
	for line := range strings.Lines(info) {
		version, found := strings.CutPrefix(strings.TrimSpace(line), "redis_version:")
		if !found {
			continue
		}
		major, _, _ := strings.Cut(version, ".")
		if n, err := strconv.Atoi(major); err == nil && n < minServerVersion {
			return domain.WithClass(domain.ClassFatal, fmt.Errorf("redis %s is too old: want 7.0 or later", version))
		}
		return nil
	}
	return nil // a compatible server that does not say; its first script will
}
