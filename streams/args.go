package streams

import (
	"strconv"

	"holdfast/domain"
)

// argList is what a script is given. A string in an interface is an allocation, a pointer to one is none, and
// what is put together for it comes out of one buffer: a batch has thousands of arguments.
type argList struct {
	list  []any
	texts []string
	buf   []byte // what was built, one behind the other
	built []builtArg
}

type builtArg struct{ at, from, to int } // in list, and in buf

func newArgList(size int) *argList {
	return &argList{list: make([]any, 0, size), texts: make([]string, 0, size), built: make([]builtArg, 0, size)}
}

func (a *argList) text(texts ...string) {
	for _, s := range texts {
		a.texts = append(a.texts, s)
		a.list = append(a.list, &a.texts[len(a.texts)-1])
	}
}

func (a *argList) number(numbers ...int64) {
	for _, n := range numbers {
		from := len(a.buf)
		a.buf = strconv.AppendInt(a.buf, n, 10)
		a.end(from)
	}
}

// pair is event_id/id.
func (a *argList) pair(eventID, id string) {
	from := len(a.buf)
	a.buf = append(append(append(a.buf, eventID...), '/'), id...)
	a.end(from)
}

func (a *argList) ref(ref domain.OrderRef) { a.pair(ref.EventID, ref.OrderID) }

// end makes an argument of what was appended to buf since it was that long.
func (a *argList) end(from int) {
	a.built = append(a.built, builtArg{len(a.list), from, len(a.buf)})
	a.list = append(a.list, nil)
}

// done is the list. Nothing may be added any more.
func (a *argList) done() []any {
	all := string(a.buf)
	for _, b := range a.built {
		a.texts = append(a.texts, all[b.from:b.to])
		a.list[b.at] = &a.texts[len(a.texts)-1]
	}
	return a.list
}
