package main

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// at finds a figure of a round.
func (b *bench) at(round int, way, load string) (sample, bool) {
	for _, s := range b.samples {
		if s.round == round && s.way == way && s.load == load {
			return s, true
		}
	}
	return sample{}, false
}

// median is of what get gives for each round that has it. It is false if none has.
func (b *bench) median(get func(round int) (float64, bool)) (float64, bool) {
	var values []float64
	for i := range b.rounds {
		if v, ok := get(i); ok {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2, true
}

// ratio is the median over the rounds of one way's figure against another's.
func (b *bench) ratio(figure func(sample) float64, way, base, load string) (float64, bool) {
	return b.median(func(round int) (float64, bool) {
		x, ok := b.at(round, way, load)
		y, also := b.at(round, base, load)
		return figure(x) / figure(y), ok && also
	})
}

func cpuOf(s sample) float64  { return s.cpu }
func rateOf(s sample) float64 { return s.rate }

// names are the ways that were measured, in the order of the table.
func (b *bench) names() []string {
	var names []string
	for _, w := range allWays {
		if slices.ContainsFunc(b.servers, func(s *server) bool { return s.way == w }) {
			names = append(names, w.name)
		}
	}
	return names
}

// print writes the tables.
func (b *bench) print(w io.Writer) {
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
	p("%s, %d cores, load average %s before; %d rounds of %d s, medians of the ratios within a "+
		"round.\n\n", runtime.Version(), runtime.NumCPU(), b.before, b.rounds, b.slice)
	p("CPU of a request, front and back together, against net/http alone:\n\n")
	b.heading(p, "| load | direct, µs | goal |")
	for _, l := range b.loads {
		own, _ := b.median(func(i int) (float64, bool) {
			s, ok := b.at(i, direct, l.name)
			return s.cpu, ok
		})
		p("| %s | %.1f | ≤ %.1f |", l.doc, own, l.goal)
		b.cells(p, cpuOf, l.name)
	}
	p("\nRequests a second, against net/http alone:\n\n")
	b.heading(p, "| load | direct |")
	for _, l := range b.loads {
		own, _ := b.median(func(i int) (float64, bool) {
			s, ok := b.at(i, direct, l.name)
			return s.rate, ok
		})
		p("| %s | %.0f |", l.doc, own)
		b.cells(p, rateOf, l.name)
	}
	if b.memory == nil {
		return
	}
	p("\nMemory of one of %d clients that wait for events, all processes together:\n\n", b.clients)
	p("| way | KiB |\n|---|--:|\n")
	for _, name := range b.names() {
		if v, ok := b.memory[name]; ok {
			p("| %s | %.1f |\n", name, v)
		}
	}
}

func (b *bench) heading(p func(string, ...any), first string) {
	p("%s", first)
	line := "|---"
	for range bytes.Count([]byte(first), []byte("|")) - 2 {
		line += "|--:"
	}
	for _, name := range b.names() {
		if name != direct {
			p(" %s |", name)
			line += "|--:"
		}
	}
	p("\n%s|\n", line)
}

func (b *bench) cells(p func(string, ...any), figure func(sample) float64, load string) {
	for _, name := range b.names() {
		if name == direct {
			continue
		}
		if v, ok := b.ratio(figure, name, direct, load); ok {
			p(" %.2f |", v)
		} else {
			p(" – |")
		}
	}
	p("\n")
}

// drawing is a chart of the first table: a group of bars for each load.
func (b *bench) drawing() []byte {
	const (
		left, bar, gap, wide, most = 260, 14, 10, 560, 6.0
	)
	colors := map[string]string{"split": "#1b6ca8", other: "#a3c4dc", "reverseproxy": "#c77d2e", "nginx": "#5a9367",
		"twisted": "#999999"}
	var out bytes.Buffer
	y := 30
	for _, l := range b.loads {
		begin := y
		for _, name := range b.names() {
			v, ok := b.ratio(cpuOf, name, direct, l.name)
			if name == direct || !ok {
				continue
			}
			fmt.Fprintf(&out, `<rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/>`+"\n",
				left, y, min(v, most)*wide/most, bar-2, colors[name])
			fmt.Fprintf(&out, `<text x="%.0f" y="%d">%s %.2f</text>`+"\n",
				left+4+min(v, most)*wide/most, y+bar-4, name, v)
			y += bar
		}
		fmt.Fprintf(&out, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-8,
			(begin+y)/2+4, l.doc)
		fmt.Fprintf(&out, `<line x1="%.0f" x2="%.0f" y1="%d" y2="%d" stroke="#b00"/>`+"\n",
			left+l.goal*wide/most, left+l.goal*wide/most, begin-2, y)
		y += gap
	}
	var svg bytes.Buffer
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" `+
		`font-family="sans-serif" font-size="11">`+"\n", left+wide+120, y+4)
	fmt.Fprintf(&svg, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n"+
		`<text x="8" y="16" font-size="13">CPU of a request against net/http alone (1), `+
		`%s; red: the goal</text>`+"\n", time.Now().UTC().Format("2 January 2006"))
	svg.Write(out.Bytes())
	svg.WriteString("</svg>\n")
	return svg.Bytes()
}
