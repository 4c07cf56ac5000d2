package distrib

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// framingSeeds are the beginnings of connections that FuzzFraming starts from: each way in which a
// request says where it ends, well and badly, with another request behind it.
func framingSeeds() (seeds []string) {
	const behind = "GET /behind HTTP/1.1\r\nHost: x\r\n\r\n"
	te := "Transfer-Encoding: chunked\r\n"
	head := func(more string) string { return "POST / HTTP/1.1\r\nHost: x\r\n" + more + "\r\n" }
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\nHost: x\n\n",
		"\r\n\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		head("Content-Length: 5\r\n") + "hello",
		head("Content-Length: 5\r\n") + "hello\r\n",
		head("Content-Length: 5\r\nContent-Length: 5\r\n") + "hello",
		head("Content-Length: 5\r\nContent-Length: 6\r\n") + "hello",
		head("Content-Length: 5, 5\r\n") + "hello",
		head("Content-Length: +5\r\n") + "hello",
		head("Content-Length: \t05 \r\n") + "hello",
		head("Content-Length: 5\r\r\n") + "hello",
		head("Content-Length : 5\r\n") + "hello",
		head("Content-Length: 9223372036854775808\r\n") + "hello",
		head("Content-Length:\r\n"),
		head("Content-Length: 0\r\n"),
		head("content-length: 5\r\nX: y\r\n z\r\n") + "hello",
		head("X: y\r\n Content-Length: 5\r\n") + "hello",
		head(te) + "5;a=b\r\nhello\r\n0\r\nX-A: b\r\n\r\n",
		head(te) + "5 \t\r\nhello\r\n000\r\n\r\n",
		head(te) + "5 ; a\r\nhello\r\n0;b\r\n\r\n",
		head(te) + "5;a\rb\r\nhello\r\n0\r\n\r\n",
		head(te) + "A\r\n0123456789\r\n0\r\nno colon\r\n\r\n",
		head(te) + "0\r\nX: y\n\r\n",
		head(te) + "0\r\nX: y\r\n\n",
		head(te) + "0\n\n",
		head(te) + "0\r\nContent-Length: 5\r\n\r\nhello",
		head(te) + "ZZ\r\n",
		head(te) + "3\r\nabcX",
		head(te) + "3\r\nabc\n0\r\n\r\n",
		head(te) + "3;a\nb\r\nabc\r\n0\r\n\r\n",
		head(te) + "3\nabc\n0\n\n",
		head(te) + "10000000000000003\r\nabc\r\n0\r\n\r\n",
		head(te) + "0000000000000003\r\nabc\r\n0\r\n\r\n",
		head(te) + "-3\r\nabc\r\n0\r\n\r\n",
		head(te) + "0x3\r\nabc\r\n0\r\n\r\n",
		head(te) + "\r\nabc\r\n0\r\n\r\n",
		head("Content-Length: 5\r\n"+te) + "0\r\n\r\n",
		head(te+"Content-Length: 500\r\n") + "0\r\n\r\n",
		head(te+"content-length:0\r\n") + "0\r\n\r\n",
		head(te+te) + "0\r\n\r\n",
		head("Transfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n",
		head("Transfer-Encoding: identity\r\nContent-Length: 5\r\n") + "hello",
		head("Transfer-Encoding: \tCHUNKED \r\n") + "0\r\n\r\n",
		head("Transfer-Encoding: chun\u212aed\r\n") + "0\r\n\r\n",
		head("Transfer-Encoding:\r\n"),
		"POST / HTTP/1.0\r\nConnection: keep-alive\r\n" + te + "\r\n0\r\n\r\n",
		"POST / HTTP/1.0\r\nConnection: keep-alive\r\n" + te + "Content-Length: 5\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
		"POST / HTTP/1.2\r\n" + te + "\r\n0\r\n\r\n",
		"POST / HTTP/2.0\r\n" + te + "\r\n0\r\n\r\n",
		"POST / HTTP/1.x\r\n\r\n",
		"POST /\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET / HTTP/1.1\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n",
		"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n" + head("Content-Length: 5\r\n"+te) + "0\r\n\r\n",
		"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n" + head("Content-Length:\r\n 5\r\n") + "0\r\n\r\n",
		head("Upgrade: other\r\nContent-Length: 5\r\n") + "hello",
		head("Expect: 100-continue\r\n"+te) + "5\r\nhello\r\n0\r\n\r\n",
		"\x16\x03\x01\x02\x00",
	} {
		seeds = append(seeds, s+behind)
	}
	return seeds
}

// scanned is what a framing makes of the beginning of a connection.
type scanned struct {
	ends   []int  // where the requests end, in what the server may see
	seen   string // what the server may see
	spoilt bool   // a head was
	state  framingState
}

// scan feeds all of p in pieces of size bytes at most. Only bytes one at a time tell where the
// requests end.
func scan(p []byte, size int) (s scanned) {
	var f framing
	var seen []byte
	for piece := range slices.Chunk(p, size) {
		before := f.state
		n, behind, over := f.feed(piece)
		seen = append(seen, piece[:n]...)
		if before != inStart && before != framingOff &&
			(f.state == inStart || f.state == framingOff) {
			s.ends = append(s.ends, len(seen))
		}
		if over {
			seen, s.spoilt = append(seen, behind...), behind != ""
			break
		}
	}
	s.seen, s.state = string(seen), f.state
	return s
}

// read gives where the requests end that net/http takes from what the server sees.
func read(seen string) (ends []int) {
	src := strings.NewReader(seen)
	in := bufio.NewReader(src)
	posted := false
	for {
		if posted { // as the server does, for old clients
			head, _ := in.Peek(4)
			_, _ = in.Discard(len(head) - len(bytes.TrimLeft(head, "\r\n")))
		}
		r, err := http.ReadRequest(in)
		if err != nil {
			return ends
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return ends
		}
		posted = r.Method == http.MethodPost
		ends = append(ends, len(seen)-src.Len()-in.Buffered())
	}
}

// FuzzFraming compares the framing with net/http's own reading: of what the framing lets through,
// net/http must take no request that ends elsewhere.
func FuzzFraming(f *testing.F) {
	for _, s := range framingSeeds() {
		f.Add([]byte(s), byte(6))
	}
	f.Fuzz(func(t *testing.T, p []byte, size byte) {
		s := scan(p, 1)
		if other := scan(p, int(size)+1); other.seen != s.seen ||
			other.state != s.state && s.state != framingOff {
			t.Fatalf("by bytes the server sees %q, in pieces of %d %q", s.seen,
				int(size)+1, other.seen)
		}
		if s.state == framingOff && len(s.ends) == 0 {
			return
		}
		for i, end := range read(s.seen) {
			switch {
			case i < len(s.ends) && end == s.ends[i]:
			case i >= len(s.ends) && s.state == framingOff:
				return // HTTP/2 stands there
			case i == len(s.ends) && s.state == framingOver && !s.spoilt && end == len(s.seen):
				return // nothing is served behind it
			default:
				t.Fatalf("net/http takes a request that ends at %d, %q; the framing has them end "+
					"at %d", end, s.seen[:end], s.ends)
			}
		}
	})
}
