package distrib

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	minEncoded = 1 << 10 // a shorter body is sent as it is: its head is the larger part
	// encodeWindow is how far back an encoder looks, which its memory is a multiple of, and the
	// memory of the client's decoder.
	encodeWindow = 256 << 10
	// maxEncoders bounds the encoders of one Site that work at once; beyond them bodies are sent
	// as they are. One client has at most an eighth.
	maxEncoders = 64
)

// encodings are those that a Route may offer.
var encodings = []string{"zstd", "gzip"}

// An encoder compresses one body.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// encoders are those of one Site. They are used again, and never by another Site's requests.
type encoders struct {
	inUse shares
	once  sync.Once
	idle  map[string]*sync.Pool // of encoders, by the name of the encoding
}

// An encoding is a body under way that is compressed.
type encoding struct {
	encoder

	from *encoders
	name string
	key  clientKey
}

// take returns an encoder that writes to w; nil: there are too many.
func (e *encoders) take(name string, key clientKey, w io.Writer) *encoding {
	e.once.Do(func() {
		e.inUse.sum, e.inUse.each = maxEncoders, share(maxEncoders)
		e.idle = make(map[string]*sync.Pool, len(encodings))
		for _, name := range encodings {
			e.idle[name] = &sync.Pool{New: func() any { return newEncoder(name) }}
		}
	})
	if !e.inUse.take(key) {
		return nil
	}
	n := &encoding{encoder: e.idle[name].Get().(encoder), from: e, name: name, key: key}
	n.Reset(w)
	return n
}

func newEncoder(name string) encoder {
	if name == "gzip" {
		w, _ := gzip.NewWriterLevel(io.Discard, gzip.DefaultCompression) // there is this level
		return w
	}
	w, err := zstd.NewWriter(io.Discard, zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(encodeWindow), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic(err) // these options are within its bounds
	}
	return w
}

// done gives the encoder back. What was not closed is not finished.
func (n *encoding) done() {
	if n == nil {
		return
	}
	n.Reset(io.Discard) // it keeps nothing of the body, nor of the client
	n.from.idle[n.name].Put(n.encoder)
	n.from.inUse.give(n.key)
}

// checkEncode says what is wrong with Route.Encode.
func checkEncode(names []string) error {
	for _, name := range names {
		if name != "zstd" && name != "gzip" {
			return fmt.Errorf("distrib: there is no encoding %q, use zstd and gzip", name)
		}
	}
	return nil
}

// encode says by which encoding the answer p is sent, whose header is in ex.w and whose body has
// length bytes, -1 if that is not known; nil: as it is.
func (ex *exchange) encode(p *response, length int64) *encoding {
	if len(ex.route.Encode) == 0 || length >= 0 && length < minEncoded {
		return nil
	}
	h := ex.w.Header()
	if p.status < 200 || p.status == http.StatusPartialContent || !encodable(h) ||
		hasToken(ex.r.Header["Cache-Control"], "no-transform") {
		return nil
	}
	if !hasToken(h["Vary"], "Accept-Encoding") && !hasToken(h["Vary"], "*") {
		h["Vary"] = append(slices.Clip(h["Vary"]), "Accept-Encoding")
	}
	name := choose(ex.route.Encode, ex.r.Header["Accept-Encoding"])
	if name == "" {
		return nil
	}
	return ex.site.encoders.take(name, ex.key, ex.w)
}

// encoded says in h how the body is sent.
func encoded(h http.Header, name string) {
	h["Content-Encoding"] = []string{name}
	delete(h, "Content-Length")
	delete(h, "Accept-Ranges") // they would be ranges of something else
	if tag := h["Etag"]; len(tag) == 1 && strings.HasPrefix(tag[0], `"`) {
		h["Etag"] = []string{"W/" + tag[0]} // the same, but not byte for byte
	}
}

// encodeSmall compresses a body that is there whole. What does not get smaller is sent as it is.
func (ex *exchange) encodeSmall(p *response, body []byte) []byte {
	n := ex.encode(p, int64(len(body)))
	if n == nil {
		return body
	}
	defer n.done()
	small := &shortBuffer{b: make([]byte, 0, len(body)/2), most: len(body)}
	n.Reset(small)
	if _, err := n.Write(body); err != nil {
		return body
	}
	if n.Close() != nil {
		return body
	}
	h := ex.w.Header()
	framed := h["Content-Length"] != nil
	encoded(h, n.name)
	if framed {
		h["Content-Length"] = []string{strconv.Itoa(len(small.b))}
	}
	return small.b
}

// A shortBuffer takes less than most bytes.
type shortBuffer struct {
	b    []byte
	most int
}

func (s *shortBuffer) Write(p []byte) (int, error) {
	if len(s.b)+len(p) >= s.most {
		return 0, io.ErrShortBuffer
	}
	s.b = append(s.b, p...)
	return len(p), nil
}

// encodable says whether the body under this header may be compressed, and is worth it.
func encodable(h http.Header) bool {
	for _, name := range []string{"Content-Encoding", "Content-Range", "Content-Digest", "Digest",
		"Content-Md5"} {
		if len(h[name]) > 0 {
			return false
		}
	}
	return !hasToken(h["Cache-Control"], "no-transform") && len(h["Content-Type"]) == 1 &&
		compressible(h["Content-Type"][0])
}

// compressible says whether bodies of a media type get much smaller.
func compressible(mediaType string) bool {
	t, _, _ := strings.Cut(mediaType, ";")
	t = strings.ToLower(strings.TrimSpace(t))
	switch t {
	case "application/json", "application/javascript", "application/xml", "application/wasm",
		"application/x-ndjson", "application/x-javascript", "application/rtf",
		"application/vnd.ms-fontobject", "font/ttf", "font/otf", "image/bmp", "image/x-icon":
		return true
	}
	return strings.HasPrefix(t, "text/") || strings.HasSuffix(t, "+json") ||
		strings.HasSuffix(t, "+xml")
}

// choose returns which of the offered encodings the client likes best (RFC 9110, 12.5.3), of those
// that it likes as well the first; empty: none.
func choose(offered, accepted []string) string {
	best, bestQ := "", 0
	for _, name := range offered {
		if q := quality(accepted, name); q > bestQ {
			best, bestQ = name, q
		}
	}
	if best != "" && quality(accepted, "identity") > bestQ {
		return ""
	}
	return best
}

// quality returns how much the client likes an encoding, in thousandths.
func quality(accepted []string, name string) int {
	others := 0
	for _, list := range accepted {
		for item := range strings.SplitSeq(list, ",") {
			coding, parameters, _ := strings.Cut(item, ";")
			coding = strings.TrimSpace(coding)
			switch {
			case strings.EqualFold(coding, name), name == "gzip" &&
				strings.EqualFold(coding, "x-gzip"):
				return weight(parameters)
			case coding == "*" && name != "identity":
				others = weight(parameters)
			}
		}
	}
	return others
}

// weight reads q=0.5 as 500; what is none counts as 0.
func weight(parameters string) int {
	q := strings.TrimSpace(parameters)
	if q == "" {
		return 1000
	}
	key, value, _ := strings.Cut(q, "=")
	if !strings.EqualFold(strings.TrimSpace(key), "q") {
		return 0
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return 0
	}
	return int(f * 1000)
}
