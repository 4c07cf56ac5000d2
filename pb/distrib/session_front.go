package distrib

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"net/http"
	"sync"
)

// A frontKey makes the keys by which back ends keep their sessions.
type frontKey struct {
	id   [keyIDBytes]byte // which of the keys it is
	pool sync.Pool        // of hash.Hash
}

func newFrontKey(secret []byte) *frontKey {
	k := new(frontKey)
	sum := sha256.Sum256(append([]byte("distrib session key "), secret...))
	copy(k.id[:], sum[:])
	k.pool.New = func() any { return hmac.New(sha256.New, secret) }
	return k
}

// mountKey appends to b what the mount may know of a session: HMAC(secret, id ‖ user ‖ mount). It
// tells nothing of the id, nor of the key that another mount gets. With the user in it, the cookie
// alone does not open what was kept while somebody was logged in.
func (k *frontKey) mountKey(b []byte, id sessionID, user, mount string) []byte {
	h := k.pool.Get().(hash.Hash)
	h.Reset()
	var buf [256]byte
	text := append(buf[:0], id[:]...)
	text = binary.BigEndian.AppendUint32(text, uint32(len(user))) //nolint:gosec // a name's
	text = append(append(text, user...), mount...)
	_, _ = h.Write(text) // a hash takes all
	b = h.Sum(b)
	k.pool.Put(h)
	return b
}

// keys returns the Site's keys: the first is for new sessions.
func (s *Site) keys() []*frontKey {
	s.keyOnce.Do(func() {
		secrets := s.SessionKeys
		if len(secrets) == 0 {
			secret := make([]byte, 32)
			_, _ = rand.Read(secret) // it never fails
			secrets = [][]byte{secret}
		}
		for _, secret := range secrets {
			s.frontKeys = append(s.frontKeys, newFrontKey(secret))
		}
	})
	return s.frontKeys
}

// key returns the key that belongs to an id; nil: it has been given up.
func (s *Site) key(id sessionID) *frontKey {
	for _, k := range s.keys() {
		if k.id == [keyIDBytes]byte(id[:keyIDBytes]) {
			return k
		}
	}
	return nil
}

// A visitor is what the front knows of the sender of one request by its session cookie, and by its
// credentials.
type visitor struct {
	id    sessionID
	key   *frontKey // nil: it came without a session
	login *loginRecord
}

// visitorOf looks at the request's cookie.
func (s *Site) visitorOf(r *http.Request) (v visitor) {
	cookies := r.Header["Cookie"]
	if len(cookies) == 0 {
		return v
	}
	id, ok := decodeID(sessionCookie(cookies, clientOf(r, s.TrustedProxies).secure))
	if !ok {
		return v
	}
	if v.key = s.key(id); v.key != nil {
		v.id = id
		v.login = s.Login.find(id)
	}
	return v
}

// user returns what a back end may know of who is logged in; nil: nobody is.
func (v *visitor) user() *Identity {
	if v.login == nil {
		return nil
	}
	return &v.login.user
}

// sessionKeys returns what the mount gets of the visitor's session: nothing, its key, or its key
// and that of the session from before the login.
func (s *Site) sessionKeys(v *visitor, mount string) []byte {
	if v.key == nil {
		return nil
	}
	user := ""
	if v.login != nil {
		user = v.login.user.Name
	}
	b := v.key.mountKey(make([]byte, 0, 2*sessionKeyBytes), v.id, user, mount)
	if v.login != nil {
		if before, ok := v.login.cameWith(); ok {
			if k := s.key(before); k != nil {
				b = k.mountKey(b, before, "", mount)
			}
		}
	}
	return b
}

const sessionKeyBytes = sha256.Size

// A newSession is the session that a response begins: its client came without one. The zero value
// is ready; its methods may be called from several goroutines.
type newSession struct {
	mu   sync.Mutex
	made bool
	id   sessionID
	over bool // the header has been written
}

var errNoNewSession = errors.New("distrib: no such request, or its response has begun")

