package cred

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
)

// A Kind names a sort of credentials. It is what a checker declares and what travels in place
// of credentials that carry no data.
type Kind string

// The kinds of this package.
const (
	KindPassword  Kind = "password"  // UsernamePassword
	KindAnonymous Kind = "anonymous" // Anonymous
	KindPeerUID   Kind = "uid"       // PeerUID
	KindPeerKey   Kind = "key"       // PeerKey
)

// Credentials are what a peer shows in order to be let in. The package has UsernamePassword,
// Anonymous, PeerUID and PeerKey; a program may add its own together with a Checker for them.
//
// Credentials that can be guessed and name an account should also have a method
// Account() string: the Portal then slows guesses down by account and address together.
type Credentials interface {
	Kind() Kind
}

// UsernamePassword is a claim that the peer sends. It must only travel over connections that
// nobody can listen to.
type UsernamePassword struct {
	Username string
	Password Password
}

// Kind is KindPassword.
func (UsernamePassword) Kind() Kind { return KindPassword }

// Account is the user name, as it was sent.
func (c UsernamePassword) Account() string { return c.Username }

// Anonymous is the wish to be let in as nobody in particular.
type Anonymous struct{}

// Kind is KindAnonymous.
func (Anonymous) Kind() Kind { return KindAnonymous }

// PeerUID is the user of the process at the other end of a unix socket, on the kernel's word.
// A peer shows the zero value; the Portal fills it from the Peer, whatever it held before.
type PeerUID struct {
	UID uint32
	GID uint32
	PID int32 // of the process that connected; it may be gone, and its number taken by another
}

// Kind is KindPeerUID.
func (PeerUID) Kind() Kind { return KindPeerUID }

func (PeerUID) attested(p *Peer) (Credentials, bool) {
	return PeerUID{UID: p.UID, GID: p.GID, PID: p.PID}, p.HasUID
}

// PeerKey is the key that the other end proved to hold in its TLS handshake. A peer shows
// the zero value; the Portal fills it from the Peer, whatever it held before.
type PeerKey struct {
	Key    ed25519.PublicKey
	NodeID string // made from Key
}

// Kind is KindPeerKey.
func (PeerKey) Kind() Kind { return KindPeerKey }

func (PeerKey) attested(p *Peer) (Credentials, bool) {
	id := NodeIDOf(p.Key)
	return PeerKey{Key: p.Key, NodeID: id}, id != ""
}

// attested is what PeerUID and PeerKey have in common: their content comes from the connection.
type attested interface {
	// attested gives the credentials that the connection vouches for, and whether it vouches for
	// any.
	attested(p *Peer) (Credentials, bool)
}

// Format shows the user name and hides the password from every verb of fmt. A pointer deep inside
// another value needs it: with a verb that fits no pointer fmt prints what it points to, past the
// methods of the fields.
func (c UsernamePassword) Format(s fmt.State, verb rune) {
	if verb == 'v' && s.Flag('#') {
		// A fmt.State takes every write.
		_, _ = fmt.Fprintf(s, "cred.UsernamePassword{Username:%q, Password:%s}", c.Username, hidden)
		return
	}
	_, _ = fmt.Fprintf(s, "{Username:%q Password:%s}", c.Username, hidden)
}

// A Password prints as "[hidden]" in fmt, slog and encoding/json. string(p) gives it out. Being a
// string type it takes a constant.
//
// fmt can't call methods of what lies in unexported fields, nor those of an argument of %w that is
// no error (go vet finds that one), and JSON shows the keys of maps: keep a Password in exported
// fields.
type Password string

const hidden = "[hidden]"

// String hides the password.
func (Password) String() string { return hidden }

// GoString hides the password from %#v.
func (Password) GoString() string { return hidden }

// Format hides the password from every verb. Without it a verb that fits no string, such as %d,
// would print the text inside its complaint.
func (Password) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, hidden)
}

// LogValue hides the password from slog.
func (Password) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the password from encoding/json and other encoders that ask for text.
// There is no UnmarshalText: a decoder stores what it read.
func (Password) MarshalText() ([]byte, error) { return []byte(hidden), nil }
