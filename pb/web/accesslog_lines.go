package web

import (
	"net"
	"strconv"
	"time"
	"unicode/utf8"

	"perspective/pb/distrib"
)

// What of a request's words a line has at most, in bytes; what is cut ends with "…".
const (
	maxTarget = 4 << 10
	maxWord   = 1 << 10
)

const (
	jsonTime     = "2006-01-02T15:04:05.000Z"
	combinedTime = "02/Jan/2006:15:04:05 -0700"
)

// appendJSONLine appends a request as one JSON object and a line feed. The names are those of
// docs/operations.md; what is empty is left out.
func appendJSONLine(b []byte, r *distrib.Record) []byte {
	q := r.Request
	version, cipher := r.TLSNames()
	b = append(b, `{"time":"`...)
	b = r.Began.UTC().AppendFormat(b, jsonTime)
	b = append(b, '"')
	b = appendField(b, "request_id", r.ID, maxWord)
	b = appendField(b, "client", r.Client, maxWord)
	b = appendField(b, "user", r.User, maxWord)
	b = appendField(b, "method", q.Method, maxWord)
	b = appendField(b, "host", q.Host, maxWord)
	b = appendField(b, "target", q.RequestURI, maxTarget)
	b = appendField(b, "proto", q.Proto, maxWord)
	b = appendField(b, "tls", version, maxWord)
	b = appendField(b, "cipher", cipher, maxWord)
	b = appendField(b, "mount", r.Mount, maxWord)
	b = appendField(b, "instance", r.Instance, maxWord)
	b = appendCount(b, `,"status":`, int64(r.Status))
	b = appendCount(b, `,"request_bytes":`, r.RequestBytes)
	b = appendCount(b, `,"response_bytes":`, r.ResponseBytes)
	b = appendMillis(append(b, `,"front_ms":`...), r.Front)
	b = appendMillis(append(b, `,"queue_ms":`...), r.Queue)
	b = appendMillis(append(b, `,"handler_ms":`...), r.Handler)
	b = appendMillis(append(b, `,"write_ms":`...), r.Write)
	if r.Sent > 1 {
		b = appendCount(b, `,"sent":`, int64(r.Sent))
	}
	b = appendField(b, "outcome", string(r.Outcome), maxWord)
	if r.Err != nil {
		b = appendField(b, "err", r.Err.Error(), maxWord)
	}
	b = appendField(b, "trace", r.Trace, maxWord)
	b = appendField(b, "referer", first(q.Header["Referer"]), maxWord)
	b = appendField(b, "user_agent", first(q.Header["User-Agent"]), maxWord)
	return append(b, '}', '\n')
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// appendField appends a member that is not the first one.
func appendField(b []byte, name, value string, most int) []byte {
	if value == "" {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":"`...)
	cut := len(value) > most
	if cut {
		value = value[:most]
	}
	b = appendJSONText(b, value)
	if cut {
		b = append(b, "…"...)
	}
	return append(b, '"')
}

func appendCount(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(b, name...), n, 10)
}

// appendMillis appends milliseconds, to the microsecond.
func appendMillis(b []byte, d time.Duration) []byte {
	us := max(0, d.Microseconds())
	b = strconv.AppendInt(b, us/1000, 10)
	rest := us % 1000
	return append(b, '.', '0'+byte(rest/100), '0'+byte(rest/10%10), '0'+byte(rest%10))
}

const hexDigits = "0123456789abcdef"

// appendJSONText appends the inside of a JSON string. What a terminal might obey, or show as
// nothing, is escaped, and bytes that are not UTF-8 become U+FFFD, as every reader of JSON would
// have them.
func appendJSONText(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			i++
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < ' ' || c == 0x7f:
				b = append(b, `\u00`...)
				b = append(b, hexDigits[c>>4], hexDigits[c&15])
			default:
				b = append(b, c)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError || r <= 0xffff && !strconv.IsPrint(r):
			b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15],
				hexDigits[r>>4&15], hexDigits[r&15])
		case !strconv.IsPrint(r):
			b = append(b, `\ufffd`...)
		default:
			b = append(b, s[i:i+size]...)
		}
		i += size
	}
	return b
}

// appendCombinedLine appends a request in Apache's combined format, and behind that what it lacks
// as NAME=VALUE.
func appendCombinedLine(b []byte, r *distrib.Record) []byte {
	q := r.Request
	host, _, err := net.SplitHostPort(r.Client)
	if err != nil {
		host = r.Client
	}
	b = appendWord(b, host, maxWord)
	b = append(b, " - "...)
	b = appendWord(b, r.User, maxWord)
	b = append(b, " ["...)
	b = r.Began.AppendFormat(b, combinedTime)
	b = append(b, `] "`...)
	b = appendWord(b, q.Method, maxWord)
	b = append(b, ' ')
	b = appendWord(b, q.RequestURI, maxTarget)
	b = append(b, ' ')
	b = appendWord(b, q.Proto, maxWord)
	b = appendCount(b, `" `, int64(r.Status))
	if r.ResponseBytes == 0 {
		b = append(b, " -"...)
	} else {
		b = appendCount(b, " ", r.ResponseBytes)
	}
	for _, name := range []string{"Referer", "User-Agent"} {
		b = append(b, ` "`...)
		b = appendText(b, first(q.Header[name]), maxWord)
		b = append(b, '"')
	}
	version, _ := r.TLSNames()
	for _, extra := range [][2]string{{" id=", r.ID}, {" host=", q.Host}, {" mount=", r.Mount},
		{" instance=", r.Instance}, {" tls=", version}, {" outcome=", string(r.Outcome)}} {
		b = append(b, extra[0]...)
		b = appendWord(b, extra[1], maxWord)
	}
	b = appendMillis(append(b, " front="...), r.Front)
	b = appendMillis(append(b, " queue="...), r.Queue)
	b = appendMillis(append(b, " handler="...), r.Handler)
	b = appendMillis(append(b, " write="...), r.Write)
	return append(b, '\n')
}

// appendWord is appendText without a space in it; of nothing it makes "-".
func appendWord(b []byte, s string, most int) []byte {
	if s == "" {
		return append(b, '-')
	}
	begin := len(b)
	b = appendText(b, s, most)
	for i := begin; i < len(b); i++ {
		if b[i] == ' ' {
			b[i] = '_'
		}
	}
	return b
}

// appendText appends s as Apache does: quotes and backslashes by a backslash, all that is not
// printable ASCII as \xHH.
func appendText(b []byte, s string, most int) []byte {
	cut := len(s) > most
	if cut {
		s = s[:most]
	}
	if s == "" {
		return append(b, '-')
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c > '~':
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, c)
		}
	}
	if cut {
		b = append(b, "..."...)
	}
	return b
}

// droppedLine tells of lines that are missing.
func (l *AccessLog) droppedLine(n uint64) []byte {
	var b []byte
	if l.Log.Format == "combined" {
		b = append(b, "# dropped "...)
		b = strconv.AppendUint(b, n, 10)
		return append(b, '\n')
	}
	b = append(b, `{"time":"`...)
	b = time.Now().UTC().AppendFormat(b, jsonTime)
	b = append(b, `","dropped":`...)
	b = strconv.AppendUint(b, n, 10)
	return append(b, '}', '\n')
}
