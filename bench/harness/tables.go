package harness

import (
	"fmt"
	"strings"
)

// column is a figure in a table of contestants.
type column struct {
	title, figure, format string
	scale                 float64
	base                  string // the ratio in brackets is to it; empty: there is none
}

const kib = 1. / (1 << 10)

// list writes a line for each contestant that has one of the figures.
func (r *Report) list(p *printer, l *listing, where, network string, who []string) {
	head := []string{"contestant"}
	for _, c := range l.columns {
		head = append(head, c.title)
	}
	rows := [][]string{head}
	for _, name := range who {
		row, some := []string{name}, false
		for _, c := range l.columns {
			at := point{network, name, c.figure}
			v, ok := samples(r.Rounds).median(at)
			if !ok {
				row = append(row, none)
				continue
			}
			some = true
			cell := fmt.Sprintf(c.format, v*c.scale)
			if x, ok := samples(r.Rounds).ratio(at, point{network, c.base, c.figure}); ok {
				cell += fmt.Sprintf(" (%.2f)", x)
			}
			row = append(row, cell)
		}
		if some {
			rows = append(rows, row)
		}
	}
	p.table(l.title+where, l.explanation, rows)
}

// writeComparison writes how ours stand against the others.
func (r *Report) writeComparison(p *printer) {
	figures := []struct{ title, figure string }{
		{"p50, 1 caller", "one"},
		{"p99, 1 caller", "one.p99"},
		{"calls/s, 8", "at8"},
		{"calls/s, 64", "at64"},
		{"calls/s, 512", "at512"},
		{"CPU a call, 64", "at64.cpu"},
	}
	head := []string{"ratio"}
	for _, f := range figures {
		head = append(head, f.title)
	}
	rows := [][]string{head}
	for _, network := range r.Plan.Networks {
		for _, who := range r.Plan.Contestants {
			if !strings.HasPrefix(who, ours) {
				continue
			}
			for _, base := range []string{"netrpc", "grpc", "raw", "rawpipe"} {
				row, some := []string{fmt.Sprintf("%s / %s, %s", who, base, network)}, false
				for _, f := range figures {
					cell := none
					if v, ok := samples(r.Rounds).ratio(point{network, who, f.figure},
						point{network, base, f.figure}); ok {
						cell, some = fmt.Sprintf("%.2f", v), true
					}
					row = append(row, cell)
				}
				if some {
					rows = append(rows, row)
				}
			}
		}
	}
	p.table("Against the others",
		"Medians of the ratios within a round. Of times and CPU less is better, of calls/s more. "+
			"raw opens a connection for each caller.", rows)
}

// A listing is a table of contestants on one network.
type listing struct {
	title, explanation string
	columns            []column
}

var callTable = listing{"Calls over ", "64 bytes each way; times in µs, thousands of calls a " +
	"second; in brackets the ratio to net/rpc.", []column{
	{"p50", "one", "%.1f", 1, "netrpc"},
	{"p99", "one.p99", "%.0f", 1, "netrpc"},
	{"k/s, 8", "at8", "%.1f", 1e-3, "netrpc"},
	{"k/s, 64", "at64", "%.1f", 1e-3, "netrpc"},
	{"k/s, 512", "at512", "%.1f", 1e-3, "netrpc"},
}}

// firstTables are about the first network alone.
var firstTables = []listing{
	{"More work over ", "MB/s one way; chain: 8 dependent calls over 10 ms round trips, in ms; " +
		"slow: 64 callers on handlers of 2 ms, thousands of calls a second; p99 in µs.", []column{
		{"64 KiB by 8", "64K", "%.0f", 1, "netrpc"},
		{"1 MiB by 4", "1M", "%.0f", 1, "netrpc"},
		{"chain", "chain", "%.1f", 1, ""},
		{"slow", "slow", "%.1f", 1e-3, "netrpc"},
		{"p99 beside 20 ms handlers", "besideslow.p99", "%.0f", 1, ""},
		{"p99 beside 1 MiB transfers", "besidebulk.p99", "%.0f", 1, ""},
	}},
	{"What a call costs, 64 callers, ", "CPU in µs; in brackets the ratio to net/rpc.", []column{
		{"CPU", "at64.cpu", "%.2f", 1, "netrpc"},
		{"of the client", "at64.cpucli", "%.2f", 1, ""},
		{"of the server", "at64.cpusrv", "%.2f", 1, ""},
		{"in the kernel", "at64.kernel", "%.2f", 1, ""},
		{"reads", "at64.reads", "%.2f", 1, ""},
		{"writes", "at64.writes", "%.2f", 1, ""},
		{"switches", "at64.switches", "%.2f", 1, ""},
		{"allocations", "at64.allocs", "%.1f", 1, ""},
		{"client B", "at64.bytescli", "%.0f", 1, ""},
		{"server B", "at64.bytessrv", "%.0f", 1, ""},
	}},
	{"What a call costs, one caller, ", "CPU in µs; in brackets the ratio to raw.", []column{
		{"CPU", "one.cpu", "%.1f", 1, "raw"},
		{"in the kernel", "one.kernel", "%.1f", 1, "raw"},
		{"reads", "one.reads", "%.2f", 1, ""},
		{"writes", "one.writes", "%.2f", 1, ""},
		{"switches", "one.switches", "%.2f", 1, ""},
		{"allocations", "one.allocs", "%.1f", 1, ""},
	}},
	{"Bytes of a call, ", "64 bytes of payload, 16 of name and a number each way.", []column{
		{"there, 1 caller", "up1", "%.0f", 1, ""},
		{"back", "down1", "%.0f", 1, ""},
		{"there, 64 callers", "up64", "%.0f", 1, ""},
		{"back", "down64", "%.0f", 1, ""},
	}},
	{"An idle connection, ", "After a collection; memory in KiB.", []column{
		{"server RSS", "idle.rsssrv", "%.1f", kib, ""},
		{"heap", "idle.heapsrv", "%.1f", kib, ""},
		{"stack", "idle.stacksrv", "%.1f", kib, ""},
		{"goroutines", "idle.goroutinessrv", "%.1f", 1, ""},
		{"client RSS", "idle.rsscli", "%.1f", kib, ""},
		{"heap", "idle.heapcli", "%.1f", kib, ""},
		{"stack", "idle.stackcli", "%.1f", kib, ""},
		{"goroutines", "idle.goroutinescli", "%.1f", 1, ""},
	}},
}

var pageTable = listing{"A page of 1 KiB",
	"64 connections that stay open; what front and back end use for a page, " +
		"CPU in µs; in brackets the ratio to direct.", []column{
		{"CPU", "page.cpu", "%.1f", 1, direct},
		{"in the kernel", "page.kernel", "%.1f", 1, direct},
		{"k pages/s", "page", "%.1f", 1e-3, direct},
		{"reads", "page.reads", "%.2f", 1, ""},
		{"writes", "page.writes", "%.2f", 1, ""},
		{"allocations", "page.allocs", "%.0f", 1, ""},
	}}

// writeTables writes what each contestant did.
func (r *Report) writeTables(p *printer) {
	for _, n := range r.Plan.Networks {
		r.list(p, &callTable, n, n, r.Plan.Contestants)
	}
	first := r.Plan.Networks[0]
	for i := range firstTables {
		r.list(p, &firstTables[i], first, first, r.Plan.Contestants)
	}
	r.list(p, &pageTable, "", pageNet, r.Plan.Pages)
}
