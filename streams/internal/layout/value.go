package layout

import (
	"fmt"
	"strconv"

	"holdfast/domain"
)

// numbers parses several and remembers whether one would not.
type numbers struct{ err error }

func (n *numbers) parse(s string) int64 {
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < 0 {
		n.err = fmt.Errorf("not a count: %q", s)
	}
	return v
}

// optional is 0 where nothing is said.
func (n *numbers) optional(s string) int64 {
	if s == "" {
		return 0
	}
	return n.parse(s)
}

// damaged is the error for a value that no script of ours wrote.
func damaged(what, value string) error {
	const most = 200
	if len(value) > most {
		value = value[:most] + "…"
	}
	return domain.WithClass(domain.ClassPoison, fmt.Errorf("%s is damaged: %q", what, value))
}

// AsString is a value of a reply, empty if it is no string.
func AsString(v any) string {
	s, _ := v.(string)
	return s
}

// AsInt is a value of a reply, 0 if it is no number.
func AsInt(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		if err == nil {
			return n
		}
	}
	return 0
}
