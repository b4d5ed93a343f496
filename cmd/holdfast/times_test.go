package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	for _, c := range []struct {
		place, text string
		want        string // RFC 3339, or what the error says
	}{
		{"Europe/Berlin", "2026-12-01 10:00", "2026-12-01T10:00:00+01:00"},
		{"Europe/Berlin", "2026-07-01T10:00:30", "2026-07-01T10:00:30+02:00"},
		{"Europe/Berlin", "2026-12-01T10:00:00Z", "2026-12-01T10:00:00Z"},
		{"Europe/Berlin", "2027-03-28 01:59:59", "2027-03-28T01:59:59+01:00"},
		{"Europe/Berlin", "2027-03-28 02:00", "does not exist: the clocks go from 2027-03-28T02:00:00+01:00 to 2027-03-28T03:00:00+02:00"},
		{"Europe/Berlin", "2027-03-28 02:59:59", `the local time "2027-03-28 02:59:59" does not exist`},
		{"Europe/Berlin", "2027-03-28 03:00", "2027-03-28T03:00:00+02:00"},
		{"Europe/Berlin", "2027-03-28T02:30:00+01:00", "2027-03-28T02:30:00+01:00"}, // with an offset, anything will do
		{"Europe/Berlin", "2026-10-25 01:59:59", "2026-10-25T01:59:59+02:00"},
		{"Europe/Berlin", "2026-10-25 02:00", "exists twice: write 2026-10-25T02:00:00+02:00 or 2026-10-25T02:00:00+01:00"},
		{"Europe/Berlin", "2026-10-25 02:59:59", `the local time "2026-10-25 02:59:59" exists twice`},
		{"Europe/Berlin", "2026-10-25 03:00", "2026-10-25T03:00:00+01:00"},
		{"Europe/Berlin", "2026-10-25T02:30:00+01:00", "2026-10-25T02:30:00+01:00"},
		{"America/New_York", "2027-03-14 02:30", "does not exist: the clocks go from 2027-03-14T02:00:00-05:00 to 2027-03-14T03:00:00-04:00"},
		{"America/New_York", "2026-11-01 01:30", "exists twice: write 2026-11-01T01:30:00-04:00 or 2026-11-01T01:30:00-05:00"},
		{"Australia/Lord_Howe", "2026-10-04 02:15", "does not exist: the clocks go from 2026-10-04T02:00:00+10:30 to 2026-10-04T02:30:00+11:00"}, // half an hour
		{"Australia/Lord_Howe", "2027-04-04 01:45", "exists twice: write 2027-04-04T01:45:00+11:00 or 2027-04-04T01:45:00+10:30"},
		{"Pacific/Apia", "2011-12-30 12:00", "does not exist: the clocks go from 2011-12-30T00:00:00-10:00 to 2011-12-31T00:00:00+14:00"}, // a whole day
		{"Asia/Tokyo", "2026-10-25 02:30", "2026-10-25T02:30:00+09:00"},
		{"UTC", "2027-03-28 02:30", "2027-03-28T02:30:00Z"},
		{"UTC", "2027-02-29 02:30", "no time"},
		{"UTC", "tomorrow", "no time"},
		{"UTC", "", "no time"},
	} {
		place, err := time.LoadLocation(c.place)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseTime(c.text, place)
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q in %s: %v, want %s", c.text, c.place, err, c.want)
			}
			continue
		}
		if text := got.Format(time.RFC3339); text != c.want {
			t.Errorf("%q in %s: %s, want %s", c.text, c.place, text, c.want)
		}
	}
}

// Each quarter of an hour of a year is read as when the clocks of a place show it, or refused
// because they show it twice or not at all.
func TestParseTimeAgreesWithTheClocks(t *testing.T) {
	const layout = "2006-01-02 15:04"
	for _, name := range []string{"Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "America/St_Johns", "Asia/Kathmandu"} {
		place, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		shown := make(map[string][]time.Time)
		for at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2027; at = at.Add(15 * time.Minute) {
			text := at.In(place).Format(layout)
			shown[text] = append(shown[text], at)
		}
		for wall := time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC); wall.Before(time.Date(2026, 12, 29, 0, 0, 0, 0, time.UTC)); wall = wall.Add(15 * time.Minute) {
			text := wall.Format(layout)
			got, err := parseTime(text, place)
			switch want := shown[text]; len(want) {
			case 0:
				if err == nil || !strings.Contains(err.Error(), "does not exist: the clocks go from") {
					t.Errorf("%s in %s: %v, %v, want that it does not exist", text, name, got, err)
				}
			case 1:
				if err != nil || !got.Equal(want[0]) {
					t.Errorf("%s in %s: %v, %v, want %v", text, name, got, err, want[0])
				}
			default:
				if err == nil || !strings.Contains(err.Error(), "exists twice: write "+want[0].In(place).Format(time.RFC3339)+" or "+want[1].In(place).Format(time.RFC3339)) {
					t.Errorf("%s in %s: %v, %v, want that it exists twice", text, name, got, err)
				}
			}
		}
	}
}

