package web

import (
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"perspective/pb/distrib"
)

// Metrics counts the requests of a site and tells of it over HTTP: /metrics for Prometheus, and
// /healthz, which is 200, or 503 with the names of the mounts that are down, one a line. Its
// Observe is for distrib.Site.Observe. It is to be served at an address of its own, never on the
// site: it tells strangers too much.
//
// NewMetrics makes it. Its methods may be called from several goroutines; nothing needs to end.
type Metrics struct {
	stats    func() distrib.SiteStats
	handler  http.Handler
	requests *prometheus.CounterVec
	outcomes *prometheus.CounterVec
	duration *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	again    *prometheus.CounterVec
	mounts   sync.Map // of *mountMetrics, by the mount's name
}

// The labels that are not a mount's name have these values alone, so that no client makes series.
var (
	knownMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT",
		"other"}
	knownClasses = []string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}
	knownParts   = []string{"front", "queue", "handler", "write"}
)

// durations are the buckets of request_duration_seconds: of a part on the same machine, and of a
// client far away.
var durations = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1,
	2.5, 5, 10, 30, 60}

// NewMetrics returns the metrics of a site with these stats, distrib.Site.Stats, and of the lines
// that its access log has dropped; a nil function says nothing.
func NewMetrics(stats func() distrib.SiteStats, dropped func() uint64) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pb_web_" + name, Help: help},
			labels)
	}
	m := &Metrics{
		stats: stats,
		requests: counter("requests_total", "Requests served, by the class of their status.",
			"mount", "method", "status"),
		outcomes: counter("outcomes_total", "How requests ended.", "mount", "outcome"),
		bytes:    counter("bytes_total", "Bytes of bodies.", "mount", "direction"),
		again: counter("sent_again_total",
			"Times that a request was sent again because its part had gone.", "mount"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pb_web_request_duration_seconds",
			Help: "Where the time of requests went: until the front had them ready, in the " +
				"queue, until the handler's first byte, and until all was written.",
			Buckets: durations,
		}, []string{"mount", "part"}),
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.requests, m.outcomes, m.bytes, m.again, m.duration, buildInfo(),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if stats != nil {
		registry.MustRegister(statsCollector(stats))
	}
	if dropped != nil {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "pb_web_log_dropped_total",
			Help: "Lines that the access log dropped because the disk was too slow, or full.",
		}, func() float64 { return float64(dropped()) }))
	}
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4,
		DisableCompression:  true, // it stays on the machine, or costs less than the processor
	})
	return m
}

// buildInfo is the metric whose labels say what runs.
func buildInfo() prometheus.Collector {
	version, goVersion := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version, goVersion = info.Main.Version, info.GoVersion
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "pb_web_build_info",
		Help:        "1, with what the front was built of.",
		ConstLabels: prometheus.Labels{"version": version, "go": goVersion},
	})
	g.Set(1)
	return g
}

// mountMetrics are the series of one mount, found once.
type mountMetrics struct {
	requests map[string]*[6]prometheus.Counter // by method and class
	outcomes map[distrib.Outcome]prometheus.Counter
	parts    [4]prometheus.Observer
	in, out  prometheus.Counter
	again    prometheus.Counter
}

// mount returns the series of a mount. Names of mounts are the configuration's.
func (m *Metrics) mount(name string) *mountMetrics {
	if found, ok := m.mounts.Load(name); ok {
		return found.(*mountMetrics)
	}
	label := name
	if label == "" {
		label = "none"
	}
	made := &mountMetrics{
		requests: make(map[string]*[6]prometheus.Counter),
		outcomes: make(map[distrib.Outcome]prometheus.Counter),
		in:       m.bytes.WithLabelValues(label, "in"),
		out:      m.bytes.WithLabelValues(label, "out"),
		again:    m.again.WithLabelValues(label),
	}
	for _, method := range knownMethods {
		var of [6]prometheus.Counter
		for i, class := range knownClasses {
			of[i] = m.requests.WithLabelValues(label, method, class)
		}
		made.requests[method] = &of
	}
	for _, outcome := range []distrib.Outcome{distrib.Complete, distrib.ClientGone, distrib.CutOff,
		distrib.Refused, distrib.TooSlow, distrib.Busy, distrib.Away, distrib.TimedOut,
		distrib.Failed} {
		made.outcomes[outcome] = m.outcomes.WithLabelValues(label, string(outcome))
	}
	for i, part := range knownParts {
		made.parts[i] = m.duration.WithLabelValues(label, part)
	}
	found, _ := m.mounts.LoadOrStore(name, made)
	return found.(*mountMetrics)
}

