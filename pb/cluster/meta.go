package cluster

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"perspective/cred"
	"perspective/pb"
)

// A member's entry is what it says of itself in the gossip. Its bytes are
//
//	version    1 byte, 2
//	flags      1 byte: bit 0 says that the services did not fit and must be asked for
//	revision   8 bytes, grows with each change of the services and from process to process:
//	           milliseconds since 1970 at the change, or one more than the last
//	ip         1 byte 4 or 16, and that many bytes
//	port       2 bytes
//	services   1 byte how many, and each: 1 byte length, name; in ascending order
//	signature  the node's, over the bytes before it and the gossip address
//
// with numbers big-endian. The gossip address goes along with the entry in
// another field, so it is signed but not repeated.

const (
	metaVersion = 2
	// metaSize bounds an entry: memberlist ends the process at 512.
	metaSize = 400
	// metaPurpose keeps signed entries apart from what else a node signs, and
	// those of one cluster from those of another.
	metaPurpose = "cluster entry 1 of "

	flagAsk = 1 << 0

	// maxName bounds the names of services and clusters, in bytes.
	maxName = 64
)

// entry is what a member says of itself.
type entry struct {
	revision uint64
	addr     netip.AddrPort // where its node listens for pb
	services []string       // sorted; empty if ask is set
	ask      bool           // there are more than fit: ask for them
}

// encode gives the entry's bytes without the signature. If the services do not
// fit it leaves them out and says so.
func (e entry) encode() []byte {
	b := e.append(make([]byte, 0, metaSize))
	if len(b)+cred.SignatureSize > metaSize || len(e.services) > 255 {
		e.services, e.ask = nil, true
		b = e.append(b[:0])
	}
	return b
}

func (e entry) append(b []byte) []byte {
	var flags byte
	if e.ask {
		flags |= flagAsk
	}
	b = append(b, metaVersion, flags)
	b = binary.BigEndian.AppendUint64(b, e.revision)
	ip := e.addr.Addr().AsSlice()
	b = append(b, byte(len(ip))) //nolint:gosec // 4 or 16
	b = append(b, ip...)
	b = binary.BigEndian.AppendUint16(b, e.addr.Port())
	b = append(b, byte(len(e.services))) //nolint:gosec // encode leaves out more than 255
	for _, s := range e.services {
		b = append(b, byte(len(s))) //nolint:gosec // at most maxName
		b = append(b, s...)
	}
	return b
}

// sign gives the whole entry of node in the named cluster.
func (e entry) sign(node *pb.Node, cluster string, gossip netip.AddrPort) ([]byte, error) {
	b := e.encode()
	signature, err := node.Sign(metaPurpose+cluster, signedEntry(b, gossip))
	return append(b, signature...), err
}

// verify reports whether the node with this id signed meta for this cluster and
// this gossip address.
func verify(meta []byte, nodeID, cluster string, gossip netip.AddrPort) error {
	if len(meta) < cred.SignatureSize || len(meta) > metaSize {
		return fmt.Errorf("%w: %d bytes", ErrBadEntry, len(meta))
	}
	cut := len(meta) - cred.SignatureSize
	if err := cred.VerifyNode(nodeID, metaPurpose+cluster, signedEntry(meta[:cut], gossip),
		meta[cut:]); err != nil {
		return fmt.Errorf("%w: %w", ErrBadEntry, err)
	}
	return nil
}

func signedEntry(b []byte, gossip netip.AddrPort) []byte {
	return append(slices.Clip(b), gossip.String()...)
}

// decode reads an entry, with its signature behind it. There is one spelling of
// each.
func decode(meta []byte) (entry, error) {
	var e entry
	if len(meta) < cred.SignatureSize || len(meta) > metaSize {
		return e, fmt.Errorf("%w: %d bytes", ErrBadEntry, len(meta))
	}
	r := metaReader{left: meta[:len(meta)-cred.SignatureSize]}
	version, flags := r.byte(), r.byte()
	if version != metaVersion || flags&^flagAsk != 0 {
		return e, fmt.Errorf("%w: version %d, flags %d", ErrBadEntry, version, flags)
	}
	e.ask = flags&flagAsk != 0
	if b := r.take(8); b != nil {
		e.revision = binary.BigEndian.Uint64(b)
	}
	ip, ok := netip.AddrFromSlice(r.take(int(r.byte())))
	if !ok || ip.Is4In6() || ip.IsUnspecified() || ip.IsMulticast() {
		return e, fmt.Errorf("%w: address", ErrBadEntry)
	}
	port := r.take(2)
	n := int(r.byte())
	if r.short {
		return e, fmt.Errorf("%w: too short", ErrBadEntry)
	}
	e.addr = netip.AddrPortFrom(ip, binary.BigEndian.Uint16(port))
	if e.addr.Port() == 0 || e.ask && n > 0 {
		return e, fmt.Errorf("%w: port 0, or services beside the word to ask", ErrBadEntry)
	}
	for range n {
		name := string(r.take(int(r.byte())))
		if !validName(name) || len(e.services) > 0 && e.services[len(e.services)-1] >= name {
			return e, fmt.Errorf("%w: service name %q", ErrBadEntry, name)
		}
		e.services = append(e.services, name)
	}
	if r.short || len(r.left) > 0 {
		return e, fmt.Errorf("%w: its length", ErrBadEntry)
	}
	return e, nil
}

// metaReader takes bytes off the front. When they run out it is short, and what
// it gives means nothing.
type metaReader struct {
	left  []byte
	short bool
}

func (r *metaReader) take(n int) []byte {
	if n > len(r.left) {
		r.short = true
		return nil
	}
	b := r.left[:n]
	r.left = r.left[n:]
	return b
}

func (r *metaReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// validName says whether s can name a service or a cluster: 1 to 64 letters and
// digits of ASCII, dots, dashes and underscores.
func validName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.',
			c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
