package domain

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Metrics have a series for each reason: one that is not listed would be "other".
func TestEveryReasonIsOfAState(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "order.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, s := range OrderStates {
		for i, reason := range s.Reasons() {
			if slices.Contains(s.Reasons()[:i], reason) {
				t.Errorf("%s is listed twice", reason)
			}
			listed = append(listed, reason)
		}
	}
	listed = append(listed, ChangeReasons...)
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		found++
		reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil || !slices.Contains(listed, reason) {
			t.Errorf("%s (%q) is no state's: %v", spec.Names[0].Name, reason, err)
		}
		return true
	})
	if found < 14 {
		t.Errorf("found %d reasons in the source: where are they?", found)
	}
}
