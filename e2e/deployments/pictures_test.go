package deployments

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestPictures draws the pictures of the documentation: "holdfast top" as a terminal showed it, and the dashboard's queries as a Prometheus answered
// them, both of a sale in which the gateway is slow for a while and a worker is killed: make pictures.
func TestPictures(t *testing.T) {
	if os.Getenv("PICTURES") == "" {
		t.Skip("minutes, and new files in docs: make pictures")
	}
	r := rehearse(t, drawn)
	events := []string{"e1"}
	for _, e := range []string{"jazz-night", "opera", "derby", "comedy"} {
		r.ok("events", "create", e, "--name", e, "--currency", "EUR", "--section", "general=100000@20.00", "--max-per-order", "8")
		events = append(events, e)
	}
	r.ok("events", "create", "cellar", "--name", "cellar", "--currency", "EUR", "--section", "general=400@20.00")
	events = append(events, "cellar") // is sold out soon
	r.gateway.latency.Store(int64(40 * time.Millisecond))

	n := 0
	sale := func(until time.Duration, orders int) {
		begun, tick := time.Now(), time.NewTicker(time.Second)
		defer tick.Stop()
		for ; time.Since(begun) < until; <-tick.C {
			var lines []string
			for range orders {
				n++
				event := events[int(float64(len(events))*math.Pow(float64(n*7919%1000)/1000, 2))] // some sell better than others
				token := "tok"
				if n%25 == 0 {
					token = "decline"
				}
				lines = append(lines, fmt.Sprintf(`{"type":"purchase","event_id":%q,"order_id":"p%d","customer_id":"c%d","quantity":%d,"payment_token":%q}`, event, n, n, 1+n%3, token))
			}
			if said, exit := r.publish(lines...); exit != 0 {
				t.Fatal(said)
			}
		}
	}
	begun := time.Now()
	sale(40*time.Second, 150)
	r.ok("audit", "--gateway", r.gateway.url())
	r.gateway.latency.Store(int64(3 * time.Second))
	sale(30*time.Second, 150)
	r.gateway.latency.Store(int64(40 * time.Millisecond))
	sale(20*time.Second, 150)
	r.workers[1].Kill()
	sale(25*time.Second, 150)
	r.start(1)
	r.redisDo("XADD", "holdfast:{0}:requests", "*", "oops", "1") // a dead letter
	sale(20*time.Second, 150)

	draw(t, "top", drawScreen(screenOfTop(t, r.redis.URL(), func() { sale(time.Second, 150) })))
	draw(t, "dashboard", drawDashboard(t, r.prometheus, begun, time.Now()))
}

