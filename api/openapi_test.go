package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write openapi.json anew")

// documentOf is the API's own idea of itself.
func documentOf(t *testing.T, s *Server) []byte {
	t.Helper()
	text, err := json.Marshal(s.huma.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	return indented.Bytes()
}

// What is committed is what the code says. To renew it: go test ./api -run TestDocument -update
func TestDocument(t *testing.T) {
	got := documentOf(t, New(Deps{}, Options{}))
	if *update {
		if err := os.WriteFile("openapi.json", got, 0o644); err != nil { //nolint:gosec // it is for everybody
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(got, Document) {
		t.Error("openapi.json is not what the code says: go test ./api -run TestDocument -update, and look at what has changed")
	}
}
