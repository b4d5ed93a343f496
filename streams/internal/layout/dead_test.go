package layout_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
)

func TestParseNetstrings(t *testing.T) {
	for s, want := range map[string][]string{
		"": nil, "0:,": {""}, "1:a,": {"a"}, "1:a,0:,2:,:,": {"a", "", ",:"}, "3:\x00\xff|,": {"\x00\xff|"}, "12:123456789012,": {"123456789012"},
	} {
		if got, err := layout.ParseNetstrings(s); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v, want %q", s, got, err, want)
		}
	}
	for _, s := range []string{
		"a", ":", ":,", "1", "1:", "1:a", "1:ab,", "2:a,", "-1:,", "1:a,x", "1:a;", "9223372036854775807:a,", "99999999999999999999:a,", "1:a,,", "1 :a,",
	} {
		got, err := layout.ParseNetstrings(s)
		if err == nil || domain.ClassOf(err) != domain.ClassPoison || got != nil {
			t.Errorf("%q: got %q, %v, want poison", s, got, err)
		}
	}
	// What is in a dead letter may be a payment token.
	if _, err := layout.ParseNetstrings("13:payment_token,13:tok-visa-4242,x"); err == nil || strings.Contains(err.Error(), "4242") {
		t.Errorf("the error repeats what it read: %v", err)
	}
}

func FuzzParseNetstrings(f *testing.F) {
	for _, s := range []string{"", "0:,", "1:a,1:b,", "13:payment_token,13:tok-visa-4242,", "5:a,b:c,", "1:a", "-1:,", "+1:a,", "99999999999999999999:,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := layout.ParseNetstrings(s)
		if err != nil && (domain.ClassOf(err) != domain.ClassPoison || list != nil) {
			t.Errorf("got %q and class %s", list, domain.ClassOf(err))
		}
		if err == nil {
			if again, err := layout.ParseNetstrings(streamstest.Netstrings(list)); err != nil || !slices.Equal(again, list) {
				t.Errorf("%q comes back as %q, %v", list, again, err)
			}
		}
		// Whatever the strings, a list of them comes back.
		list = strings.Split(s, ":")
		if again, err := layout.ParseNetstrings(streamstest.Netstrings(list)); err != nil || !slices.Equal(again, list) {
			t.Errorf("%q comes back as %q, %v", list, again, err)
		}
	})
}

// FuzzDecodeNotes: what is read of notes is what they say, and nothing in between.
func FuzzDecodeNotes(f *testing.F) {
	for _, value := range []string{
		"", "0:1-1 2-2 pay r", "0:1-1 2-2 - ", "0:1-1 2-2 hold a b  c\n3:4-4 5-5 cancel ü", "0:1-1 2-2 pay", "\n", "   ", "0:1-1 2-2 purchase r\n",
		"displaced 3\n0:1-1 2-2 pay r", "displaced 1", "displaced 0", "displaced 01", "displaced -1", "displaced 1\n", "displaced x",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		notes, displaced, err := layout.DecodeNotes(value)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassPoison || notes != nil || displaced != 0 {
				t.Errorf("%v, %v", notes, err)
			}
			return
		}
		var lines []string
		if displaced > 0 {
			lines = append(lines, fmt.Sprint("displaced ", displaced))
		}
		for _, n := range notes {
			kind := string(n.Type)
			if kind == "" {
				kind = "-"
			}
			lines = append(lines, n.DeadID+" "+n.EntryID+" "+kind+" "+n.Reason)
		}
		if again := strings.Join(lines, "\n"); again != value {
			t.Errorf("%q comes back as %q", value, again)
		}
	})
}
