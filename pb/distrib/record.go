package distrib

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// A Record tells how one request of a Site's went, for a log or for metrics. It is the caller's
// once more when Site.Observe returns, which copies what it keeps.
type Record struct {
	// Request is as the client sent it. It must not be changed, and its body not be read.
	Request *http.Request
	// ID is the request's name in all logs: the front's own, in X-Request-Id of the request that
	// the handler sees and of the answer.
	ID string
	// Trace is what the handler gets as Traceparent.
	Trace string
	// Client is the address of the client, host:port, as the front knows it.
	Client string
	// User is who was logged in; empty: nobody.
	User string
	// Mount is the name of the back end, or the prefix of a handler of the front's own; empty: no
	// route led anywhere.
	Mount string
	// Instance is which process of the mount was asked last; empty: none.
	Instance string
	// Began is when the front got the request's head.
	Began time.Time
	// Status is that of the answer; 0: nothing was answered.
	Status int
	// RequestBytes are those of the request's body that were read, ResponseBytes those of the
	// answer's that were written, without heads and framing.
	RequestBytes, ResponseBytes int64
	// Front is the time from Began until the request was ready for its handler, Queue until it was
	// sent there (for the last time, where it was sent more than once), Handler until the answer's
	// head had come, and Write until all was written. One that ended on the way has zero from
	// there on.
	Front, Queue, Handler, Write time.Duration
	// Sent is how often the request was sent to a back end.
	Sent int
	// Outcome says how it ended.
	Outcome Outcome
	// Err is why, where Outcome is not Complete and there is more to say.
	Err error
}

// An Outcome says how a request of a Site's ended. There are only these.
type Outcome string

const (
	// Complete: the handler's answer was passed on whole.
	Complete Outcome = "complete"
	// ClientGone: the client went before its answer was whole.
	ClientGone Outcome = "client gone"
	// CutOff: the answer had begun, or a handler wanted it so, and the client's connection was
	// broken off.
	CutOff Outcome = "cut off"
	// Refused: the front did not let the request through, and said so by a status below 500, or by
	// 501.
	Refused Outcome = "refused"
	// TooSlow: the request's body came too slowly (408).
	TooSlow Outcome = "too slow"
	// Busy: there was no room for the request (503).
	Busy Outcome = "busy"
	// Away: no back end was there (503).
	Away Outcome = "away"
	// TimedOut: the handler took too long (504).
	TimedOut Outcome = "timed out"
	// Failed: the back end went with the request, or gave an answer that is none (502).
	Failed Outcome = "failed"
)

// TLSNames returns the names of the client's TLS version and cipher suite, empty without TLS.
func (r *Record) TLSNames() (version, cipher string) {
	if t := r.Request.TLS; t != nil {
		if cipher = cipherNames()[t.CipherSuite]; cipher == "" {
			cipher = tls.CipherSuiteName(t.CipherSuite)
		}
		return tls.VersionName(t.Version), cipher
	}
	return "", ""
}

// cipherNames has what crypto/tls makes a list for at each question.
var cipherNames = sync.OnceValue(func() map[uint16]string {
	names := make(map[uint16]string)
	for _, list := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, suite := range list {
			names[suite.ID] = suite.Name
		}
	}
	return names
})

// LogValue is the record as a group of attributes, for programs that log to a [slog.Logger].
func (r *Record) LogValue() slog.Value {
	version, cipher := r.TLSNames()
	attrs := []slog.Attr{
		slog.String("request_id", r.ID),
		slog.String("client", r.Client),
		slog.String("method", r.Request.Method),
		slog.String("host", r.Request.Host),
		slog.String("target", r.Request.RequestURI),
		slog.String("proto", r.Request.Proto),
		slog.String("tls", version),
		slog.String("cipher", cipher),
		slog.String("user", r.User),
		slog.String("mount", r.Mount),
		slog.String("instance", r.Instance),
		slog.Int("status", r.Status),
		slog.Int64("request_bytes", r.RequestBytes),
		slog.Int64("response_bytes", r.ResponseBytes),
		slog.Duration("front", r.Front),
		slog.Duration("queue", r.Queue),
		slog.Duration("handler", r.Handler),
		slog.Duration("write", r.Write),
		slog.String("outcome", string(r.Outcome)),
	}
	if r.Err != nil {
		attrs = append(attrs, slog.Any("err", r.Err))
	}
	return slog.GroupValue(attrs...)
}

// LogTo returns a function for Site.Observe that logs each request to l as a line "request".
func LogTo(l *slog.Logger) func(*Record) {
	return func(r *Record) {
		ctx := context.WithoutCancel(r.Request.Context())
		l.LogAttrs(ctx, slog.LevelInfo, "request", slog.Attr{Value: r.LogValue()})
	}
}
