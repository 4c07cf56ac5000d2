package cred

import (
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
)

// A Peer holds the facts about the other end of a connection: what the kernel and the TLS handshake
// say, never what the peer sent. The owner of the connection fills it once, before anything reads
// it; from then on any number of goroutines only read it. The zero value is a peer about which
// nothing is known.
type Peer struct {
	// Key is the public key that the peer proved to hold; nil if it proved none.
	Key ed25519.PublicKey

	// NodeID is NodeIDOf(Key), kept here for logs and look-ups. Decisions in this package are
	// made from Key.
	NodeID string

	// UID, GID and PID are those of the process at the other end of a unix socket. They mean
	// something only if HasUID is true: zero is root's uid.
	UID    uint32
	GID    uint32
	PID    int32
	HasUID bool

	// Addr is where the peer connects from; nil where there is no such thing.
	Addr net.Addr

	// Secure says that nobody between the two ends can read or change what they send: TLS, a
	// unix socket, a pipe within the machine.
	Secure bool

	// Binding is the keying material that TLS exports for this one connection, which credentials
	// may be tied to; nil without TLS.
	Binding []byte
}

// String names the peer for a log line: its uid, or else its address or node id.
func (p *Peer) String() string {
	switch {
	case p == nil:
		return "unknown"
	case p.HasUID:
		return fmt.Sprintf("uid %d", p.UID)
	case p.Addr != nil && p.Addr.String() != "":
		return p.Addr.String()
	case len(p.Key) != 0:
		return NodeIDOf(p.Key)
	}
	return "unknown"
}

// Format writes what String gives, also for a Peer that is no pointer, whatever the verb: the
// fields hold what nobody should see, such as Binding.
func (p Peer) Format(f fmt.State, verb rune) {
	if verb == 'v' {
		verb = 's'
	}
	_, _ = fmt.Fprintf(f, "%"+string(verb), p.String()) // f keeps the error
}

// LogValue is what String gives.
func (p Peer) LogValue() slog.Value { return slog.StringValue(p.String()) }

// place is the name under which guesses from this peer are counted: what costs an attacker
// most to have many of. For IPv6 it is the /64, since every customer has at least one. Keys are
// free to make, so they count only where there is nothing else.
func (p *Peer) place() string {
	if p.HasUID {
		return fmt.Sprintf("uid %d", p.UID)
	}
	if p.Addr == nil {
		return NodeIDOf(p.Key)
	}
	text := p.Addr.String()
	ip := netip.Addr{}
	if port, err := netip.ParseAddrPort(text); err == nil {
		ip = port.Addr()
	} else if alone, err := netip.ParseAddr(text); err == nil {
		ip = alone
	}
	if !ip.IsValid() {
		return clip(p.Addr.Network() + " " + text)
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}

// clip bounds what a peer chose before it is kept or shown.
func clip(s string) string {
	const most = 256
	if len(s) > most {
		return s[:most]
	}
	return s
}
