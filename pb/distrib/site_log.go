package distrib

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"perspective/internal/guard"
	"perspective/internal/lines"
)

// An accessWriter counts what a request's answer was, for the access log.
type accessWriter struct {
	http.ResponseWriter
	started time.Time
	status  int
	bytes   int64
}

// WriteHeader notes the status.
func (a *accessWriter) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write counts.
func (a *accessWriter) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

// Unwrap gives http.ResponseController the writer beneath.
func (a *accessWriter) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// log writes the line. It is deferred: a panic that breaks the connection off passes through, and
// status 0 is logged if nothing was answered.
func (a *accessWriter) log(s *Site, r *http.Request) {
	back := ""
	if rt, _, err := s.table.Load().find(r); err == nil && rt != nil {
		back = rt.Back
	}
	ctx := context.WithoutCancel(r.Context())
	// The handler of the log is the program's, and the answer may not have left yet.
	err := guard.Run(func() error {
		s.AccessLog.LogAttrs(ctx, slog.LevelInfo, "request",
			slog.String("client", clientOf(r, s.TrustedProxies).addr),
			slog.String("method", r.Method),
			slog.String("host", r.Host),
			slog.String("target", r.RequestURI),
			slog.String("back", back),
			slog.Int("status", a.status),
			slog.Int64("bytes", a.bytes),
			slog.Duration("took", time.Since(a.started)))
		return nil
	})
	if err != nil {
		lines.Fault(ctx, s.logger(), "Site.AccessLog", err)
	}
}