// begin returns the id, which the response will tell the client.
func (n *newSession) begin(k *frontKey) (sessionID, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.over {
		return n.id, errNoNewSession
	}
	if !n.made {
		n.made, n.id = true, newSessionID(k.id)
	}
	return n.id, nil
}

// end says whether the client is to get a cookie with the header that is written now.
func (n *newSession) end() (id sessionID, made bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.over = true
	return n.id, n.made
}

// beginSession gives the back end the key of a session for a client that came without.
func (ex *exchange) beginSession() ([]byte, error) {
	if ex.from.key != nil {
		return nil, errNoNewSession // it has got its key
	}
	k := ex.site.keys()[0]
	id, err := ex.session.begin(k)
	if err != nil {
		return nil, err
	}
	user := ""
	if ex.from.login != nil {
		user = ex.from.login.user.Name
	}
	return k.mountKey(nil, id, user, ex.route.Back), nil
}

// setSession sets the cookie of a session that began with this response.
func (ex *exchange) setSession(h http.Header) {
	if ex.from.key != nil {
		return
	}
	if id, made := ex.session.end(); made {
		addCookie(h, makeCookie(encodeID(id), clientOf(ex.r, ex.site.TrustedProxies).secure))
	}
}

// noteSession is the note by which a back end says that it is about to call Session for a request.
const noteSession = "session"

// offer lets the back end ask for the session of request id, until withdraw.
func (l *link) offer(id uint64, ex *exchange) {
	l.mu.Lock()
	if l.beginning == nil {
		l.beginning = make(map[uint64]*exchange)
	}
	l.beginning[id] = ex
	l.mu.Unlock()
}

func (l *link) withdraw(id uint64) {
	l.mu.Lock()
	delete(l.beginning, id)
	l.mu.Unlock()
}

// RemoteSession gives the session key of a request whose client came without a session. The back
// end has sent noteSession for it before.
func (g *gate) RemoteSession(_ context.Context, id uint64) ([]byte, error) {
	g.link.mu.Lock()
	ex := g.link.beginning[id]
	g.link.mu.Unlock()
	if ex == nil {
		return nil, errNoNewSession
	}
	return ex.beginSession()
}

// A localContext is that of a request that a handler of the front's own serves.
type localContext struct {
	context.Context //nolint:containedctx // a context is made of another one

	visit   visit
	route   *route
	once    sync.Once
	session *Session
}

// local returns the request as a handler of the front's own gets it.
func (v *visit) local(rt *route) *http.Request {
	return v.r.WithContext(&localContext{Context: v.r.Context(), visit: *v, route: rt})
}

// localMount is what stands in place of a mount's name for a handler of the front's own. No back
// end's name has a space.
func localMount(rt *route) string { return "local " + rt.Host + rt.prefix }

// Value has the user and the session beside what the request's context has.
func (c *localContext) Value(key any) any {
	switch key.(type) {
	case userContextKey:
		return c.visit.from.user()
	case sessionContextKey:
		c.once.Do(func() {
			c.session = &Session{sessions: c.visit.site.sessions(), ctx: c,
				source: &keyedSource{
					w:      c.visit.w,
					r:      c.visit.r,
					secure: clientOf(c.visit.r, c.visit.site.TrustedProxies).secure,
					path:   cmp.Or(c.route.prefix, "/"),
					key:    c.visit.site.sessionKeys(&c.visit.from, localMount(c.route)),
					ask:    c.begin,
				}}
		})
		return c.session
	}
	return c.Context.Value(key)
}

// begin gives a session to a client that came without.
func (c *localContext) begin() ([]byte, error) {
	k := c.visit.site.keys()[0]
	id := newSessionID(k.id)
	secure := clientOf(c.visit.r, c.visit.site.TrustedProxies).secure
	addCookie(c.visit.w.Header(), makeCookie(encodeID(id), secure))
	user := ""
	if u := c.visit.from.user(); u != nil {
		user = u.Name
	}
	return k.mountKey(nil, id, user, localMount(c.route)), nil
}

func (s *Site) sessions() *Sessions {
	if s.Sessions != nil {
		return s.Sessions
	}
	return &s.localSessions
}
