package distrib

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"sync"

	"perspective/pb"
)

var (
	// ErrNoSession comes from changing the session of a request that has none: it did not come
	// through Sessions.Handler, a Mount or a Site.
	ErrNoSession = errors.New("distrib: this request has no session: serve it through " +
		"distrib.Sessions.Handler or a distrib.Mount")
	// ErrSessionLate comes from the first change of a session, and from Renew, once the header of
	// the response was written: the browser can get no cookie any more.
	ErrSessionLate = errors.New("distrib: the response has begun, so its client can get no new " +
		"session: change it before the header is written")
	// ErrSessionTooLarge comes from a change that would make a session larger than
	// Sessions.SessionBytes.
	ErrSessionTooLarge = errors.New("distrib: the session is too large")

	errSessionsClosed = errors.New("distrib: the sessions are closed")
)

// A Session is what a site keeps of one browser between its requests: values under names, see
// SessionValue. It begins with the first value that is put into it, which sets a cookie, and ends
// when nobody has used it for Sessions.Idle, or with Destroy. A Session shows what was there when
// it was first asked, and what was put into it since; it is used while its handler runs, by several
// goroutines if need be. The zero value keeps nothing.
type Session struct {
	sessions *Sessions       // nil: nothing is kept
	source   sessionSource   // nil: of a session that has expired
	ctx      context.Context //nolint:containedctx // a session is of one request

	mu     sync.Mutex
	loaded bool
	values sessionValues
}

// A sessionSource says under which token a session is kept, and has the browser know it. Its
// methods are called by one goroutine at a time.
type sessionSource interface {
	// token is that of the request, empty if it came without; before is where its session lay until
	// its user logged in, and empty otherwise.
	token() (token, before string)
	// begin gives a token to a browser without one, and renew gives it another.
	begin() (string, error)
	renew() (string, error)
}

// SessionOf returns the session of a request: behind a front, in the handler of a Mount or a Site's
// own, or anywhere within Sessions.Handler. It is never nil; of any other request it keeps nothing.
func SessionOf(r *http.Request) *Session {
	if s, ok := r.Context().Value(sessionContextKey{}).(*Session); ok {
		return s
	}
	return &Session{ctx: r.Context()}
}

type sessionContextKey struct{}

// A SessionValue names one value of a session and says its type, which encoding/json must know. A
// constant is best:
//
//	const visits distrib.SessionValue[int] = "visits"
//
//	n, _ := visits.Get(distrib.SessionOf(r))
//	err := visits.Put(distrib.SessionOf(r), n+1)
type SessionValue[T any] string

// Get returns the value; false if there is none, or one of another type. That a store cannot be
// read goes to Sessions.Logger, and looks as if there were none.
func (v SessionValue[T]) Get(s *Session) (T, bool) {
	var value T
	b, ok := s.get(string(v))
	if !ok || json.Unmarshal(b, &value) != nil {
		var none T
		return none, false
	}
	return value, true
}

// Put sets the value. It is kept when Put returns, so that a request which the response brings
// about finds it. The errors are ErrNoSession, ErrSessionLate, ErrSessionTooLarge, those of
// encoding/json and those of the store.
//
// Of two requests that put the same value the last one wins; neither undoes what the other puts
// under another name.
func (v SessionValue[T]) Put(s *Session, value T) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.change(sessionChange{set: sessionValues{string(v): b}})
}

// Delete removes the value. A session without values ends.
func (v SessionValue[T]) Delete(s *Session) error {
	if _, ok := s.get(string(v)); !ok {
		return nil
	}
	return s.change(sessionChange{set: sessionValues{string(v): nil}})
}

// Destroy ends the session and forgets its values. What is put into it afterwards begins another.
func (s *Session) Destroy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions == nil || s.source == nil {
		return nil
	}
	s.yield()
	s.values, s.loaded = nil, true
	token, before := s.source.token()
	var errs []error
	for _, t := range []string{token, before} {
		if t != "" {
			_, err := s.sessions.keeper().change(t, sessionChange{clear: true})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Renew keeps the values and gives the browser another id: who knows the old one has nothing of
// them any more (session fixation). A handler that logs a user in by itself calls it first; a
// Site's Login does so too. The errors are those of Put.
func (s *Session) Renew() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions == nil || s.source == nil {
		return ErrNoSession
	}
	s.load()
	old, _ := s.source.token()
	token, err := s.source.renew()
	if err != nil || len(s.values) == 0 {
		return err
	}
	s.yield()
	return s.move(old, token)
}

// move takes the values to another token. Needs mu.
func (s *Session) move(from, to string) error {
	k := s.sessions.keeper()
	if _, err := k.change(to, sessionChange{clear: true, set: s.values}); err != nil {
		return err
	}
	if from == "" {
		return nil
	}
	_, err := k.change(from, sessionChange{clear: true})
	return err
}

func (s *Session) get(name string) (json.RawMessage, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load()
	b, ok := s.values[name]
	return b, ok
}

// load reads the values, once. Needs mu.
func (s *Session) load() {
	if s.loaded || s.sessions == nil || s.source == nil {
		return
	}
	s.loaded = true
	token, before := s.source.token()
	if token == "" {
		return
	}
	s.yield()
	k := s.sessions.keeper()
	var err error
	if s.values, err = k.load(token); err == nil && s.values == nil && before != "" {
		if s.values, err = k.load(before); err == nil && s.values != nil {
			err = s.move(before, token)
		}
	}
	if err != nil {
		s.sessions.logger().WarnContext(context.WithoutCancel(s.ctx), "session not read",
			"err", err)
	}
}

func (s *Session) change(c sessionChange) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions == nil || s.source == nil {
		return ErrNoSession
	}
	s.load()
	token, _ := s.source.token()
	if token == "" {
		var err error
		if token, err = s.source.begin(); err != nil {
			return err
		}
	}
	s.yield()
	if _, err := s.sessions.keeper().change(token, c); err != nil {
		return err
	}
	// Not what the store has now: a handler sees its own changes and no other's.
	values := maps.Clone(s.values)
	if values == nil {
		values = make(sessionValues, len(c.set))
	}
	for name, b := range c.set {
		if b == nil {
			delete(values, name)
		} else {
			values[name] = b
		}
	}
	s.values = values
	return nil
}

// yield lets the next request be read while a store outside is waited for.
func (s *Session) yield() {
	if s.sessions.Store != nil {
		pb.Yield(s.ctx)
	}
}

// tokenOf makes the token of what the browser, or the front, keeps secret: who reads a store learns
// no cookie.
func tokenOf(secret ...[]byte) string {
	h := sha256.New()
	for _, s := range secret {
		_, _ = h.Write(s) // a hash takes all
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
