package pb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"perspective/broker"
	"perspective/cred"
	"perspective/internal/prefix"
	"perspective/jelly"
)

func init() {
	jelly.Register[loginPassword]("cred.UsernamePassword")
	jelly.Register[loginKind]("cred.Kind")
	RegisterError("pb.ErrNotLoggedIn", ErrNotLoggedIn)
	RegisterError("pb.ErrNoRoot", ErrNoRoot)
	RegisterError("cred.ErrUnauthorized", cred.ErrUnauthorized)
	RegisterError("cred.ErrUnhandledCredentials", cred.ErrUnhandledCredentials)
	RegisterError("cred.ErrBusy", cred.ErrBusy)
	RegisterError("cred.ErrTooManyTries", cred.ErrTooManyTries)
	RegisterError("cred.ErrNoAvatar", cred.ErrNoAvatar)
	RegisterError("cred.ErrNotAllowed", cred.ErrNotAllowed)
}

// loginPassword and loginKind are credentials as they cross: of those that the
// connection itself proves, only the kind does.
type (
	loginPassword struct{ Username, Password string }
	loginKind     struct{ Kind string }
)

func credentialsOnWire(c cred.Credentials) any {
	switch c := c.(type) {
	case cred.UsernamePassword:
		return loginPassword{c.Username, string(c.Password)}
	case cred.Anonymous, cred.PeerUID, cred.PeerKey:
		return loginKind{string(c.Kind())}
	}
	return c // a program's own kind, registered by it
}

func credentialsFromWire(v any) (cred.Credentials, error) {
	switch v := v.(type) {
	case loginPassword:
		return cred.UsernamePassword{Username: v.Username, Password: cred.Password(v.Password)}, nil
	case loginKind:
		switch cred.Kind(v.Kind) {
		case cred.KindAnonymous:
			return cred.Anonymous{}, nil
		case cred.KindPeerUID:
			return cred.PeerUID{}, nil
		case cred.KindPeerKey:
			return cred.PeerKey{}, nil
		default: // a password crosses as loginPassword
		}
	case cred.Credentials:
		return v, nil
	}
	return nil, cred.ErrUnhandledCredentials
}

// Login shows credentials to the peer's Portal and gives the avatar: the object
// that is what the account may do. mind, if not nil, is an object of this side
// that the peer's realm is given a reference to. An avatar of a type without fields
// is refused, for two of them would be one object; see docs/objects.md, section 9.
//
// The avatar is logged out when the connection ends, or when nobody here holds
// the reference any more. With the last login of a connection the root goes too,
// if it could be called for a login alone: it gives ErrNotLoggedIn until the next.
func (c *Conn) Login(
	ctx context.Context, credentials cred.Credentials, mind any,
) (*RemoteReference, error) {
	return Do[*RemoteReference](ctx, c.boot, "login", credentialsOnWire(credentials),
		mind, c.peer.Binding)
}

// boot is export 0 of every connection.
type boot struct {
	Concurrent
	Referenceable
	conn *Conn
}

// RemoteLogin is the answering side of Conn.Login. binding is the caller's view
// of the TLS session, so that nobody in between can use the login for their own.
func (b *boot) RemoteLogin(
	ctx context.Context, credentials, mind any, binding []byte,
) (any, error) {
	c := b.conn
	<-c.ready
	if c.node.Portal == nil {
		return nil, errors.New("pb: nobody can log in here: the node has no portal")
	}
	if !bytes.Equal(binding, c.peer.Binding) {
		return nil, cred.ErrUnauthorized
	}
	if in := broker.IncomingFrom(ctx); in != nil && in.Oneway() {
		return nil, errors.New("pb: a login wants an answer") // its avatar could never be let go of
	}
	known, err := credentialsFromWire(credentials)
	if err != nil {
		return nil, err
	}
	login, err := c.node.Portal.Login(ctx, known, &c.peer, mind)
	if err != nil {
		return nil, err
	}
	if err := checkAvatar(login.Avatar); err != nil {
		login.Logout()
		return nil, prefix.Errorf("pb: the realm's avatar can not be called: %w", err)
	}
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		login.Logout()
		return nil, broker.ErrClosed
	}
	if len(c.sessions) >= maxSessions {
		c.mu.Unlock()
		login.Logout()
		return nil, fmt.Errorf("%w: %d logins over this connection",
			broker.ErrOverloaded, maxSessions)
	}
	s := &session{login: login}
	c.sessions = append(c.sessions, s)
	c.mu.Unlock()
	c.trust()
	return s, nil
}

// checkAvatar says why avatar can not be one. Each login has an avatar, a queue and a logout of its
// own, and lent ones of a type without fields have one address in Go: they are one object.
func checkAvatar(avatar any) error {
	s, err := surfaceOf(avatar)
	if err != nil {
		return err
	}
	if s.typ.Kind() == reflect.Pointer && s.typ.Elem().Size() == 0 {
		return fmt.Errorf("pb: a %s has no fields, so Go gives all of them one address and two "+
			"logins would be one object "+
			"to peers; embed pb.Avatar in the type or give it a field, such as the name of the "+
			"account", s.typ)
	}
	return nil
}

// maxSessions is how many logins a connection has at once.
const maxSessions = 64

// A session is a login that lasts as long as the peer holds the avatar. As the
// answer to the login it crosses as the avatar does.
type session struct {
	login  *cred.Login
	export uint64 // as what the avatar was sent; 0 before. Guarded by Conn.mu
}

// JellyReference marks a session as a value that crosses by reference.
func (*session) JellyReference() {}

// lendAvatar writes the reference to the avatar. The peer can not release it
// before it has left.
func (c *Conn) lendAvatar(e *jelly.Encoder, s *session) error {
	id, err := c.broker.Export(identityOf(s.login.Avatar), export(s.login.Avatar, c.around))
	c.mu.Lock()
	s.export = id
	c.mu.Unlock()
	if err != nil {
		c.logout(func(o *session) bool { return o == s })
		return err
	}
	e.EncodeRef(jelly.Ref{Kind: jelly.RefExport, ID: id})
	return nil
}

// released is told that the peer holds no reference to an object any more.
func (c *Conn) released(id uint64) {
	c.logout(func(s *session) bool { return s.export == id })
}

// logout ends the sessions that which says yes to. Logout is the realm's code,
// which must not hold up the connection.
func (c *Conn) logout(which func(*session) bool) {
	c.mu.Lock()
	var over []*session
	c.sessions = slices.DeleteFunc(c.sessions, func(s *session) bool {
		gone := which(s)
		if gone {
			over = append(over, s)
		}
		return gone
	})
	if len(over) > 0 && len(c.sessions) == 0 && c.guest {
		c.admitted = false
		c.shut.Store(true)
	}
	c.mu.Unlock()
	for _, s := range over {
		if !c.node.spawn(s.login.Logout) { // ends with Logout
			s.login.Logout() // the node is closing, and so is the connection
		}
	}
}

// Avatar is what the peer logged in as, the last time; nil before, and when it
// has let go of the avatar.
func (c *Conn) Avatar() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.sessions); n > 0 {
		return c.sessions[n-1].login.Avatar
	}
	return nil
}

func (c *Conn) isAvatar(obj any) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		if s.login.Avatar == obj {
			return true
		}
	}
	return false
}