// draw makes a PNG of docs of an SVG.
func draw(t *testing.T, name, svg string) {
	file := filepath.Join(t.TempDir(), name+".svg")
	if err := os.WriteFile(file, []byte(svg), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("rsvg-convert", "-o", root+"/docs/"+name+".png", file).CombinedOutput(); err != nil {
		t.Fatalf("rsvg-convert: %v\n%s", err, out)
	}
}

const (
	screenColumns, screenLines = 104, 27
	charWidth, charHigh        = 8.43, 18.0 // of DejaVu Sans Mono at 14
)

// screenOfTop is what a terminal shows of holdfast top after a few looks, with what its escape sequences say.
func screenOfTop(t *testing.T, redis string, sell func()) (screen string) {
	socket := t.TempDir() + "/tmux"
	tmux := func(args ...string) string {
		out, err := exec.Command("tmux", append([]string{"-S", socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("tmux %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	tmux("new-session", "-d", "-x", strconv.Itoa(screenColumns), "-y", strconv.Itoa(screenLines), holdfastBinary+" top --redis "+redis)
	defer tmux("kill-server")
	looked := 0
	eventually(t, "top has looked a few times at a sale", func() error {
		sell()
		now := tmux("capture-pane", "-e", "-p")
		if now != screen {
			screen, looked = now, looked+1
		}
		if looked < 8 || !strings.Contains(now, "confirmed") || !strings.Contains(now, "half within") {
			return errors.New(now)
		}
		return nil
	})
	return screen
}

var escape = regexp.MustCompile("\x1b\\[([0-9;]*)m")

// drawScreen draws text as a dark terminal shows it. Of escape sequences it knows those that top writes: reversed, and none of that.
func drawScreen(screen string) string {
	const margin, paper, ink = 14.0, "#1b1f24", "#d7dce2"
	width, height := screenColumns*charWidth+2*margin, screenLines*charHigh+2*margin
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f"><rect width="100%%" height="100%%" rx="6" fill="%s"/><g font-family="DejaVu Sans Mono" font-size="14" xml:space="preserve">`, width, height, paper)
	for i, line := range strings.Split(strings.TrimRight(screen, "\n"), "\n") {
		y, column, reversed := margin+float64(i)*charHigh, 0, false
		put := func(text string) {
			n := len([]rune(text))
			x, color := margin+float64(column)*charWidth, ink
			if reversed {
				fmt.Fprintf(&svg, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`, x, y, float64(n)*charWidth, charHigh, ink)
				color = paper
			}
			if n > 0 {
				fmt.Fprintf(&svg, `<text x="%.1f" y="%.1f" textLength="%.1f" fill="%s">%s</text>`, x, y+14, float64(n)*charWidth, color, html.EscapeString(text))
			}
			column += n
		}
		at := 0
		for _, e := range escape.FindAllStringSubmatchIndex(line, -1) {
			put(line[at:e[0]])
			reversed, at = line[e[2]:e[3]] == "7", e[1]
		}
		put(line[at:])
	}
	svg.WriteString(`</g></svg>`)
	return svg.String()
}

const (
	plotWidth, plotHeight = 420.0, 210.0
	plotsInRow            = 3
	ink, faint, lightGrid = "#1f2933", "#616e7c", "#e4e7eb"
)

var (
	colors = []string{"#2f6fab", "#d9822b", "#3c9d5b", "#b0413e", "#7a5195", "#8c6d31", "#17a2a2", "#c2549b", "#555f6b", "#a3b18a", "#e0a800", "#5c7cfa"}
	braces = regexp.MustCompile(`\{\{(\w+)\}\}`)
)

// drawDashboard draws what each panel of the dashboard asks for.
func drawDashboard(t *testing.T, prometheus string, from, to time.Time) string {
	var plots []panel
	for _, p := range readDashboard(t).Panels {
		if p.Type == "timeseries" {
			plots = append(plots, p)
		}
	}
	rows := (len(plots) + plotsInRow - 1) / plotsInRow
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f"><rect width="100%%" height="100%%" fill="#ffffff"/><g font-family="DejaVu Sans" font-size="10">`, plotWidth*plotsInRow, plotHeight*float64(rows))
	for i, p := range plots {
		var all []line
		for _, target := range p.Targets {
			all = append(all, ask(t, prometheus, target.Expr, target.LegendFormat, from, to)...)
		}
		fmt.Fprintf(&svg, `<g transform="translate(%.0f %.0f)">`, plotWidth*float64(i%plotsInRow), plotHeight*float64(i/plotsInRow))
		plot(&svg, p.Title, p.FieldConfig.Defaults.Unit, all, from, to)
		svg.WriteString(`</g>`)
	}
	svg.WriteString(`</g></svg>`)
	return svg.String()
}

// line is a series of a plot.
type line struct {
	name   string
	points [][2]float64 // Unix seconds, value
}

// ask asks for a query over time. Its $__rate_interval is that of scrapes three seconds apart.
func ask(t *testing.T, prometheus, expr, legend string, from, to time.Time) (all []line) {
	expr = strings.NewReplacer("$__rate_interval", "15s", "$job", ".*").Replace(expr)
	query := url.Values{"query": {expr}, "start": {strconv.FormatInt(from.Unix(), 10)}, "end": {strconv.FormatInt(to.Unix(), 10)}, "step": {"3"}}
	status, body, err := get("http://" + prometheus + "/api/v1/query_range?" + query.Encode())
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := errors.Join(err, json.Unmarshal([]byte(body), &answer)); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d: %v: %s", expr, status, err, body)
	}
	for _, series := range answer.Data.Result {
		l := line{name: strings.TrimSpace(braces.ReplaceAllStringFunc(legend, func(s string) string { return series.Metric[s[2:len(s)-2]] }))}
		for _, sample := range series.Values {
			v, err := strconv.ParseFloat(fmt.Sprint(sample[1]), 64)
			if at, ok := sample[0].(float64); ok && err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
				l.points = append(l.points, [2]float64{at, v})
			}
		}
		all = append(all, l)
	}
	return all
}

func plot(svg *strings.Builder, title, unit string, all []line, from, to time.Time) {
	const left, right, above, below = 52.0, 8.0, 24.0, 50.0
	most := 0.0
	for _, l := range all {
		for _, p := range l.points {
			most = max(most, p[1])
		}
	}
	step := niceStep(most)
	most = step * max(1, math.Ceil(most/step))
	x := func(at float64) float64 {
		return left + (at-float64(from.Unix()))/to.Sub(from).Seconds()*(plotWidth-left-right)
	}
	y := func(v float64) float64 { return above + (1-v/most)*(plotHeight-above-below) }
	fmt.Fprintf(svg, `<text x="%.0f" y="15" font-size="12" fill="%s">%s</text>`, left, ink, html.EscapeString(title))
	for v := 0.0; v <= most*1.001; v += step {
		fmt.Fprintf(svg, `<path d="M%.1f %.1fH%.1f" stroke="%s"/><text x="%.1f" y="%.1f" text-anchor="end" fill="%s">%s</text>`, left, y(v), plotWidth-right, lightGrid, left-4, y(v)+3, faint, figure(v, unit))
	}
	for s := 0.0; s <= to.Sub(from).Seconds(); s += 30 {
		fmt.Fprintf(svg, `<text x="%.1f" y="%.1f" text-anchor="middle" fill="%s">%.0f s</text>`, x(float64(from.Unix())+s), plotHeight-below+12, faint, s)
	}
	at := left
	low := plotHeight - below + 26
	for i, l := range all {
		color := colors[i%len(colors)]
		var path strings.Builder
		before := 0.0
		for _, p := range l.points {
			step := "L"
			if p[0]-before > 6 { // nothing in between
				step = "M"
			}
			before = p[0]
			fmt.Fprintf(&path, "%s%.1f %.1f", step, x(p[0]), y(p[1]))
		}
		if len(l.points) > 0 {
			fmt.Fprintf(svg, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`, path.String(), color)
		}
		if l.name == "" {
			continue
		}
		wide := 16 + 6.1*float64(len([]rune(l.name)))
		if at+wide > plotWidth-right {
			at, low = left, low+12
		}
		if low < plotHeight {
			fmt.Fprintf(svg, `<rect x="%.1f" y="%.1f" width="8" height="8" fill="%s"/><text x="%.1f" y="%.1f" fill="%s">%s</text>`, at, low-8, color, at+11, low, ink, html.EscapeString(l.name))
		}
		at += wide
	}
}

// niceStep is about a quarter of the most, 1, 2 or 5 times a power of ten.
func niceStep(most float64) float64 {
	if most <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(most/4)))
	for _, times := range []float64{1, 2, 5} {
		if times*power >= most/4 {
			return times * power
		}
	}
	return 10 * power
}

// figure is a value for an axis.
func figure(v float64, unit string) string {
	switch unit {
	case "s":
		if v < 1 && v > 0 {
			return fmt.Sprintf("%.3g ms", v*1000)
		}
		return fmt.Sprintf("%.3g s", v)
	case "bytes":
		return fmt.Sprintf("%.3g MB", v/1e6)
	case "ops":
		return fmt.Sprintf("%.3g/s", v)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
