package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// timeFlag is a time, or none.
type timeFlag struct {
	millis int64 // 0: none
}

// UnmarshalText reads the flag.
func (f *timeFlag) UnmarshalText(text []byte) error {
	if string(text) == "none" {
		f.millis = 0
		return nil
	}
	t, err := parseTime(string(text), time.Local)
	if errors.Is(err, errNoTime) {
		return fmt.Errorf("want a time such as %s, or none, but got %q", likeThese, text)
	}
	if err != nil {
		return err
	}
	f.millis = t.UnixMilli()
	return nil
}

// localLayouts are those without an offset.
var localLayouts = []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04"}

// errNoTime says that a text is no time at all.
var errNoTime = errors.New("no time")

// likeThese are times as they are taken.
const likeThese = `2026-12-01T10:00:00+01:00 or "2026-12-01 10:00" (local)`

// parseTime reads a time with its offset, or one of the clocks of a place, if they show it just once. The
// error is errNoTime if it is none.
func parseTime(text string, place *time.Location) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	for _, layout := range localLayouts {
		if shown, err := time.Parse(layout, text); err == nil {
			if err := checkPlace(place); err != nil {
				return time.Time{}, err
			}
			t, err := whenShown(shown, place)
			if err != nil {
				err = fmt.Errorf("the local time %q %w", text, err)
			}
			return t, err
		}
	}
	return time.Time{}, errNoTime
}

// checkPlace finds a local zone that is not the one that TZ names: Go takes UTC for those it does not know,
// and for rules such as CET-1CEST, without a word.
func checkPlace(place *time.Location) error {
	zone := strings.TrimPrefix(os.Getenv("TZ"), ":")
	if place != time.Local || zone == "" || zone == "UTC" || place.String() != "UTC" {
		return nil
	}
	return fmt.Errorf("the local time is not known, because TZ names no zone that is: %q; name one such as Europe/Berlin, or write the time with its offset", zone)
}

// farthest is more than any clock is ahead of UTC, or behind it.
const farthest = 24 * time.Hour

// whenShown is when the clocks of a place show what clocks in UTC show at that time.
func whenShown(shown time.Time, place *time.Location) (time.Time, error) {
	var found []time.Time
	gap := errors.New("does not exist")
	ahead := time.Duration(0) // of UTC, before the clocks were changed
	for at := shown.Add(-farthest).In(place); ; {
		from, to := at.ZoneBounds()
		_, seconds := at.Zone()
		before := ahead
		ahead = time.Duration(seconds) * time.Second
		t := shown.Add(-ahead).In(place)
		switch {
		case t.Before(from) && !shown.Add(-before).Before(from):
			gap = fmt.Errorf("does not exist: the clocks go from %s to %s; write a time with its offset",
				from.In(time.FixedZone("", int(before/time.Second))).Format(time.RFC3339), from.Format(time.RFC3339))
		case !t.Before(from) && (to.IsZero() || t.Before(to)):
			found = append(found, t)
		}
		if to.IsZero() || to.After(shown.Add(farthest)) {
			break
		}
		at = to
	}
	switch len(found) {
	case 0:
		return time.Time{}, gap
	case 1:
		return found[0], nil
	}
	return time.Time{}, fmt.Errorf("exists twice: write %s or %s", found[0].Format(time.RFC3339), found[1].Format(time.RFC3339))
}

// saleView is when an event is on sale.
type saleView struct {
	OnSaleMillis  int64  `json:"on_sale"`                    // milliseconds; 0: at once
	OffSaleMillis int64  `json:"off_sale"`                   // milliseconds; 0: never
	OnSale        string `json:"on_sale_rfc3339,omitempty"`  // the same, local, with its offset
	OffSale       string `json:"off_sale_rfc3339,omitempty"` // likewise
}

func viewSale(onSaleMillis, offSaleMillis int64) saleView {
	const layout = "2006-01-02T15:04:05.999Z07:00" // milliseconds only if there are any
	return saleView{onSaleMillis, offSaleMillis, formatTime(onSaleMillis, layout), formatTime(offSaleMillis, layout)}
}

// String says it in words.
func (v saleView) String() string {
	text := "on sale at once"
	if v.OnSale != "" {
		text = "on sale from " + v.OnSale
	}
	if v.OffSale != "" {
		text += " until " + v.OffSale
	}
	return text
}
