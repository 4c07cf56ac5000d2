package distrib

import (
	"net/http"
	"time"
)

// defaultWriteStall is that of nginx's send_timeout.
const defaultWriteStall = time.Minute

// A writeStall bounds how long each write of a response may wait for the client.
type writeStall struct {
	to    *http.ResponseController
	after time.Duration // zero: it does nothing
	http2 bool          // a deadline that passes ends the stream though nothing is written
}

func (ex *exchange) stall(to *http.ResponseController) writeStall {
	after := ex.site.WriteStall
	if after == 0 {
		after = defaultWriteStall
	}
	server, _ := ex.r.Context().Value(http.ServerContextKey).(*http.Server)
	if after < 0 || server == nil || server.WriteTimeout > 0 {
		return writeStall{}
	}
	return writeStall{to: to, after: after, http2: ex.r.ProtoMajor > 1}
}

// begin and end stand around a write.
func (s writeStall) begin() {
	if s.after > 0 {
		// A writer without deadlines waits as before.
		_ = s.to.SetWriteDeadline(time.Now().Add(s.after))
	}
}

func (s writeStall) end() {
	if s.http2 {
		s.clear()
	}
}

// clear leaves nothing to the next response on the connection.
func (s writeStall) clear() {
	if s.after > 0 {
		_ = s.to.SetWriteDeadline(time.Time{})
	}
}
