package workers_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/domain"
)

// appendOnly is the append-only directory of a Redis that was killed: its small
// files, and the one that has every command since the server's start.
type appendOnly struct {
	others   map[string][]byte // by name
	name     string
	data     []byte
	commands []command
}

// command is one of the file.
type command struct {
	args []string
	end  int // the offset behind it
	// counts is how much of the file must be there for it to be loaded: up to its own
	// end, or up to that of the transaction it is in.
	counts int
}

const appendOnlyDir = "appendonlydir" // Redis's default

func readAppendOnly(t testing.TB, dir string) *appendOnly {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dir, appendOnlyDir))
	if err != nil {
		t.Fatal(err)
	}
	a := &appendOnly{others: make(map[string][]byte)}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, appendOnlyDir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f.Name(), ".incr.aof") {
			if a.name != "" {
				t.Fatalf("%s and %s: the file was rewritten", a.name, f.Name())
			}
			a.name, a.data = f.Name(), data
			continue
		}
		a.others[f.Name()] = data
	}
	if a.commands, err = parseCommands(a.data); err != nil {
		t.Fatalf("%s: %v", a.name, err)
	}
	return a
}

// cut writes the directory with only the first n bytes of what was appended.
func (a *appendOnly) cut(t testing.TB, n int) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "holdfast-cut-")
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, appendOnlyDir), 0o755)
	}
	write := func(name string, data []byte) {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, appendOnlyDir, name), data, 0o644)
		}
	}
	for name, data := range a.others {
		write(name, data)
	}
	write(a.name, a.data[:n])
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// parseCommands reads RESP arrays of bulk strings.
func parseCommands(data []byte) ([]command, error) {
	var commands []command
	transaction := -1 // where the one began that is not executed yet
	at := 0
	number := func(kind byte) (int, error) {
		length := bytes.Index(data[at:], []byte("\r\n"))
		if length < 1 || data[at] != kind {
			return 0, fmt.Errorf("offset %d: want %q and a number", at, kind)
		}
		n, err := strconv.Atoi(string(data[at+1 : at+length]))
		at += length + 2
		return n, err
	}
	for at < len(data) {
		n, err := number('*')
		if err != nil {
			return nil, err
		}
		c := command{args: make([]string, n)}
		for i := range c.args {
			length, err := number('$')
			if err != nil {
				return nil, err
			}
			if at+length+2 > len(data) {
				return nil, errors.New("the file ends in the middle of a command")
			}
			c.args[i] = string(data[at : at+length])
			at += length + 2
		}
		c.end, c.counts = at, at
		commands = append(commands, c)
		switch strings.ToUpper(c.args[0]) {
		case "MULTI":
			transaction = len(commands) - 1
		case "EXEC":
			for i := transaction; i < len(commands); i++ {
				commands[i].counts = at
			}
			transaction = -1
		}
	}
	if transaction >= 0 {
		return nil, errors.New("the file ends in the middle of a transaction")
	}
	return commands, nil
}

// boundaries are the offsets before, between and behind the commands.
func (a *appendOnly) boundaries() []int {
	ends := []int{0}
	for _, c := range a.commands {
		ends = append(ends, c.end)
	}
	return ends
}

// inTransaction reports whether the first n bytes end in the middle of one.
func (a *appendOnly) inTransaction(n int) bool {
	return slices.ContainsFunc(a.commands, func(c command) bool { return c.end <= n && c.counts > n })
}

// has reports whether such a command is there: its name, and how its key ends.
func (a *appendOnly) has(name, keySuffix string) bool {
	return slices.ContainsFunc(a.commands, func(c command) bool {
		return strings.EqualFold(c.args[0], name) && len(c.args) > 1 && strings.HasSuffix(c.args[1], keySuffix)
	})
}

// streamOf is the stream that has a group.
func (a *appendOnly) streamOf(group domain.Group) string {
	for _, c := range a.commands {
		if strings.EqualFold(c.args[0], "XGROUP") && strings.EqualFold(c.args[1], "CREATE") && c.args[3] == string(group) {
			return c.args[2]
		}
	}
	return ""
}

// appended is an entry of a stream, and how much of the file must be there for it to be loaded.
type appended struct {
	domain.Entry
	counts int
}

// stream is all that was ever added to one, in order.
func (a *appendOnly) stream(key string) []appended {
	var entries []appended
	for _, c := range a.commands {
		if strings.EqualFold(c.args[0], "XADD") && c.args[1] == key {
			entries = append(entries, appended{domain.Entry{ID: c.args[2], Fields: c.args[3:]}, c.counts})
		}
	}
	return entries
}
