package layout

import (
	"errors"
	"strconv"
	"strings"

	"holdfast/domain"
)

// ErrReply is an error that Redis replied, in a reply that was read raw.
type ErrReply string

// Error is the text.
func (e ErrReply) Error() string { return string(e) }

// RedisError marks it as one of Redis, as the client's are.
func (ErrReply) RedisError() {}

// errForm says that a reply is none that is understood.
var errForm = errors.New("a reply of an unknown form")

// ParseRead reads the raw reply to an XREADGROUP of one stream, of RESP 2. There are a dozen strings in an entry, and
// all of them are parts of one here: a client's own reading makes two allocations of each. No entries come with no error.
func ParseRead(raw []byte) ([]domain.Entry, error) {
	r := respReader{rest: string(raw)}
	head := r.line()
	switch {
	case head == "":
		return nil, errForm
	case head[0] == '-':
		return nil, ErrReply(head[1:])
	case head == "*-1":
		return nil, nil
	case head != "*1" || r.count('*') != 2:
		return nil, errForm
	}
	r.text() // the stream
	n := r.count('*')
	if n < 0 || n > len(r.rest)/4 {
		return nil, errForm
	}
	entries := make([]domain.Entry, n)
	fields := make([]string, 0, 16*n)
	for i := range entries {
		if r.count('*') != 2 {
			return nil, errForm
		}
		entries[i].ID = r.text()
		values := r.count('*')
		if values < 0 || r.bad {
			continue // the payload is gone
		}
		if values > len(r.rest)/4 {
			return nil, errForm
		}
		from := len(fields)
		for range values {
			fields = append(fields, r.text())
		}
		entries[i].Fields = fields[from:len(fields):len(fields)]
	}
	if r.bad || r.rest != "" {
		return nil, errForm
	}
	return entries, nil
}

// respReader reads what it is asked for; bad, if it is something else.
type respReader struct {
	rest string
	bad  bool
}

func (r *respReader) line() string {
	line, rest, found := strings.Cut(r.rest, "\r\n")
	if !found {
		r.bad = true
		return ""
	}
	r.rest = rest
	return line
}

// count is the size of a list, or the length of a text; -1 if there is none.
func (r *respReader) count(of byte) int {
	line := r.line()
	if line == "" || line[0] != of {
		r.bad = true
		return -1
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < -1 {
		r.bad = true
		return -1
	}
	return n
}

func (r *respReader) text() string {
	n := r.count('$')
	if n < 0 || n > len(r.rest)-2 || r.rest[n:n+2] != "\r\n" {
		r.bad = true
		return ""
	}
	text := r.rest[:n]
	r.rest = r.rest[n+2:]
	return text
}
