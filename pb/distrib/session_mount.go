package distrib

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"

	"perspective/pb"
)

// renewedCookie begins the name of the cookie that makes of a front's session another one, for one
// mount alone: a back end cannot change the front's cookie, which is everybody's. The rest of the
// name is made from the key, so that mounts whose cookies are shared do not meet.
const renewedCookie = "pb-session-"

// A keyedSource is a browser whose cookie the front has, which gives a key made from it. key is
// what came with the request: nothing, the key, or it and that of the session from before the
// login.
type keyedSource struct {
	w      http.ResponseWriter
	r      *http.Request
	secure bool
	path   string // of renewedCookie; empty: the front knows it
	key    []byte
	ask    func() ([]byte, error) // gets a key from the front

	salt string // what this response puts into renewedCookie
}

func (k *keyedSource) token() (token, before string) {
	if len(k.key) < sessionKeyBytes {
		return "", ""
	}
	key, rest := k.key[:sessionKeyBytes], k.key[sessionKeyBytes:]
	salt := k.salt
	if salt == "" {
		salt = k.saltOf(key)
		if len(rest) == sessionKeyBytes {
			before = tokenOf(rest, []byte(k.saltOf(rest)))
		}
	}
	return tokenOf(key, []byte(salt)), before
}

// saltOf returns what the request's renewedCookie says for a key.
func (k *keyedSource) saltOf(key []byte) string {
	c, err := k.r.Cookie(renewedName(key))
	if err != nil || len(c.Value) != saltLen {
		return ""
	}
	return c.Value
}

func renewedName(key []byte) string { return renewedCookie + tokenOf(key)[:8] }

func (k *keyedSource) begin() (string, error) {
	key, err := k.ask()
	if err != nil {
		return "", err
	}
	k.key = key
	token, _ := k.token()
	return token, nil
}

// saltLen is the length of what renew puts into renewedCookie.
const saltLen = 22

func (k *keyedSource) renew() (string, error) {
	if w, ok := k.w.(*responseWriter); ok && w.begun() {
		return "", ErrSessionLate
	}
	if len(k.key) < sessionKeyBytes {
		if _, err := k.begin(); err != nil {
			return "", err
		}
	}
	var salt [16]byte
	_, _ = rand.Read(salt[:]) // it never fails
	k.salt = base64.RawURLEncoding.EncodeToString(salt[:])
	//nolint:gosec // Secure is what the connection is
	addCookie(k.w.Header(), (&http.Cookie{
		Name:     renewedName(k.key[:sessionKeyBytes]),
		Value:    k.salt,
		Path:     k.path,
		HttpOnly: true,
		Secure:   k.secure,
		SameSite: http.SameSiteLaxMode,
	}).String())
	token, _ := k.token()
	return token, nil
}

// session returns the session of a request that the front has sent. It is made for the first that
// asks.
func (w *responseWriter) session() *Session {
	if s := w.ctx.session.Load(); s != nil {
		return s
	}
	s := &Session{sessions: w.object.sessions, ctx: &w.ctx, source: &keyedSource{
		w: w, r: &w.request, secure: w.secure, key: w.sessionKeys, ask: w.beginSession}}
	w.ctx.session.CompareAndSwap(nil, s)
	return w.ctx.session.Load()
}

// beginSession asks the front for a session.
func (w *responseWriter) beginSession() ([]byte, error) {
	if w.begun() {
		return nil, ErrSessionLate
	}
	conn := pb.ConnFrom(w.ctx.base)
	if conn == nil {
		return nil, ErrSessionLate
	}
	// The note tells the front which exchange it is; until then it keeps no list of those that have
	// no session, which nearly all are.
	if err := pb.Note(w.ctx.base, noteSession); err != nil {
		return nil, err
	}
	return pb.Do[[]byte](w.ctx.base, conn.Root(), "Session", w.id)
}

// begun says whether the header was written.
func (w *responseWriter) begun() bool {
	w.lock()
	defer w.unlock()
	return w.status != 0 || w.over
}

// sessionKeys reads the keys of a request.
func (p *parser) sessionKeys() []byte {
	b := p.bytes()
	if len(b) == 0 {
		return nil
	}
	if n := len(b); n != sessionKeyBytes && n != 2*sessionKeyBytes {
		p.fail(fmt.Errorf("distrib: a session's key of %d bytes", n))
		return nil
	}
	return bytes.Clone(b)
}
