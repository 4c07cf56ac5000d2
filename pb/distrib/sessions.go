package distrib

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"perspective/internal/guard"
	"perspective/internal/lines"
)

// The names of the session cookie: over TLS, where browsers take it from no other host and no plain
// connection, and without.
const (
	secureCookie = "__Host-s"
	plainCookie  = "s"
)

// sessionIdle is how long a session lasts that nobody uses.
const sessionIdle = 30 * time.Minute

// Sessions keep the sessions of a site's browsers. A program that is served directly wraps its
// handler:
//
//	http.ListenAndServe(addr, (&distrib.Sessions{}).Handler(handler))
//
// Behind a front the same line works, and is not needed: a Mount has sessions of its own. The
// cookie is then the front's, and this process never sees it; it gets a key made from it that is
// good for this mount alone.
//
// The zero value keeps sessions in memory. Set the fields before the first use; they are only read.
// The methods may be called from several goroutines. Sessions end with Close, or by themselves once
// every session has expired.
type Sessions struct {
	// Store keeps the sessions; nil: this process's memory, so several instances of a back end have
	// sessions of their own each, and a client must stay with one (sticky).
	Store SessionStore
	// Idle is how long a session lasts that nobody uses, noted once a minute; zero: 30 minutes.
	Idle time.Duration
	// Count, Bytes and SessionBytes bound what is kept in memory: sessions, all of them together,
	// and one, which holds for a Store too. Zero: 100,000, 64 MiB and 64 KiB. Over the first two
	// the session makes room that nobody has used for the longest time.
	Count, Bytes, SessionBytes int
	// Expired gets each session in memory that has expired or made room, to be read; nil: nobody
	// hears of it. A Store removes what has expired without a word.
	Expired func(*Session)
	// Logger gets the errors of reading a Store; nil: slog.Default.
	Logger *slog.Logger

	log  lines.Log
	once sync.Once
	kept sessionKeeper
}

// Handler gives each request that h serves a session, see SessionOf. The cookie is set by the first
// value that is put into it, and must be so before h writes the header of its response.
func (s *Sessions) Handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session := &Session{sessions: s}
		outer, ok := r.Context().Value(sessionContextKey{}).(*Session)
		if ok { // the front has the cookie
			session.source, session.ctx = outer.source, outer.ctx
		} else {
			session.source = &cookieSource{w: w, r: r}
			session.ctx = r.Context()
		}
		ctx := context.WithValue(r.Context(), sessionContextKey{}, session)
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Close ends what looks after the sessions, and forgets those in memory, without a word to Expired.
// Nothing is kept from then on.
func (s *Sessions) Close() error {
	s.keeper().close()
	return nil
}

func (s *Sessions) keeper() sessionKeeper {
	s.once.Do(func() {
		each := orDefault(s.SessionBytes, 64<<10)
		idle := orDefault(s.Idle, sessionIdle)
		if s.Store != nil {
			s.kept = &storedSessions{store: s.Store, idle: idle, each: each}
			return
		}
		m := &memorySessions{each: each}
		m.table.idle = idle
		m.table.most = orDefault(s.Count, 100_000)
		m.table.size = orDefault(s.Bytes, 64<<20)
		if s.Expired != nil {
			m.table.gone = s.expired
		}
		s.kept = m
	})
	return s.kept
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

func (s *Sessions) expired(_ string, values sessionValues) {
	ctx := context.Background()
	err := guard.Run(func() error {
		s.Expired(&Session{values: values, loaded: true, ctx: ctx})
		return nil
	})
	lines.Fault(ctx, s.logger(), "Sessions.Expired", err)
}

func (s *Sessions) logger() *slog.Logger { return s.log.Logger(s.Logger) }

// A cookieSource is a browser whose cookie this process sets itself.
type cookieSource struct {
	w  http.ResponseWriter
	r  *http.Request
	id string // made for this response; empty: none was
}

func (c *cookieSource) token() (token, before string) {
	id := c.id
	if id == "" {
		if id = sessionCookie(c.r.Header["Cookie"], c.r.TLS != nil); id == "" {
			return "", ""
		}
	}
	return tokenOf([]byte(id)), ""
}

func (c *cookieSource) begin() (string, error) { return c.renew() }

func (c *cookieSource) renew() (string, error) {
	c.id = encodeID(newSessionID([keyIDBytes]byte{}))
	addCookie(c.w.Header(), makeCookie(c.id, c.r.TLS != nil))
	token, _ := c.token()
	return token, nil
}

// A sessionID is what a session cookie says: which of the front's keys belongs to it, and 128
// random bits.
type sessionID [keyIDBytes + 16]byte

const keyIDBytes = 2

func newSessionID(key [keyIDBytes]byte) (id sessionID) {
	copy(id[:], key[:])
	_, _ = rand.Read(id[keyIDBytes:]) // it never fails
	return id
}

func encodeID(id sessionID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func decodeID(s string) (id sessionID, ok bool) {
	var b [len(id) + 1]byte
	if len(s) != base64.RawURLEncoding.EncodedLen(len(id)) {
		return id, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(s))
	copy(id[:], b[:])
	return id, err == nil && n == len(id)
}

// sessionCookie returns the value of the session cookie; empty where there is none, where it is
// garbage, and where two of them differ: one may have been planted.
func sessionCookie(headers []string, secure bool) string {
	name := plainCookie
	if secure {
		name = secureCookie
	}
	found := ""
	for _, h := range headers {
		for c := range strings.SplitSeq(h, ";") {
			key, value, _ := strings.Cut(strings.TrimSpace(c), "=")
			if key != name {
				continue
			}
			if _, ok := decodeID(value); !ok || found != "" && value != found {
				return ""
			}
			found = value
		}
	}
	return found
}

// makeCookie returns the session cookie for the browser. It lasts as long as the browser runs; the
// session ends earlier if it is not used.
func makeCookie(id string, secure bool) string {
	if secure {
		return secureCookie + "=" + id + "; Path=/; HttpOnly; Secure; SameSite=Lax"
	}
	return plainCookie + "=" + id + "; Path=/; HttpOnly; SameSite=Lax"
}

// addCookie sets a session cookie, in place of one that the same response sets, and sees to it that
// no cache shares it.
func addCookie(h http.Header, cookie string) {
	name, _, _ := strings.Cut(cookie, "=")
	kept := h["Set-Cookie"][:0:0]
	for _, c := range h["Set-Cookie"] {
		if other, _, _ := strings.Cut(c, "="); other != name {
			kept = append(kept, c)
		}
	}
	h["Set-Cookie"] = append(kept, cookie)
	if cc := h["Cache-Control"]; !hasToken(cc, "private") && !hasToken(cc, "no-store") {
		h["Cache-Control"] = []string{"private"}
	}
}