// Observe counts a request.
func (m *Metrics) Observe(r *distrib.Record) {
	of := m.mount(r.Mount)
	byClass := of.requests[r.Request.Method]
	if byClass == nil {
		byClass = of.requests["other"]
	}
	class := r.Status / 100
	if class < 0 || class >= len(byClass) {
		class = 0
	}
	byClass[class].Inc()
	if c := of.outcomes[r.Outcome]; c != nil {
		c.Inc()
	}
	of.in.Add(float64(r.RequestBytes))
	of.out.Add(float64(r.ResponseBytes))
	if r.Sent > 1 {
		of.again.Add(float64(r.Sent - 1))
	}
	of.parts[0].Observe(r.Front.Seconds())
	of.parts[1].Observe(r.Queue.Seconds())
	of.parts[2].Observe(r.Handler.Seconds())
	of.parts[3].Observe(r.Write.Seconds())
}

// ServeHTTP answers /metrics and /healthz.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	switch r.URL.Path {
	case "/metrics":
		m.handler.ServeHTTP(w, r)
	case "/healthz":
		m.serveHealth(w)
	default:
		http.NotFound(w, r)
	}
}

func (m *Metrics) serveHealth(w http.ResponseWriter) {
	var down strings.Builder
	if m.stats != nil {
		for _, mount := range m.stats().Mounts {
			if !mount.Serves {
				down.WriteString(mount.Name + "\n")
			}
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if down.Len() > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, down.String()) // the client may be gone
		return
	}
	_, _ = io.WriteString(w, "ok\n") // as above
}

// A statsCollector tells what the site has at the moment.
type statsCollector func() distrib.SiteStats

var (
	connsDesc = prometheus.NewDesc("pb_web_connections",
		"Connections of clients that are open.", nil, nil)
	refusedDesc = prometheus.NewDesc("pb_web_connections_refused_total",
		"Connections that were closed at once because there were too many.", nil, nil)
	upDesc = prometheus.NewDesc("pb_web_mount_up",
		"1 if a part serves the mount.", []string{"mount"}, nil)
	inFlightDesc = prometheus.NewDesc("pb_web_requests_in_flight",
		"Requests under way, those that wait included.", []string{"mount"}, nil)
	waitingDesc = prometheus.NewDesc("pb_web_requests_waiting",
		"Requests that wait for their part, or for room.", []string{"mount"}, nil)
	linksDesc = prometheus.NewDesc("pb_web_links_total",
		"Links made: one for each start of a part, and each link that broke.",
		[]string{"mount"}, nil)
)

// Describe is for the registry.
func (statsCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connsDesc, refusedDesc, upDesc, inFlightDesc, waitingDesc,
		linksDesc} {
		to <- d
	}
}

// Collect is for the registry.
func (c statsCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	stats := c()
	gauge(connsDesc, float64(stats.Conns))
	counter(refusedDesc, float64(stats.ConnsRefused))
	for _, mount := range stats.Mounts {
		up := 0.0
		if mount.Serves {
			up = 1
		}
		gauge(upDesc, up, mount.Name)
		gauge(inFlightDesc, float64(mount.Requests), mount.Name)
		gauge(waitingDesc, float64(mount.Waiting), mount.Name)
		counter(linksDesc, float64(mount.Links), mount.Name)
	}
}
