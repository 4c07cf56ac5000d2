package main

import (
	"strings"
	"testing"
	"time"
)

func TestReadWrk(t *testing.T) {
	const good = "Running 1s test @ http://127.0.0.1:1/page\n  1 threads and 64 connections\n" +
		"  20312 requests in 1.01s, 22.4MB read\nRequests/sec:  20110.89\n"
	tests := []struct {
		name, out, err string
	}{
		{"good", good, ""},
		{"refused", good + "Non-2xx or 3xx responses: 12\n", "Non-2xx or 3xx responses: 12"},
		{"torn", good + "Socket errors: connect 0, read 3, write 0, timeout 0\n", "read 3"},
		{"nothing", "unable to connect\n", "unable to connect"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n, took, err := readWrk([]byte(test.out))
			switch {
			case test.err == "" && (n != 20312 || took != 1010*time.Millisecond || err != nil):
				t.Errorf("readWrk = %d, %v, %v, want 20312, 1.01s, no error", n, took, err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("readWrk gave the error %v, want one with %q", err, test.err)
			}
		})
	}
}

// TestTable looks at the tables of a run of three rounds.
func TestTable(t *testing.T) {
	b := &bench{options: &options{rounds: 3, slice: 1, clients: 1000},
		servers: []*server{{way: allWays[0]}, {way: allWays[1]}},
		loads:   allLoads[1:2],
		memory:  map[string]float64{"split": 60},
	}
	for i, cpu := range []float64{20, 50, 36} {
		b.samples = append(b.samples,
			sample{round: i, way: direct, load: "page64", cpu: 20, rate: 1000},
			sample{round: i, way: "split", load: "page64", cpu: cpu, rate: 800})
	}
	var out strings.Builder
	b.print(&out)
	for _, want := range []string{
		"| page of 1 KiB, 64 connections | 20.0 | ≤ 1.8 | 1.80 |",
		"| page of 1 KiB, 64 connections | 1000 | 0.80 |",
		"| split | 60.0 |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no line %q in\n%s", want, out.String())
		}
	}
	if svg := string(b.drawing()); !strings.Contains(svg, "split 1.80") {
		t.Errorf("the chart has no bar for the split:\n%s", svg)
	}
}
