package broker

import (
	"encoding/binary"
	"fmt"

	"perspective/jelly"
)

// WireVersion is the version of the native wire that this package speaks.
const WireVersion = 1

// magic begins the preface: "PB", version byte, and a byte that text
// protocols would end a line with.
var magic = [4]byte{'P', 'B', 1, '\n'}

const maxPreface = 4 << 10

// Peer is what the peer's preface said of it. Nothing in it is proved.
type Peer struct {
	// Node is the name that the peer goes by, at most 256 bytes; TLS proves names.
	Node string
	// Features are abilities that the peer speaks of.
	Features []string

	message, calls, callBytes, streams int
}

// preface makes this side's.
func (b *Broker) preface() ([]byte, error) {
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
	for _, l := range []struct {
		name string
		n    int
	}{{"message", b.limits.Message}, {"calls", b.limits.Calls}, {"bytes", b.limits.CallBytes}, {"streams", b.limits.Streams}} {
		e.EncodeString(l.name)
		e.EncodeInt(int64(l.n))
	}
	e.EncodeString("node")
	e.EncodeString(b.config.Node)
	if e.Len() > maxPreface {
		return nil, fmt.Errorf("broker: preface of %d bytes, at most %d go: shorten Config.Node", e.Len(), maxPreface)
	}
	p := append([]byte(nil), magic[:]...)
	p = binary.BigEndian.AppendUint16(p, uint16(e.Len())) //nolint:gosec // checked
	return append(p, e.Buffer()...), nil
}

// readPreface reads the peer's and takes its limits over.
func (b *Broker) readPreface(s *in) error {
	if err := s.fill(len(magic) + 2); err != nil {
		return err
	}
	if [4]byte(s.buf[s.i:s.i+4]) != magic {
		return violation("the peer does not begin with the preface of this protocol")
	}
	l := int(binary.BigEndian.Uint16(s.buf[s.i+4:]))
	if l > maxPreface {
		return violation("preface of %d bytes", l)
	}
	s.i += len(magic) + 2
	if l > len(s.buf) {
		return violation("preface of %d bytes", l)
	}
	if err := s.fill(l); err != nil {
		return err
	}
	p, err := decodePreface(s.buf[s.i : s.i+l])
	if err != nil {
		return err
	}
	s.i += l
	b.greeted(p)
	return nil
}

func decodePreface(raw []byte) (*Peer, error) {
	limits := jelly.Limits{Depth: 4, Items: 256}
	if _, err := jelly.Scan(raw, &limits); err != nil {
		return nil, violation("preface: %v", err)
	}
	d := new(jelly.Decoder)
	d.Reset(nil, nil, raw, &limits)
	n, err := d.DecodeMapLen()
	if err != nil {
		return nil, violation("preface: %v", err)
	}
	p := &Peer{message: wholeSize, calls: earlyCalls, callBytes: earlyBytes}
	version := int64(-1)
	for range n {
		name, err := d.DecodeString()
		if err != nil {
			return nil, violation("preface: %v", err)
		}
		switch name {
		case "version":
			version, err = d.DecodeInt()
		case "node":
			p.Node, err = d.DecodeString()
		case "features":
			err = d.Decode(&p.Features)
		case "limits":
			err = p.decodeLimits(d)
		default:
			err = d.Skip()
		}
		if err != nil {
			return nil, violation("preface: %s: %v", name, err)
		}
	}
	if version != WireVersion {
		return nil, violation("wire version %d, this side speaks %d", version, WireVersion)
	}
	if len(p.Node) > 256 {
		return nil, violation("node name of %d bytes", len(p.Node))
	}
	return p, nil
}

func (p *Peer) decodeLimits(d *jelly.Decoder) error {
	n, err := d.DecodeMapLen()
	if err != nil {
		return err
	}
	for range n {
		name, err := d.DecodeString()
		if err != nil {
			return err
		}
		v, err := d.DecodeInt()
		if err != nil {
			return err
		}
		k := int(min(max(v, 1), 1<<30))
		switch name {
		case "message":
			p.message = k
		case "calls":
			p.calls = k
		case "bytes":
			p.callBytes = k
		case "streams":
			p.streams = k
		}
	}
	return nil
}
