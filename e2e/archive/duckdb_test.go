package archive

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/archive"
	"holdfast/streams/redistest"
)

// duckdb installs DuckDB for Node, if it can be had.
func duckdb(t *testing.T) {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("!!! THERE IS NO %s: WHAT THE DOCS ASK OF AN ARCHIVE IS NOT TESTED", program)
		}
	}
	if _, err := os.Stat("duckdb/node_modules/@duckdb/node-api"); err == nil {
		return
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
	install.Dir = "duckdb"
	if said, err := install.CombinedOutput(); err != nil {
		t.Skipf("!!! DUCKDB CANNOT BE HAD HERE: WHAT THE DOCS ASK OF AN ARCHIVE IS NOT TESTED: %v\n%s", err, said)
	}
}

func query(t *testing.T, sql string) []map[string]any {
	t.Helper()
	run := exec.CommandContext(t.Context(), "node", "duckdb/query.mjs")
	run.Env = append(os.Environ(), "TZ=UTC")
	run.Stdin = strings.NewReader(sql)
	said, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v\n%s", sql, err, said)
	}
	var rows []map[string]any
	if err := json.Unmarshal(said, &rows); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return rows
}

// The queries of the docs, as they stand there, with DuckDB.
func TestQueriesOfTheDocs(t *testing.T) {
	duckdb(t)
	folder := t.TempDir()
	bucket, err := archive.Open(t.Context(), "file://"+folder)
	if err != nil {
		t.Fatal(err)
	}
	shop := newShop(t, redistest.Start(t), "holdfast")
	at := func(id string, fields ...string) {
		t.Helper()
		if err := shop.rdb.Do(t.Context(), append([]any{"XADD", "holdfast:{0}:2:log", id}, asAny(fields)...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	const hour = "17957376" // 2026-11-27 00:00:00 UTC, and seconds and milliseconds behind it
	at(hour+"00000-0", "held", "e1/o1|p|b083c26c75bd146e|amy|stalls:2:4500|EUR|120000\ne1/o2|p|b083c26c75bd146e|bob|boxes:1:9000,stalls:1:4500|EUR|120000")
	at(hour+"01000-0", "confirmed", "e1/o1|amy|stalls:2:4500|EUR|auth_1\ne1/o2|bob|boxes:1:9000,stalls:1:4500|EUR|auth_2")
	shop.archive(bucket, "w")
	at("1795741201000-0", "cancelled", "e1/o1|requested|confirmed|amy|stalls:2:4500|EUR|1795737601000")
	at("1795741202000-0", "confirmed", "e2/o1|amy|general:1:1000|CHF|auth_3")
	shop.archive(bucket, "w")
	// What was compacted lately is there twice.
	small, err := filepath.Glob(filepath.Join(folder, "namespace=holdfast", "partition=0", "branch=*", "*.parquet"))
	if err != nil || len(small) != 2 {
		t.Fatalf("%v, %v", small, err)
	}
	if err := os.Link(small[1], strings.TrimSuffix(small[1], ".parquet")+"_x.parquet"); err != nil {
		t.Fatal(err)
	}

	docs, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(docs), -1)
	want := []string{
		`[{"currency":"EUR","event_id":"e1","hour":"2026-11-27 00:00:00+00","revenue":"22500","tickets":"4"},` +
			`{"currency":"EUR","event_id":"e1","hour":"2026-11-27 01:00:00+00","revenue":"-9000","tickets":"-2"},` +
			`{"currency":"CHF","event_id":"e2","hour":"2026-11-27 01:00:00+00","revenue":"1000","tickets":"1"}]`,
		`[{"event_id":"e1","places":"1","section":"boxes"},{"event_id":"e1","places":"3","section":"stalls"},{"event_id":"e2","places":"1","section":"general"}]`,
	}
	if len(found) != len(want) {
		t.Fatalf("the docs have %d queries", len(found))
	}
	for i, q := range found {
		got, err := json.Marshal(query(t, strings.ReplaceAll(q[1], "/var/lib/holdfast/archive", folder)))
		if err != nil || string(got) != want[i] {
			t.Errorf("%s\ngives %s\nwant %s, %v", q[1], got, want[i], err)
		}
	}
}

func asAny(values []string) []any {
	all := make([]any, len(values))
	for i, v := range values {
		all[i] = v
	}
	return all
}
