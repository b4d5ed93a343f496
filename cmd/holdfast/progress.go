package main

import (
	"fmt"
	"io"
	"time"
)

// progress is a line on a terminal that tells how many there were so far.
type progress struct {
	on     bool
	stderr io.Writer
	what   string // was done to them
	most   int64  // how many there will be; 0: not known
	began  time.Time
	shown  time.Time
	count  int64
}

const (
	progressEvery = 200 * time.Millisecond
	clearLine     = "\r\x1b[K"
)

// progressOf is for a command whose rows may go to the same terminal: each is cleared before.
func (e *environment) progressOf(what string, most int64) *progress {
	return &progress{on: isTerminal(e.stderr), stderr: e.stderr, what: what, most: most, began: time.Now()}
}

func (p *progress) add(n int) {
	p.count += int64(n)
	if now := time.Now(); p.on && now.Sub(p.shown) >= progressEvery {
		p.shown = now
		p.show(now, "")
	}
}

func (p *progress) show(now time.Time, end string) {
	rate := float64(p.count) / max(now.Sub(p.began).Seconds(), 0.001)
	count := fmt.Sprint(p.count)
	if p.most > 0 {
		count += fmt.Sprint(" of ", max(p.count, p.most))
	}
	_, _ = fmt.Fprintf(p.stderr, "%s%s %s, %.0f/s%s", clearLine, count, p.what, rate, end) // decoration
}

func (p *progress) clear() {
	if p.on {
		_, _ = io.WriteString(p.stderr, clearLine) // decoration
	}
}

func (p *progress) end() {
	if p.on {
		p.show(time.Now(), "\n")
	}
}
