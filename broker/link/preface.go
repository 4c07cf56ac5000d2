package link

import (
	"encoding/binary"
	"fmt"
	"slices"

	"perspective/broker/message"
	"perspective/broker/wire"
	"perspective/jelly"
)

// WireVersion is the version of the native wire that this package speaks.
const WireVersion = 1

// magic begins the preface: "PB", version byte, and a byte that text
// protocols would end a line with.
var magic = [4]byte{'P', 'B', 1, '\n'}

const maxPreface = 4 << 10

// preface makes this side's.
func (l *Link) preface() ([]byte, error) {
	e := jelly.GetEncoder()
	defer jelly.PutEncoder(e)
	e.Reset(nil, nil)
	e.EncodeMapLen(4)
	e.EncodeString("version")
	e.EncodeInt(WireVersion)
	e.EncodeString("features")
	e.EncodeArrayLen(0)
	e.EncodeString("limits")
	e.EncodeMapLen(4)
	for _, x := range []struct {
		name string
		n    int
	}{{"message", l.limits.Message}, {"calls", l.limits.Calls}, {"bytes", l.limits.CallBytes},
		{"streams", l.limits.Streams}} {
		e.EncodeString(x.name)
		e.EncodeInt(int64(x.n))
	}
	e.EncodeString("node")
	e.EncodeString(l.config.Node)
	if e.Len() > maxPreface {
		return nil, fmt.Errorf("broker: preface of %d bytes, at most %d go: shorten Config.Node",
			e.Len(), maxPreface)
	}
	p := append([]byte(nil), magic[:]...)
	p = binary.BigEndian.AppendUint16(p, uint16(e.Len())) //nolint:gosec // checked
	return append(p, e.Buffer()...), nil
}

// readPreface reads the peer's and takes its limits over.
func (l *Link) readPreface(s *inbound) error {
	if err := s.fill(len(magic) + 2); err != nil {
		return err
	}
	if [4]byte(s.buf[s.i:s.i+4]) != magic {
		first := s.buf[s.i : s.i+len(magic)]
		return message.Violation("preface: want 50 42 01 0a at the beginning, got % x%s", first,
			l.spoken(first))
	}
	size := int(binary.BigEndian.Uint16(s.buf[s.i+4:]))
	if size > min(maxPreface, len(s.buf)) {
		return message.Violation("preface: length: want at most %d, got %d", maxPreface, size)
	}
	s.i += len(magic) + 2
	if err := s.fill(size); err != nil {
		return err
	}
	p, err := decodePreface(s.buf[s.i : s.i+size])
	if err != nil {
		return err
	}
	s.i += size
	l.greeted(p)
	return nil
}

// spoken says what the peer speaks whose first bytes are no preface, and what to do; empty if that
// is not known.
func (l *Link) spoken(first []byte) string {
	switch text := string(first); {
	case (first[0] == 0x15 || first[0] == 0x16) && first[1] == 3 && l.dialer:
		// an alert or a handshake
		return ": the port speaks TLS, so dial pb:// instead of pb+tcp://"
	case first[0] == 0x16 && first[1] == 3:
		return ": the peer speaks TLS and this listener is plain, so have the peer dial " +
			"pb+tcp://, or listen at pb:// here"
	case text == "HTTP":
		return ": an HTTP server is there; dial the port that was opened for pb (for a back end, " +
			"the one that the front gives to Site.Accept)"
	case !l.dialer &&
		slices.Contains(
			[]string{"GET ", "HEAD", "POST", "PUT ", "PATC", "DELE", "OPTI", "CONN", "PRI "}, text):
		return ": an HTTP client is there, and this port is for pb"
	}
	return ""
}

func decodePreface(raw []byte) (*wire.Peer, error) {
	limits := jelly.Limits{Depth: 4, Items: 256}
	if _, err := jelly.Scan(raw, &limits); err != nil {
		return nil, message.Violation("preface: %v", err)
	}
	d := new(jelly.Decoder)
	d.Reset(nil, nil, raw, &limits)
	n, err := d.DecodeMapLen()
	if err != nil {
		return nil, message.Violation("preface: want map, got %s", message.Standing(d))
	}
	p := &wire.Peer{
		Message:   wholeSize,
		Calls:     EarlyCalls,
		CallBytes: EarlyBytes,
		Streams:   UsualStreams,
	}
	version := uint64(0)
	for range n {
		name, err := d.DecodeString()
		if err != nil {
			return nil, message.Violation("preface: key: want str, got %s", message.Standing(d))
		}
		want := ""
		switch name {
		case "version":
			want = "uint"
			version, err = d.DecodeUint()
		case "node":
			want = "str"
			p.Node, err = d.DecodeString()
		case "features":
			want = "array of str"
			if d.Peek() == jelly.KindNil { // which Decode takes for an empty slice
				return nil, message.Violation("preface: %s: want %s, got nil", name, want)
			}
			err = d.Decode(new([]string)) // none is known yet
		case "limits":
			if err := decodeLimits(p, d); err != nil {
				return nil, err
			}
		default:
			err = d.Skip()
		}
		if err != nil {
			return nil, message.Violation("preface: %s: want %s, got %s", name, want,
				message.Standing(d))
		}
	}
	if version != WireVersion {
		return nil, message.Violation("preface: version: want %d, got %d", WireVersion, version)
	}
	if len(p.Node) > maxNodeName {
		return nil, message.Violation("preface: node: want str of at most %d bytes, got %d",
			maxNodeName, len(p.Node))
	}
	return p, nil
}

// maxNodeName is how many bytes a node's name has at most.
const maxNodeName = 256

// decodeLimits reads what the peer takes. More than 1 GiB, or 2^30 of something, is as good as
// that.
func decodeLimits(p *wire.Peer, d *jelly.Decoder) error {
	n, err := d.DecodeMapLen()
	if err != nil {
		return message.Violation("preface: limits: want map, got %s", message.Standing(d))
	}
	for range n {
		name, err := d.DecodeString()
		if err != nil {
			return message.Violation("preface: limits: key: want str, got %s", message.Standing(d))
		}
		var into *int
		least := uint64(1)
		switch name {
		case "message":
			into = &p.Message
		case "calls":
			into = &p.Calls
		case "bytes":
			into = &p.CallBytes
		case "streams":
			least, into = 0, &p.Streams
		default:
			if err := d.Skip(); err != nil {
				return message.Violation("preface: limits: %s: want a value, got %s", name,
					message.Standing(d))
			}
			continue
		}
		at := *d
		v, err := d.DecodeUint()
		if err != nil || v < least {
			return message.Violation("preface: limits: %s: want int from %d up, got %s", name,
				least, message.Standing(&at))
		}
		*into = int(min(v, 1<<30))
	}
	return nil
}
