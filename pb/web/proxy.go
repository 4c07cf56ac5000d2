package web

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"perspective/pb/distrib"
)

// newProxy passes requests on to an HTTP server. The client's address and protocol are in
// X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host, and the Host header is the client's own.
// Responses are passed on as they come.
func newProxy(upstream *url.URL) http.Handler {
	transport := &http.Transport{
		DialContext:         distrib.Dial,
		MaxIdleConnsPerHost: 128,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true, // the upstream's own encoding passes through
	}
	return &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
			// The front knows how the client came; this process sees a link.
			r.Out.Header["X-Forwarded-Proto"] = r.In.Header["X-Forwarded-Proto"]
		},
	}
}
