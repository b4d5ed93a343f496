package streamstest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// T is what *testing.T and *rapid.T have in common.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// Redis is a namespace of one partition, on a Redis of the test's own.
type Redis struct {
	T
	Ctx    context.Context
	Client redis.UniversalClient
	Keys   layout.Keys
}

// Must ends the test if there is an error.
func (r *Redis) Must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// WantClass fails the test unless the error is of a class.
func (r *Redis) WantClass(err error, want domain.Class) {
	r.Helper()
	if err == nil {
		r.Fatalf("no error, want one of class %s", want)
	}
	if got := domain.ClassOf(err); got != want {
		r.Errorf("class %s, want %s, of: %v", got, want, err)
	}
}

// Do sends one command.
func (r *Redis) Do(args ...any) any {
	r.Helper()
	v, err := r.Client.Do(r.Ctx, args...).Result()
	if err != nil {
		r.Fatalf("%v: %v", args[0], err)
	}
	return v
}

// Now is Redis's clock in milliseconds.
func (r *Redis) Now() int64 {
	r.Helper()
	now, err := r.Client.Time(r.Ctx).Result()
	r.Must(err)
	return now.UnixMilli()
}

// WaitUntil returns once Redis's clock shows at least that time.
func (r *Redis) WaitUntil(millis int64) {
	r.Helper()
	r.Eventually("the clock has come to "+strconv.FormatInt(millis, 10), func() bool { return r.Now() >= millis })
}

// Eventually waits for a condition.
func (r *Redis) Eventually(what string, condition func() bool) {
	r.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			r.Fatalf("waited in vain until %s", what)
		}
	}
}

// Publish adds an entry to the requests.
func (r *Redis) Publish(fields []string) (entryID string) {
	r.Helper()
	id, err := r.Client.XAdd(r.Ctx, &redis.XAddArgs{Stream: r.Keys.Requests(0), Values: fields}).Result()
	r.Must(err)
	return id
}

// Deliver gives all that nobody has yet in a group's stream to a consumer.
func (r *Redis) Deliver(group domain.Group, consumer string) []domain.Entry {
	r.Helper()
	stream, _ := r.Keys.StreamOf(0, group)
	reply, err := r.Client.Do(r.Ctx, "XREADGROUP", "GROUP", string(group), consumer, "COUNT", 100_000, "STREAMS", stream, ">").Result()
	if access.IsNil(err) {
		return nil
	}
	r.Must(err)
	return layout.DecodeEntries(reply.([]any)[0].([]any)[1])
}

// Pending are the ids of a group that were delivered and not acknowledged.
func (r *Redis) Pending(group domain.Group) []string {
	r.Helper()
	stream, _ := r.Keys.StreamOf(0, group)
	entries, err := r.Client.XPendingExt(r.Ctx, &redis.XPendingExtArgs{Stream: stream, Group: string(group), Start: "-", End: "+", Count: 100_000}).Result()
	r.Must(err)
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
	}
	return ids
}

// WantPending compares what is pending for a group.
func (r *Redis) WantPending(group domain.Group, ids ...string) {
	r.Helper()
	if got := r.Pending(group); !slices.Equal(got, ids) {
		r.Errorf("pending for %s: %v, want %v", group, got, ids)
	}
}

// BreakKey puts a value of the wrong type where a key is.
func (r *Redis) BreakKey(key string) {
	r.Helper()
	r.Do("DEL", key)
	r.Do("SET", key, "of another type")
}

// Dump is all that is in Redis, but for idle times and scripts: key -> content.
func (r *Redis) Dump() map[string]string {
	r.Helper()
	names, err := r.Client.Keys(r.Ctx, "*").Result()
	r.Must(err)
	all := make(map[string]string, len(names))
	for _, key := range names {
		kind, err := r.Client.Type(r.Ctx, key).Result()
		r.Must(err)
		var content any
		switch kind {
		case "string":
			content = r.Do("GET", key)
		case "list":
			content = r.Do("LRANGE", key, 0, -1)
		case "hash":
			h, err := r.Client.HGetAll(r.Ctx, key).Result()
			r.Must(err)
			content = h // printed in the order of its keys
		case "set":
			members, err := r.Client.SMembers(r.Ctx, key).Result()
			r.Must(err)
			slices.Sort(members)
			content = members
		case "zset":
			content = r.Do("ZRANGE", key, 0, -1, "WITHSCORES")
		case "stream":
			content = r.dumpStream(key)
		default:
			r.Fatalf("%s is a %s", key, kind)
		}
		all[key] = fmt.Sprint(kind, " ", content)
	}
	return all
}

func (r *Redis) dumpStream(key string) string {
	r.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, r.Do("XRANGE", key, "-", "+"))
	infos, err := r.Client.XInfoGroups(r.Ctx, key).Result()
	r.Must(err)
	for _, g := range infos {
		fmt.Fprintf(&b, "group %s delivered %s:", g.Name, g.LastDeliveredID)
		entries, err := r.Client.XPendingExt(r.Ctx, &redis.XPendingExtArgs{Stream: key, Group: g.Name, Start: "-", End: "+", Count: 100_000}).Result()
		r.Must(err)
		for _, e := range entries {
			fmt.Fprintf(&b, " %s/%s/%d", e.ID, e.Consumer, e.RetryCount)
		}
		consumers, err := r.Client.XInfoConsumers(r.Ctx, key, g.Name).Result()
		r.Must(err)
		for _, c := range consumers {
			fmt.Fprintf(&b, " (%s)", c.Name)
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// WantSame reports every key that is not what it was, but for those with one of the prefixes.
func (r *Redis) WantSame(before map[string]string, but ...string) {
	r.Helper()
	after := r.Dump()
	excepted := func(key string) bool {
		return slices.ContainsFunc(but, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
	}
	for key, content := range before {
		if after[key] != content && !excepted(key) {
			r.Errorf("%s was\n%s\nand is now\n%s", key, content, after[key])
		}
	}
	for key, content := range after {
		if _, known := before[key]; !known && !excepted(key) {
			r.Errorf("%s is new: %s", key, content)
		}
	}
}

// Give publishes and delivers entries to a consumer of the workers.
func (r *Redis) Give(consumer string, n int) []string {
	r.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = r.Publish([]string{"v", "1", "type", "cancel", "event_id", "e1", "order_id", consumer + "." + strconv.Itoa(i), "payment_token", "tok"})
	}
	if n > 0 {
		r.Deliver(domain.GroupWorkers, consumer)
	}
	return ids
}
