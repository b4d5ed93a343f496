package layout

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"holdfast/domain"
)

func TestBranches(t *testing.T) {
	list := []Branch{
		{ID: "c", Parent: "b", Knew: "x", Common: "7-1", End: "8-0", AtMillis: 9, By: "w|1"},
		{ID: "b", Parent: "a", Knew: "a", AtMillis: 5},
		{ID: "a", AtMillis: 1},
	}
	var lines []string
	for _, b := range list {
		lines = append(lines, b.String())
	}
	is, err := DecodeBranches(strings.Join(lines, "\n"))
	if err != nil || !reflect.DeepEqual(is, list) {
		t.Errorf("%+v, %v, want %+v", is, err, list)
	}
	if is, err := DecodeBranches(""); err != nil || len(is) > 0 {
		t.Errorf("none: %+v, %v", is, err)
	}
	for _, line := range []string{"a", "a|||||1", "|||||1|w", "a|||||now|w", "a|||||1|\n\n"} {
		if is, err := DecodeBranches(line); domain.ClassOf(err) != domain.ClassPoison {
			t.Errorf("%q: %+v, %v", line, is, err)
		}
	}
	if a, b := NewBranchID(), NewBranchID(); a == b || len(a) != 12 || !domain.ValidID(a) {
		t.Errorf("names %q and %q", a, b)
	}
}

func TestCheckBranches(t *testing.T) {
	b := func(id, parent string) Branch { return Branch{ID: id, Parent: parent} }
	var full []Branch
	for i := range MostBranches {
		full = append(full, b(fmt.Sprint(i), fmt.Sprint(i+1)))
	}
	for name, test := range map[string]struct {
		id   string
		list []Branch
		want string // "" nothing is wrong
	}{
		"one":                {"a", []Branch{b("a", "")}, ""},
		"three":              {"c", []Branch{b("c", "b"), b("b", "a"), b("a", "")}, ""},
		"no more are listed": {"0", full, ""},
		"none":               {"", nil, "no branch"},
		"not listed":         {"a", nil, "not the newest"},
		"an older one":       {"a", []Branch{b("b", "a"), b("a", "")}, "not the newest"},
		"a gap":              {"c", []Branch{b("c", "b"), b("a", "")}, "has the parent \"b\", the one before it is a"},
		"its end is lost":    {"c", []Branch{b("c", "b"), b("b", "a")}, "the parent a, which is not listed"},
		"twice":              {"a", []Branch{b("a", "a"), b("a", "")}, "listed twice"},
	} {
		err := CheckBranches(test.id, test.list)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
