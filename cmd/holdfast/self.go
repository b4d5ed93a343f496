package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

// selfView is what a worker says of itself.
type selfView struct {
	Alive  bool   `json:"alive"`
	URL    string `json:"url"`
	Detail string `json:"detail"`
}

// self asks a worker whether it lives. Its exit status is one that container runtimes take: they have a use for 0 and 1.
func (c *checkCommand) self(ctx context.Context, e *environment) error {
	if c.ForgetReplaced || len(c.Ignore) > 0 {
		return badUsage("--self: only asks a worker whether it lives; without --forget-replaced and --ignore")
	}
	listen := c.Addr
	if listen == "" {
		listen = os.Getenv("HOLDFAST_LISTEN")
	}
	if listen == "" {
		return badUsage("--self: say where the worker listens: holdfast check --self HOST:PORT, or $HOLDFAST_LISTEN")
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return badUsage("--self: want HOST:PORT, where the worker listens")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() { // it listens everywhere, here too
		host = "localhost"
		if ip != nil && ip.To4() != nil {
			host = "127.0.0.1"
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	v := selfView{URL: "http://" + net.JoinHostPort(host, port) + "/livez"}
	v.Detail, v.Alive = alive(ctx, v.URL)
	status, text := exitDone, "HOLDFAST OK - "
	if !v.Alive {
		status, text = exitFailed, "HOLDFAST CRITICAL - "
	}
	out := e.printer()
	out.row(v, printableLine(text+v.Detail))
	if err := out.flush(); err != nil {
		return err
	}
	if status == exitDone {
		return nil
	}
	return &endedError{status: status}
}

// alive asks a worker, past all proxies. The detail is for people.
func alive(ctx context.Context, url string) (detail string, alive bool) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err.Error(), false
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it is no worker: it sends elsewhere") },
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Sprintf("nobody answers (%v)", err), false
	}
	defer func() { _ = response.Body.Close() }() // it was read
	const most = 4 << 10
	body, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return fmt.Sprintf("the answer breaks off (%v)", err), false
	}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusServiceUnavailable {
		return fmt.Sprintf("%s is no worker's: it answers %s", url, response.Status), false
	}
	return inOneLine(strings.TrimSpace(string(body))), response.StatusCode == http.StatusOK
}
