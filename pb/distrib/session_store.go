package distrib

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"perspective/internal/guard"
	"perspective/internal/prefix"
)

// A SessionStore keeps sessions outside of the process, under a token each that cannot be guessed.
// It is the Store of github.com/alexedwards/scs/v2, so its stores for Redis and SQL fit. Its
// methods are called from several goroutines.
type SessionStore interface {
	// Find returns what is kept under token; found is false if that is nothing, or has expired.
	Find(token string) (b []byte, found bool, err error)
	// Commit keeps b under token until expiry, in place of what was there.
	Commit(token string, b []byte, expiry time.Time) (err error)
	// Delete forgets what is kept under token, which may be nothing.
	Delete(token string) (err error)
}

// sessionValues are those of one session, encoded. They are never changed, only replaced.
type sessionValues map[string]json.RawMessage

func (v sessionValues) size() int {
	n := 0
	for key, b := range v {
		n += len(key) + len(b) + sessionValueCost
	}
	return n
}

// sessionValueCost and sessionCost are what a value and a session count beside their bytes.
const (
	sessionValueCost = 64
	sessionCost      = 256
)

// A sessionChange is done to a session at once.
type sessionChange struct {
	clear bool
	set   sessionValues // a nil value deletes
}

// apply returns the values after the change. It is an error if they are more than most bytes.
func (c sessionChange) apply(old sessionValues, most int) (sessionValues, error) {
	made := make(sessionValues, len(old)+len(c.set))
	if !c.clear {
		maps.Copy(made, old)
	}
	for key, b := range c.set {
		if b == nil {
			delete(made, key)
		} else {
			made[key] = b
		}
	}
	if n := made.size(); n > most && len(c.set) > 0 {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrSessionTooLarge, n, most)
	}
	return made, nil
}

// A sessionKeeper is where a Sessions has its sessions.
type sessionKeeper interface {
	// load returns the values of a session, which counts as use of it; nil: there is none.
	load(token string) (sessionValues, error)
	// change changes a session, which begins with its first value and ends without any.
	change(token string, c sessionChange) (sessionValues, error)
	close()
}

// memorySessions keeps sessions in the process. Changes of one session come one after another, each
// whole.
type memorySessions struct {
	table idleTable[string, sessionValues]
	each  int // bytes of one
}

func (m *memorySessions) load(token string) (sessionValues, error) {
	values, _ := m.table.find(token)
	return values, nil
}

func (m *memorySessions) change(
	token string, c sessionChange,
) (values sessionValues, err error) {
	m.table.change(token, func(old sessionValues, ok bool) (sessionValues, int, bool) {
		if values, err = c.apply(old, m.each); err != nil {
			return old, old.size() + sessionCost, ok
		}
		return values, values.size() + sessionCost, len(values) > 0
	})
	return values, err
}

func (m *memorySessions) close() { m.table.close() }

// storedSessions keeps sessions in a SessionStore. The changes of one session that come from this
// process at the same time are made together, so none is lost; of two processes the last one wins.
type storedSessions struct {
	store SessionStore
	idle  time.Duration
	each  int

	mu      sync.Mutex
	closed  bool
	pending map[string][]*pendingChange // of the sessions that a goroutine writes
	writing sync.WaitGroup
}

// A pendingChange waits for its turn. The result is there when done is closed.
type pendingChange struct {
	sessionChange

	done   chan struct{}
	values sessionValues
	err    error
}

// A storedSession is what a SessionStore keeps.
type storedSession struct {
	Used   int64         `json:"used"` // in seconds, to touchEvery
	Values sessionValues `json:"values"`
}

func (s *storedSessions) load(token string) (sessionValues, error) {
	stored, err := s.find(token)
	if err != nil || stored == nil {
		return nil, err
	}
	if time.Since(time.Unix(stored.Used, 0)) >= min(touchEvery, s.idle/4) {
		return s.change(token, sessionChange{})
	}
	return stored.Values, nil
}

func (s *storedSessions) find(token string) (stored *storedSession, err error) {
	var b []byte
	var found bool
	err = guard.Run(func() (err error) {
		b, found, err = s.store.Find(token)
		return err
	})
	if err != nil || !found {
		return nil, prefixed(err)
	}
	stored = new(storedSession)
	if err := json.Unmarshal(b, stored); err != nil {
		return nil, prefix.Errorf("distrib: what the session store has is no session: %w", err)
	}
	if time.Since(time.Unix(stored.Used, 0)) > s.idle+time.Second {
		return nil, nil // for a store that does not look at the time
	}
	return stored, nil
}

func prefixed(err error) error {
	if err == nil {
		return nil
	}
	return prefix.Errorf("distrib: session store: %w", err)
}

func (s *storedSessions) change(token string, c sessionChange) (sessionValues, error) {
	p := &pendingChange{sessionChange: c, done: make(chan struct{})}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errSessionsClosed
	}
	before, busy := s.pending[token]
	if s.pending == nil {
		s.pending = make(map[string][]*pendingChange)
	}
	s.pending[token] = append(before, p)
	if !busy {
		s.writing.Go(func() { s.write(token) }) // ends when no change of the session waits
	}
	s.mu.Unlock()
	<-p.done
	return p.values, p.err
}

// write makes the changes of one session until there are none.
func (s *storedSessions) write(token string) {
	for {
		s.mu.Lock()
		batch := s.pending[token]
		if len(batch) == 0 {
			delete(s.pending, token)
			s.mu.Unlock()
			return
		}
		s.pending[token] = nil
		s.mu.Unlock()
		s.commit(token, batch)
		for _, p := range batch {
			close(p.done)
		}
	}
}

// commit makes changes at once.
func (s *storedSessions) commit(token string, batch []*pendingChange) {
	stored, err := s.find(token)
	if stored == nil {
		stored = new(storedSession)
	}
	values := stored.Values
	for _, p := range batch {
		var made sessionValues
		if err == nil {
			made, p.err = p.apply(values, s.each)
		}
		if err == nil && p.err == nil {
			values = made
		}
	}
	if err == nil {
		err = s.put(token, values)
	}
	for _, p := range batch {
		p.values = values
		if p.err = errors.Join(p.err, err); p.err != nil {
			p.values = nil
		}
	}
}

func (s *storedSessions) put(token string, values sessionValues) error {
	if len(values) == 0 {
		return prefixed(guard.Run(func() error { return s.store.Delete(token) }))
	}
	now := time.Now()
	b, err := json.Marshal(storedSession{Used: now.Unix(), Values: values})
	if err != nil {
		return prefixed(err)
	}
	return prefixed(guard.Run(func() error { return s.store.Commit(token, b, now.Add(s.idle)) }))
}

func (s *storedSessions) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.writing.Wait()
}
