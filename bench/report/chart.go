package main

import (
	"fmt"
	"math"
	"strings"
)

// The chart: two horizontal bars a system, as long as its orders a second, in a picture that reads
// on light and dark pages, because it brings its own background.
const (
	chartWidth  = 760
	labelWidth  = 210
	figureWidth = 70 // right of the longest bar
	barHeight   = 15
	groupHeight = 46
	topHeight   = 74
	bottom      = 18

	ink    = "#1f2933"
	faint  = "#616e7c"
	grid   = "#e4e7eb"
	paper  = "#ffffff"
	many   = "#2f6fab"
	hot    = "#d9822b"
	styles = `font-family="system-ui, sans-serif"`
)

// drawDrains draws orders a second of every system that was measured.
func drawDrains(f figures) string {
	var shown []system
	longest := 0.0
	for _, s := range systems {
		manyEvents, ok := f.of(s.drain(100), "orders/s")
		hotEvent, hotOK := f.of(s.drain(1), "orders/s")
		if ok || hotOK {
			shown = append(shown, s)
			longest = max(longest, manyEvents, hotEvent)
		}
	}
	step := niceStep(longest)
	end := step * math.Max(1, math.Ceil(longest/step))
	height := topHeight + groupHeight*len(shown) + bottom
	x := func(rate float64) float64 {
		return labelWidth + rate/end*(chartWidth-labelWidth-figureWidth)
	}

	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="Orders a second">`+"\n",
		chartWidth, height, chartWidth, height)
	fmt.Fprintf(&svg, `<rect width="%d" height="%d" fill="%s"/>`+"\n", chartWidth, height, paper)
	text(&svg, 16, 26, 16, ink, "start", "Orders a second, from preloaded requests to posted")
	legend(&svg, 16, many, "100 events")
	legend(&svg, 116, hot, "one hot event")
	for rate := 0.0; rate <= end; rate += step {
		fmt.Fprintf(&svg, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="%s"/>`+"\n", x(rate), x(rate), topHeight-4, height-bottom+4, grid)
		text(&svg, x(rate), topHeight-10, 11, faint, "middle", number0(rate))
	}
	for i, s := range shown {
		y := float64(topHeight + groupHeight*i)
		text(&svg, labelWidth-12, y+groupHeight/2+1, 13, ink, "end", s.title)
		for j, bar := range []struct {
			events int
			color  string
		}{{100, many}, {1, hot}} {
			rate, ok := f.of(s.drain(bar.events), "orders/s")
			if !ok {
				continue
			}
			top := y + 6 + float64(j)*(barHeight+2)
			fmt.Fprintf(&svg, `<rect x="%d" y="%.1f" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n", labelWidth, top, x(rate)-labelWidth, barHeight, bar.color)
			text(&svg, x(rate)+6, top+barHeight-3.5, 11, ink, "start", number0(rate))
		}
	}
	svg.WriteString("</svg>\n")
	return svg.String()
}

func legend(svg *strings.Builder, x float64, color, what string) {
	fmt.Fprintf(svg, `<rect x="%.1f" y="36" width="11" height="11" rx="2" fill="%s"/>`+"\n", x, color)
	text(svg, x+17, 46, 12, faint, "start", what)
}

// text writes a line; what it says is ours and needs no escaping.
func text(svg *strings.Builder, x, y float64, size int, color, anchor, what string) {
	fmt.Fprintf(svg, `<text x="%.1f" y="%.1f" font-size="%d" fill="%s" text-anchor="%s" %s>%s</text>`+"\n", x, y, size, color, anchor, styles, what)
}

// niceStep divides up to a figure into at most six steps of a round size.
func niceStep(upTo float64) float64 {
	size := math.Pow(10, math.Floor(math.Log10(math.Max(upTo, 1))))
	for _, part := range []float64{0.1, 0.2, 0.5, 1, 2} {
		if upTo/(part*size) <= 6 {
			return part * size
		}
	}
	return 5 * size
}

// number0 is a whole number.
func number0(f float64) string {
	if f < 100 {
		return fmt.Sprintf("%.0f", f)
	}
	return number(f)
}
