package harness

import (
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
)

// A panel of the chart has a bar for each contestant.
type panel struct {
	title, figure, format string
	scale                 float64
	more                  bool // is better
}

var panels = []panel{
	{"Calls a second, 64 callers (thousands; more is better)", "at64", "%.0f", 1e-3, true},
	{"Median time of a call, one caller (µs; less is better)", "one", "%.0f", 1, false},
	{"CPU of a call, client and server, 64 callers (µs; less is better)", "at64.cpu",
		"%.1f", 1, false},
	{"Server memory of an idle connection (KiB; less is better)", "idle.rsssrv",
		"%.0f", kib, false},
}

// The chart's measures, in pixels.
const (
	chartWidth = 760
	nameWidth  = 170
	valueWidth = 70
	barHeight  = 16
	barStep    = 22
	panelHead  = 40
)

// The style follows the reader's choice of light or dark.
const chartHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d"` +
	` width="%[1]d" height="%[2]d" role="img" aria-label="%[3]s">
<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.name { text-anchor: end }
.bar { fill: #9aa4af }
.ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
	text { fill: #d1d7e0 }
	.bar { fill: #656c76 }
	.ours { fill: #4493f8 }
}
</style>
`

// WriteChart writes the calls over the first network as an SVG.
func (r *Report) WriteChart(w io.Writer) error {
	var body strings.Builder
	y := 0
	for i := range panels {
		y = r.drawPanel(&body, &panels[i], y)
	}
	_, err := fmt.Fprintf(w, chartHead+"%s</svg>\n", chartWidth, y+10,
		"Benchmark: Perspective and other RPC systems", body.String())
	return err
}

// drawPanel draws below y and returns where the panel ends. A panel without
// figures is left out.
func (r *Report) drawPanel(b *strings.Builder, p *panel, y int) int {
	type bar struct {
		name  string
		value float64
	}
	var bars []bar
	greatest := 0.
	for _, name := range r.Plan.Contestants {
		v, ok := samples(r.Rounds).median(point{r.Plan.Networks[0], name, p.figure})
		if !ok || math.IsNaN(v) {
			continue
		}
		bars = append(bars, bar{name, v * p.scale})
		greatest = max(greatest, v*p.scale)
	}
	if len(bars) == 0 || greatest <= 0 {
		return y
	}
	slices.SortStableFunc(bars, func(x, y bar) int {
		better := x.value < y.value
		if p.more {
			better = x.value > y.value
		}
		switch {
		case x.value == y.value:
			return 0
		case better:
			return -1
		}
		return 1
	})
	fmt.Fprintf(b, "<text class=\"title\" x=\"10\" y=\"%d\">%s</text>\n", y+26,
		html.EscapeString(p.title))
	y += panelHead
	for _, x := range bars {
		class := "bar"
		if strings.HasPrefix(x.name, ours) {
			class = "bar ours"
		}
		length := max(x.value, 0) / greatest * (chartWidth - nameWidth - valueWidth)
		middle := y + barHeight - 4
		fmt.Fprintf(b, "<text class=\"name\" x=\"%d\" y=\"%d\">%s</text>", nameWidth-8, middle,
			html.EscapeString(x.name))
		fmt.Fprintf(b,
			"<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>", class,
			nameWidth, y, length, barHeight)
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\">"+p.format+"</text>\n", nameWidth+length+6,
			middle, x.value)
		y += barStep
	}
	return y
}
