package harness

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRatioIsWithinTheRound(t *testing.T) {
	// The ratios are 2, 0.4 and 2; that of the medians is 0.8.
	s := samples{{}, {}, {}}
	for i, v := range [][2]float64{{10, 5}, {40, 100}, {100, 50}} {
		s[i].set("tcp", "a", "x", v[0])
		s[i].set("tcp", "b", "x", v[1])
	}
	got, ok := s.ratio(point{"tcp", "a", "x"}, point{"tcp", "b", "x"})
	if !ok || got != 2 {
		t.Errorf("ratio = %v, %v, want 2", got, ok)
	}
	s = append(s, Round{}) // a round in which one failed counts for nothing
	s[3].set("tcp", "a", "x", 1000)
	if got, _ := s.ratio(point{"tcp", "a", "x"}, point{"tcp", "b", "x"}); got != 2 {
		t.Errorf("ratio with half a round = %v, want 2", got)
	}
	if _, ok := s.ratio(point{"tcp", "a", "x"}, point{"tcp", "c", "x"}); ok {
		t.Error("there is a ratio to nothing")
	}
}

// The better of two is known only where both took part.
func TestRatioToBestNeedsAll(t *testing.T) {
	s := samples{{}, {}}
	x := func(who string) point { return point{"tcp", who, "x"} }
	for _, r := range s {
		r.set("tcp", "a", "x", 30)
		r.set("tcp", "b", "x", 10)
	}
	if got, ok := s.ratioToBest(x("a"), x("b"), x("c")); ok {
		t.Errorf("the ratio to the better of one = %v", got)
	}
	s[1].set("tcp", "c", "x", 20)
	if got, ok := s.ratioToBest(x("a"), x("b"), x("c")); !ok || got != 1.5 {
		t.Errorf("ratio = %v, %v, want 1.5", got, ok)
	}
}

// A table with a gap says what the gap means.
func TestTableTellsOfGaps(t *testing.T) {
	for cell, want := range map[string]bool{none: true, "1": false} {
		var b bytes.Buffer
		p := &printer{w: &b}
		p.table("T", "", [][]string{{"goal", "measured"}, {"g", cell}})
		if got := strings.Contains(b.String(), "\n\n–: not measured"); got != want {
			t.Errorf("with %q it tells: %v\n%s", cell, got, b.String())
		}
	}
}

// Profiles makes its folder.
func TestProfilesMakesFolder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "not", "there")
	if err := Profiles(io.Discard, []string{}, folder, Load{}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		t.Errorf("the folder: %v, %v", info, err)
	}
}

func TestMedian(t *testing.T) {
	tests := []struct {
		values []float64
		want   float64
		ok     bool
	}{
		{nil, 0, false},
		{[]float64{3}, 3, true},
		{[]float64{9, 1, 2}, 2, true},
		{[]float64{4, 1, 2, 9}, 3, true},
	}
	for _, test := range tests {
		if got, ok := median(test.values); got != test.want || ok != test.ok {
			t.Errorf("median(%v) = %v, %v, want %v, %v", test.values, got, ok, test.want, test.ok)
		}
	}
}

// madeUp is a report in which reflection reaches the goal against gRPC and not
// that against net/rpc.
func madeUp() *Report {
	r := &Report{When: time.Unix(0, 0).UTC(), Plan: Plan{
		Contestants: []string{byReflection, "grpc", "netrpc"},
		Networks:    []string{"tcp"},
		Idle:        7,
	},
		Rounds: []Round{{}}, Notes: map[string]string{"grpc tcp idle": "left out"}}
	for who, v := range map[string]float64{
		byReflection: 300_000,
		"grpc":       30_000,
		"netrpc":     100_000,
	} {
		r.Rounds[0].set("tcp", who, "at64", v)
	}
	return r
}

func TestMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := madeUp().WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"64 callers against net/rpc", "64 callers against gRPC",
		"idle connections: 7", "grpc tcp idle: left out", "300.0 (3.00)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("there is no %q in\n%s", want, b.String())
		}
	}
	for line := range strings.Lines(b.String()) {
		if cells := strings.Count(line, "|"); strings.HasPrefix(line, "| calls/s of 64") &&
			cells == 5 {
			reached := strings.Contains(line, "yes")
			if want := strings.Contains(line, "gRPC"); reached != want {
				t.Errorf("reached = %v in %q", reached, line)
			}
		}
	}
}

func TestReportsAreMerged(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"a", "b"} {
		var b bytes.Buffer
		if err := madeUp().WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(b.Bytes()) {
			t.Fatal("not JSON")
		}
		files = append(files, filepath.Join(dir, name))
		if err := os.WriteFile(files[len(files)-1], b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := ReadReports(files...)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rounds) != 2 {
		t.Errorf("%d rounds, want 2", len(r.Rounds))
	}
	if _, err := ReadReports(); err == nil {
		t.Error("no file gives a report")
	}
}

func TestChart(t *testing.T) {
	var b bytes.Buffer
	if err := madeUp().WriteChart(&b); err != nil {
		t.Fatal(err)
	}
	rects := 0
	d := xml.NewDecoder(&b)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			rects++
		}
	}
	if rects != 3 {
		t.Errorf("%d bars, want one for each contestant: 3", rects)
	}
}

func TestParseNetwork(t *testing.T) {
	want := Network{Label: "unix-pinned", Kind: "unix", Pinned: true}
	if got, err := ParseNetwork("unix-pinned"); err != nil || got != want {
		t.Errorf("ParseNetwork = %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "udp", "pinned", "-pinned"} {
		if _, err := ParseNetwork(bad); err == nil {
			t.Errorf("ParseNetwork(%q) gives no error", bad)
		}
	}
}

func TestPlanIsChecked(t *testing.T) {
	for name, plan := range map[string]Plan{
		"contestant": {Contestants: []string{"nobody"}},
		"workload":   {Contestants: []string{}, Workloads: []string{"rest"}},
		"network":    {Networks: []string{"udp"}},
	} {
		if _, err := Run(plan); err == nil {
			t.Errorf("a %s that does not exist gives no error", name)
		}
	}
}

func TestProxyDelaysAndCounts(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	go func() { // ends with the connection
		if c, err := ln.Accept(); err == nil {
			_, _ = io.Copy(c, c)
		}
	}()
	const delay = 10 * time.Millisecond
	p, err := newProxy(DialerTo(ln.Addr()), "127.0.0.1:0", delay)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Fatalf("read %q, %v", b, err)
	}
	if took := time.Since(begin); took < 2*delay {
		t.Errorf("there and back in %v, want at least %v", took, 2*delay)
	}
	if p.up.Load() != 5 || p.down.Load() != 5 {
		t.Errorf("counted %d there, %d back, want 5 and 5", p.up.Load(), p.down.Load())
	}
}

func TestPageIsOneKiB(t *testing.T) {
	if len(page) != 1<<10 {
		t.Errorf("%d bytes", len(page))
	}
}

func TestFiguresArePerCall(t *testing.T) {
	w := workload{"tput", "at64", Load{Callers: 64}, onCores}
	fs := w.figures(&reply{Calls: 100, Seconds: 2, Stats: &Stats{CPU: 300, Allocs: 500}},
		&Stats{CPU: 200, Allocs: 100})
	for figure, want := range map[string]float64{
		"at64":        50,
		"at64.cpu":    5,
		"at64.allocs": 6,
		"at64.cpusrv": 2,
	} {
		if got := fs[figure]; math.Abs(got-want) > 1e-9 {
			t.Errorf("%s = %v, want %v of %v", figure, got, want, maps.Collect(maps.All(fs)))
		}
	}
}