// The program itself, where the clocks of Berlin count.
func TestEventsInBerlin(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("init")
	inBerlin := func(args ...string) (string, error) {
		cmd := thisProgram(append(args, "--redis", h.server.URL())...)
		cmd.Env = append(cmd.Env, "TZ=Europe/Berlin")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	create := func(onSale string, more ...string) (string, error) {
		return inBerlin(append([]string{"events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=5@1", "--on-sale", onSale}, more...)...)
	}
	for onSale, want := range map[string]string{
		"2027-03-28 02:30": `--on-sale: the local time "2027-03-28 02:30" does not exist`,
		"2026-10-25 02:30": "exists twice: write 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00",
	} {
		if out, err := create(onSale); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v: %s, want %q", onSale, err, out, want)
		}
	}
	out, err := create("2026-12-01 10:00", "--off-sale", "2027-07-01T10:00:00.250Z")
	if want := "event e1 created; on sale from 2026-12-01T10:00:00+01:00 until 2027-07-01T12:00:00.25+02:00\n"; err != nil || out != want {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
	out, err = inBerlin("events", "adjust", "e1", "--off-sale", "none", "-o", "json")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	adjusted := decodeLines(t, out)[0]
	on := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC).UnixMilli()
	if want := (object{"event_id": "e1", "changed": true, "on_sale": on, "off_sale": 0, "on_sale_rfc3339": "2026-12-01T10:00:00+01:00"}); !sameJSON(adjusted, want) {
		t.Errorf("adjusted: %v, want %v", adjusted, want)
	}
	out, err = inBerlin("events", "adjust", "e1", "--on-sale", "none")
	if want := "event e1 adjusted; on sale at once\n"; err != nil || out != want {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
}

// Go would take UTC for a zone that it does not know, without a word.
func TestUnknownZone(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("init")
	in := func(zone string, args ...string) (string, int) {
		cmd := thisProgram(append(args, "--redis", h.server.URL())...)
		cmd.Env = append(cmd.Env, "TZ="+zone)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	create := func(onSale string) []string {
		return []string{"events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=5@1", "--on-sale", onSale}
	}
	for _, zone := range []string{"Nowhere/Foo", ":Nowhere/Foo", "CET-1CEST", "/nowhere"} {
		for _, args := range [][]string{create("2026-12-25T02:30:00"), {"orders", "list", "--since", "2026-12-25 02:30"}, {"events", "adjust", "e1", "--off-sale", "2026-12-25 02:30"}} {
			if out, code := in(zone, args...); code != exitUsage || !strings.Contains(out, "TZ names no zone") || !strings.Contains(out, strings.TrimPrefix(zone, ":")) {
				t.Errorf("TZ=%s holdfast %v: exit %d: %s", zone, args, code, out)
			}
		}
	}
	// With an offset, no zone is needed; and these are known.
	if out, code := in("Nowhere/Foo", create("2026-12-25T02:30:00Z")...); code != exitDone {
		t.Errorf("exit %d: %s", code, out)
	}
	for _, zone := range []string{"", "UTC", ":UTC", "Etc/UTC", "Europe/London"} {
		if out, code := in(zone, create("2026-12-25T02:30:00")...); code != exitDone {
			t.Errorf("TZ=%s: exit %d: %s", zone, code, out)
		}
	}
}

func TestSaleHasBothEnds(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=5@1", "--on-sale", "2999-01-01T00:00:00Z", "--off-sale", "2999-02-01T00:00:00Z")
	want := "from " + when(time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()) + " until " + when(time.Date(2999, 2, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	for _, args := range [][]string{{"events", "show", "e1"}, {"events", "list"}} {
		if out := h.ok(args...); !strings.Contains(out, want) {
			t.Errorf("%v does not say %q:\n%s", args, want, out)
		}
	}
}

// The container image has nothing but the program, which must know the time zones by itself.
func TestTimeZonesAreBuiltIn(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(out)), "time/tzdata") {
		t.Error("time/tzdata is not in the program")
	}
}
