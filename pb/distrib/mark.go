package distrib

import (
	"encoding/binary"
	"encoding/hex"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
)

// A mark is what a request is known by: in the front's log and the back end's, and in traces (W3C
// Trace Context).
type mark struct {
	id     string // the front's own, in X-Request-Id
	parent string // traceparent: the client's, or one that the front made, whose trace is id
	state  string // tracestate of the client's parent; empty: none
}

// The form of a traceparent: version, trace, parent, flags.
const (
	parentLen    = len("00-") + 2*traceBytes + len("-") + 2*spanBytes + len("-01")
	traceBytes   = 16
	spanBytes    = 8
	maxParent    = 128 // of a version to come, which may be longer
	maxState     = 512
	maxStateKeys = 32
)

// newMark makes the mark of a request. Its id tells nothing, and it is no secret.
func newMark(h http.Header) mark {
	var b [parentLen]byte
	var random [traceBytes + spanBytes]byte
	//nolint:gosec // names must differ; nothing follows from knowing one
	for i := 0; i < len(random); i += 8 {
		binary.LittleEndian.PutUint64(random[i:], rand.Uint64())
	}
	copy(b[:], "00-")
	const trace = len("00-")
	hex.Encode(b[trace:], random[:traceBytes])
	if parents := h["Traceparent"]; len(parents) == 1 && isTraceparent(parents[0]) {
		id := string(b[trace : trace+2*traceBytes])
		return mark{id: id, parent: parents[0], state: traceState(h["Tracestate"])}
	}
	b[trace+2*traceBytes] = '-'
	hex.Encode(b[trace+2*traceBytes+1:], random[traceBytes:])
	// Sampled: this front has told of the request, in its own log. With 00 most libraries would
	// leave the request out of their traces.
	copy(b[parentLen-len("-01"):], "-01")
	parent := string(b[:])
	return mark{id: parent[trace : trace+2*traceBytes], parent: parent}
}

// isTraceparent says whether s is well-formed, of this version or one to come.
func isTraceparent(s string) bool {
	if len(s) < parentLen || len(s) > maxParent || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, trace, parent, flags := s[:2], s[3:35], s[36:52], s[53:55]
	switch {
	case !isHex(version), !isHex(trace), !isHex(parent), !isHex(flags), version == "ff":
		return false
	case strings.Trim(trace, "0") == "", strings.Trim(parent, "0") == "":
		return false
	case version == "00":
		return len(s) == parentLen
	}
	return len(s) == parentLen || s[parentLen] == '-'
}

// isHex says whether s is hexadecimal in lower case.
func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// traceState joins the fields of tracestate; what is over the bounds, or none, is left out whole.
func traceState(fields []string) string {
	s := strings.Join(fields, ",")
	if len(s) > maxState || strings.Count(s, ",") >= maxStateKeys || !strings.Contains(s, "=") {
		return ""
	}
	for i := range len(s) {
		if s[i] != '\t' && (s[i] < ' ' || s[i] > '~') {
			return ""
		}
	}
	return s
}

// appendTo appends the mark to the fields of a request.
func (m *mark) appendTo(fields []string) []string {
	fields = append(fields, "X-Request-Id", m.id, "Traceparent", m.parent)
	if m.state != "" {
		fields = append(fields, "Tracestate", m.state)
	}
	return fields
}

// on returns the request with the mark in its header, for a handler of the front's own.
func (m *mark) on(r *http.Request) *http.Request {
	marked := new(http.Request)
	*marked = *r // net/http keeps its own
	marked.Header = maps.Clone(r.Header)
	if marked.Header == nil {
		marked.Header = make(http.Header)
	}
	delete(marked.Header, "Tracestate")
	for fields := m.appendTo(nil); len(fields) > 0; fields = fields[2:] {
		marked.Header[fields[0]] = fields[1:2:2]
	}
	return marked
}
