package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/domain"
)

func TestErrorsInJSON(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.failsInJSON(exitFailed, "order o9: not found in any event", object{"code": "not_found", "order_id": "o9"}, "orders", "show", "o9")
	h.failsInJSON(exitFailed, "e1/o9: not found", object{"code": "not_found", "order_id": "o9", "event_id": "e1"}, "orders", "show", "e1/o9")
	h.failsInJSON(exitFailed, "not found", object{"code": "not_found", "event_id": "nope"}, "events", "show", "nope")
	h.failsInJSON(exitFailed, "not found", object{"code": "not_found", "event_id": "nope"}, "sales", "nope")
	h.failsInJSON(exitFailed, "conflict", object{"code": "conflict", "event_id": "e1"},
		"events", "create", "e1", "--name", "Another", "--currency", "EUR", "--section", "general=1@1")
	h.failsInJSON(exitUsage, "currency", object{"code": "invalid", "event_id": "e2"},
		"events", "create", "e2", "--name", "E", "--currency", "XTS", "--section", "general=1@1")
	h.failsInJSON(exitUsage, "--quantity", object{"code": "invalid", "event_id": "e1", "order_id": "o1"},
		"publish", "--event", "e1", "--order", "o1", "--customer", "c", "--quantity", "0")
	h.failsInJSON(exitFailed, "not found", object{"code": "not_found"}, "dead", "redrive", "0:1-0")

	noRedis := []string{"--redis", "redis://" + closedPort(t)}
	checkFailureInJSON(t, execute(nil, append(noRedis, "sales", "-o", "json")...), exitFailed, "does not answer", object{"code": "unavailable"})

	// Also if the command line cannot be read.
	for _, args := range [][]string{
		{"-o", "json", "publsh"},
		{"sales", "--nope", "-o", "json"},
		{"sales", "--output=json", "--nope"},
		{"sales", "--output", "json", "--nope"},
		{"publish", "--type", "gift", "-ojson"},
		{"-o", "table", "sales", "--nope", "-o", "json"},
	} {
		r := execute(nil, args...)
		checkFailureInJSON(t, r, exitUsage, " --help)", object{"code": "invalid"})
	}
	for _, args := range [][]string{
		{"sales", "--nope"},
		{"sales", "--nope", "-o", "table"},
		{"sales", "--nope", "--", "-o", "json"},
		{"sales", "--nope", "-o"},
	} {
		checkFailure(t, execute(nil, args...), exitUsage, []string{" --help)"}, args)
	}
}

func TestErrorsInJSONByTheEnvironment(t *testing.T) {
	t.Setenv("HOLDFAST_OUTPUT", "json")
	checkFailureInJSON(t, execute(nil, "sales", "--nope"), exitUsage, "--nope", object{"code": "invalid"})
	args := []string{"sales", "--nope", "-o", "table"}
	checkFailure(t, execute(nil, args...), exitUsage, []string{"--nope"}, args)
	t.Setenv("HOLDFAST_OUTPUT", "xml")
	checkFailure(t, execute(nil, "sales"), exitUsage, []string{"--output"}, []string{"sales"})
}

func TestStatusOf(t *testing.T) {
	unknown := fmt.Errorf("creating it: %w: %w", domain.ErrUnknownOutcome, io.EOF)
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, exitDone},
		{errors.New("x"), exitFailed},
		{fmt.Errorf("about it: %w", badUsage("x")), exitUsage},
		{aboutEvent("e", badUsage("x")), exitUsage},
		{unknown, exitUnknown},
		{errors.Join(unknown, nil), exitUnknown},
		{about(domain.OrderRef{EventID: "e", OrderID: "o"}, unknown), exitUnknown},
		{domain.WithCode(domain.ClassRetry, domain.CodeUnknownOutcome, errors.New("x")), exitUnknown},
		{&endedError{exitUnknown, errors.New("x")}, exitUnknown},
		{&endedError{status: exitFailed}, exitFailed},
	} {
		if got := statusOf(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
	if about(domain.OrderRef{}, nil) != nil {
		t.Error("no error became one")
	}
}

// withoutReply is a way to a server on which the reply to a command with this in it is lost.
func withoutReply(t *testing.T, server, last string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	pass := func(client net.Conn) {
		defer func() { _ = client.Close() }()
		redis, err := net.Dial("tcp", server)
		if err != nil {
			return
		}
		defer func() { _ = redis.Close() }()
		var cut atomic.Bool
		go func() {
			defer func() { _ = client.Close() }()
			reply := make([]byte, 1<<16)
			for {
				n, err := redis.Read(reply)
				if err != nil || cut.Load() {
					return
				}
				if _, err := client.Write(reply[:n]); err != nil {
					return
				}
			}
		}()
		var sent []byte
		buffer := make([]byte, 1<<16)
		for {
			n, err := client.Read(buffer)
			if err != nil {
				return
			}
			sent = append(sent, buffer[:n]...)
			cut.Store(bytes.Contains(sent, []byte(last)))
			if _, err := redis.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go pass(client)
		}
	}()
	return listener.Addr().String()
}

// What may have happened is status 3, and saying it again tells.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("init")
	server := strings.TrimSuffix(strings.TrimPrefix(h.server.URL(), "redis://"), "/0")
	through := func(last string, args ...string) result {
		return execute(nil, append(args, "-o", "json", "--redis", "redis://"+withoutReply(t, server, last))...)
	}
	lost := func(last, text string, fields object, args ...string) {
		t.Helper()
		fields["code"] = "outcome_not_known"
		checkFailureInJSON(t, through(last, args...), exitUnknown, text, fields)
	}
	create := []string{"events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=5@1"}
	lost("create_event:", "outcome not known", object{"event_id": "e1"}, create...)
	expect(t, h.one(create...), object{"created": false})
	lost("adjust_event:", "outcome not known", object{"event_id": "e1"}, "events", "adjust", "e1", "--section", "general=7")
	expect(t, h.one("events", "adjust", "e1", "--section", "general=7"), object{"changed": false})
	lost("change_event:", "outcome not known", object{"event_id": "e1"}, "events", "close", "e1")
	expect(t, h.one("events", "show", "e1"), object{"closed": true})

	lost("xadd", "order e1/o1: not known whether it was published", object{"event_id": "e1", "order_id": "o1"},
		"publish", "--type", "hold", "--event", "e1", "--customer", "c", "--order", "o1")
}
