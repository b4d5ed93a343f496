// Package bulk writes much of one partition at a time, for those who write a namespace whole: each script call is some commands, and
// changes nothing if the partition is another run's by then.
package bulk

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

//go:embed write.lua
var source string

var scriptWrite = redis.NewScript(source)

// ErrTakenOver says that another run has the partition, or the namespace.
var ErrTakenOver = domain.WithCode(domain.ClassReject, domain.CodeConflict, errors.New("another run has taken over: see how that one ends"))

// Writer collects commands about keys of one partition, and sends them together.
type Writer struct {
	ctx      context.Context // of the build that it is for
	client   redis.UniversalClient
	fence    string // the key that says whose the partition is
	standing string // what must stand there

	keys   []string
	number map[string]int
	args   []any
	bytes  int
}

// NewWriter writes as long as the key fence has this value.
func NewWriter(ctx context.Context, client redis.UniversalClient, fence, standing string) *Writer {
	return &Writer{ctx: ctx, client: client, fence: fence, standing: standing}
}

const (
	mostValues = 4000
	mostBytes  = 256 << 10
)

// Add takes a command over; its key stands behind its name, which may be of two words.
func (w *Writer) Add(key, command string, args ...string) error {
	if w.number == nil {
		w.keys, w.number, w.args, w.bytes = []string{w.fence}, make(map[string]int), []any{w.standing}, 0
	}
	if w.number[key] == 0 {
		w.keys = append(w.keys, key)
		w.number[key] = len(w.keys)
	}
	words := strings.Fields(command)
	w.args = append(w.args, len(words), len(args))
	for _, word := range words {
		w.args = append(w.args, word)
	}
	w.args = append(w.args, w.number[key])
	for _, arg := range args {
		w.args = append(w.args, arg)
		w.bytes += len(arg)
	}
	if len(w.args) < mostValues && w.bytes < mostBytes {
		return nil
	}
	return w.Flush()
}

// Flush sends what was collected.
func (w *Writer) Flush() error {
	if w.number == nil {
		return nil
	}
	is, err := scriptWrite.Run(w.ctx, w.client, w.keys, w.args...).Int()
	if err != nil {
		return fmt.Errorf("script write: %w", access.Classify(err))
	}
	if is == 0 {
		return ErrTakenOver
	}
	w.number = nil
	return nil
}

// Pairs collects names and values for one command about one key.
type Pairs struct {
	w            *Writer
	key, command string
	values       []string
}

// mostPairs of one command: Lua's stack does not bear any number.
const mostPairs = 250

// NewPairs collects them for a command such as HSET.
func NewPairs(w *Writer, key, command string) *Pairs { return &Pairs{w: w, key: key, command: command} }

// Add takes a pair over.
func (p *Pairs) Add(name, value string) error {
	if p.values = append(p.values, name, value); len(p.values) < 2*mostPairs {
		return nil
	}
	return p.Flush()
}

// Flush hands them to the writer.
func (p *Pairs) Flush() error {
	if len(p.values) == 0 {
		return nil
	}
	err := p.w.Add(p.key, p.command, p.values...)
	p.values = p.values[:0]
	return err
}

// WriteInvoices puts each order that was ever confirmed on its customer's invoices, those that posting has not come to yet as well: it will find
// them there, and what a line says is read from its order; and the lines of orders that were forgotten, which say it themselves. They are in other slots, where two runs write the same. It returns how many there are.
func WriteInvoices(ctx context.Context, ns access.Namespace, orders map[domain.OrderRef]domain.Order, final map[domain.OrderRef]domain.Line) (lines int, err error) {
	pipe := ns.Client.Pipeline()
	send := func(least int) error {
		if pipe.Len() <= least {
			return nil
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("writing invoices: %w", access.Classify(err))
		}
		return nil
	}
	for ref, o := range orders {
		if o.ConfirmedAtMillis == 0 {
			continue
		}
		lines++
		pipe.HSet(ctx, ns.Keys.Invoices(o.CustomerID), ref.String(), "")
		if err := send(access.MaxBatch); err != nil {
			return lines, err
		}
	}
	for ref, line := range final {
		lines++
		pipe.HSet(ctx, ns.Keys.Invoices(line.CustomerID), ref.String(), layout.EncodeLine(line))
		if err := send(access.MaxBatch); err != nil {
			return lines, err
		}
	}
	return lines, send(0)
}

// Script is one of the scripts of a package that uses them once, and so has them itself.
func Script(files embed.FS, name string) *redis.Script {
	source, err := files.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		panic(fmt.Sprintf("reading a script: %v", err)) // embedded: cannot happen in a binary that was built
	}
	return redis.NewScript(string(source))
}
