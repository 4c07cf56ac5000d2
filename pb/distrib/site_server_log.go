package distrib

import (
	"context"
	"log/slog"
	"slices"
	"strings"
)

// A serverLog is where an http.Server's own lines go: to the Site's logger, each at the level of
// what it tells. A client that breaks the rules of TLS or HTTP/2 is worth Debug, for it hurts only
// itself.
type serverLog struct{ site *Site }

// Enabled says yes: the level is known with the text.
func (serverLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle passes a line of the server's on. Lines of different messages do not crowd each other out,
// see package lines.
func (h serverLog) Handle(ctx context.Context, r slog.Record) error {
	logger := h.site.logger()
	text, stack, _ := strings.Cut(r.Message, "\n")
	err := slog.String("err", text)
	switch {
	case begins(text, "http: panic serving ", "http2: panic serving "):
		// It was a handler in the front itself.
		logger.LogAttrs(ctx, slog.LevelError, "handler panicked", err, slog.String("stack", stack))
	case begins(text, "http: TLS handshake error ", "http2: ", "timeout waiting for "):
		logger.LogAttrs(ctx, slog.LevelDebug, "client broke off", err)
	default:
		logger.LogAttrs(ctx, slog.LevelWarn, "http server", err)
	}
	return nil
}

// WithAttrs and WithGroup have nothing to add: a log.Logger gives neither.
func (h serverLog) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup is as WithAttrs.
func (h serverLog) WithGroup(string) slog.Handler { return h }

// begins says whether the text begins with one of the prefixes.
func begins(text string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(text, p) })
}
