package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"perspective/pb/distrib"
	"perspective/pb/web"
)

func asked(t *testing.T, h http.Handler, method, path string) (status int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, w.Body.String()
}

// Each request is counted under its mount, its method and the class of its status, and no client
// makes a series.
func TestMetrics(t *testing.T) {
	stats := distrib.SiteStats{Conns: 3, ConnsRefused: 4, Mounts: []distrib.MountStats{
		{Name: "app", Serves: true, Requests: 5, Waiting: 1, Links: 2},
		{Name: "board"},
	}}
	m := web.NewMetrics(func() distrib.SiteStats { return stats }, func() uint64 { return 17 })
	m.Observe(aRecord())
	lost := aRecord()
	lost.Mount, lost.Status, lost.Outcome = "", 999, "nothing that there is"
	for i := range 100 {
		lost.Request.Method = fmt.Sprintf("METHOD%d", i)
		m.Observe(lost)
	}
	status, page := asked(t, m, http.MethodGet, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, page)
	}
	for _, want := range []string{
		`pb_web_requests_total{method="GET",mount="app",status="2xx"} 1`,
		`pb_web_requests_total{method="other",mount="none",status="none"} 100`,
		`pb_web_outcomes_total{mount="app",outcome="complete"} 1`,
		`pb_web_bytes_total{direction="in",mount="app"} 5`,
		`pb_web_bytes_total{direction="out",mount="app"} 1234`,
		`pb_web_sent_again_total{mount="app"} 1`,
		`pb_web_request_duration_seconds_bucket{mount="app",part="handler",le="0.01"} 0`,
		`pb_web_request_duration_seconds_bucket{mount="app",part="handler",le="0.025"} 1`,
		`pb_web_request_duration_seconds_sum{mount="app",part="write"} 1`,
		`pb_web_requests_in_flight{mount="app"} 5`,
		`pb_web_requests_waiting{mount="app"} 1`,
		`pb_web_links_total{mount="app"} 2`,
		`pb_web_mount_up{mount="app"} 1`,
		`pb_web_mount_up{mount="board"} 0`,
		`pb_web_connections 3`,
		`pb_web_connections_refused_total 4`,
		`pb_web_log_dropped_total 17`,
		`pb_web_build_info{`,
		`go_goroutines `,
	} {
		if !strings.Contains(page, "\n"+want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if strings.Contains(page, "METHOD") {
		t.Error("a client's method has a series")
	}
	// The documents name every metric of the site's own.
	text, err := os.ReadFile("../../docs/web.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(page) {
		name, ok := strings.CutPrefix(line, "# TYPE pb_web_")
		name, _, _ = strings.Cut(name, " ")
		if ok && !strings.Contains(string(text), "`pb_web_"+name) {
			t.Errorf("docs/web.md does not name pb_web_%s", name)
		}
	}
}

// /healthz names the mounts that are down.
func TestHealth(t *testing.T) {
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app"})
	site.Handle("/board/", distrib.Route{Back: "board"})
	defer func() { _ = site.Close() }()
	m := web.NewMetrics(site.Stats, nil)
	for _, test := range []struct {
		method, path string
		status       int
		body         string
	}{
		{http.MethodGet, "/healthz", http.StatusServiceUnavailable, "app\nboard\n"},
		{http.MethodPost, "/healthz", http.StatusMethodNotAllowed, "method not allowed\n"},
		{http.MethodGet, "/", http.StatusNotFound, "404 page not found\n"},
	} {
		if status, body := asked(t, m, test.method, test.path); status != test.status ||
			body != test.body {
			t.Errorf("%s %s = %d %q", test.method, test.path, status, body)
		}
	}
	up := web.NewMetrics(func() distrib.SiteStats {
		return distrib.SiteStats{Mounts: []distrib.MountStats{{Name: "app", Serves: true}}}
	}, nil)
	if status, body := asked(t, up, http.MethodGet, "/healthz"); status != http.StatusOK ||
		body != "ok\n" {
		t.Errorf("all up: %d %q", status, body)
	}
}

func BenchmarkMetrics(b *testing.B) {
	m := web.NewMetrics(nil, nil)
	r := aRecord()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Observe(r)
		}
	})
}
