package distrib

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"perspective/cred"
)

// basicLife is how long credentials that come with every request are believed without asking the
// Portal again.
const basicLife = 15 * time.Minute

// basicLogins are the credentials that were found right lately, so that the work on passwords is
// done once and not for each request. They are kept as a MAC under a key of this process.
type basicLogins struct {
	known idleTable[[sha256.Size]byte, *loginRecord]
	key   []byte

	mu      sync.Mutex
	pending map[[sha256.Size]byte]*basicCheck
}

// A basicCheck is credentials that the Portal looks at, and what came of it once done is closed.
type basicCheck struct {
	done   chan struct{}
	record *loginRecord
	err    error
}

func (b *basicLogins) init(l *Login) {
	b.known.idle = l.logins.idle
	b.known.most = min(l.logins.most, 10_000)
	b.known.gone = l.logins.gone
	b.key = make([]byte, 32)
	_, _ = rand.Read(b.key) // it never fails
	b.pending = make(map[[sha256.Size]byte]*basicCheck)
}

func (b *basicLogins) mac(name, password string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, b.key)
	_, _ = h.Write([]byte(strconv.Itoa(len(name)) + " " + name + password)) // a hash takes all
	h.Sum(sum[:0])
	return sum
}

// find returns what is known of credentials, if it is not too old.
func (b *basicLogins) find(sum [sha256.Size]byte) *loginRecord {
	r, ok := b.known.find(sum)
	if !ok || time.Now().Before(r.until) {
		return r
	}
	if gone, ok := b.known.take(sum); ok {
		gone.login.Logout()
	}
	return nil
}

// login returns who has these credentials. Requests that come with the same ones at the same time
// are one question to the Portal.
func (l *Login) basicLogin(
	ctx context.Context, name, password string, peer *cred.Peer,
) (*loginRecord, error) {
	b := &l.basic
	sum := b.mac(name, password)
	if r := b.find(sum); r != nil {
		return r, nil
	}
	b.mu.Lock()
	c := b.pending[sum]
	if c != nil {
		b.mu.Unlock()
		select {
		case <-c.done:
			return c.record, c.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c = &basicCheck{done: make(chan struct{}), err: cred.ErrBusy}
	b.pending[sum] = c
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.pending, sum)
		b.mu.Unlock()
		close(c.done)
	}()
	if r := b.find(sum); r != nil { // the one before us was just done
		c.record, c.err = r, nil
		return r, nil
	}
	// The others wait for the answer too, so it does not end with this client.
	c.record, c.err = l.check(context.WithoutCancel(ctx), name, cred.Password(password), peer)
	if c.err != nil {
		return nil, c.err
	}
	c.record.until = time.Now().Add(basicLife)
	kept := false
	b.known.change(sum, func(*loginRecord, bool) (*loginRecord, int, bool) {
		kept = true
		return c.record, 0, true
	})
	if !kept { // the site is closed
		c.record.login.Logout()
	}
	return c.record, nil
}

// authenticate looks at the header Authorization, where that is how users log in. Where no login is
// needed it counts only if it is known already: passwords are not worked on then. It is false if
// the request has got its answer.
func (v *visit) authenticate(needed bool) bool {
	l := v.site.Login
	if l == nil || l.Method != BasicLogin || len(v.r.Header["Authorization"]) != 1 {
		return true
	}
	name, password, ok := v.r.BasicAuth()
	if !ok {
		return true
	}
	l.init()
	if !needed {
		v.from.login = l.basic.find(l.basic.mac(name, password))
		return true
	}
	login, err := l.basicLogin(v.r.Context(), name, password,
		peerOf(clientOf(v.r, v.site.TrustedProxies)))
	if err == nil {
		v.from.login = login
		return true
	}
	h := v.w.Header()
	noStore(h)
	status, why := loginStatus(h, err)
	if status == http.StatusUnauthorized {
		h["Www-Authenticate"] = []string{l.challenge()}
	}
	v.refuse(status, why)
	return false
}

// challenge is the header WWW-Authenticate.
func (l *Login) challenge() string {
	title := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, l.title())
	return `Basic realm="` + title + `", charset="UTF-8"`
}

func (l *Login) title() string {
	if l.Title == "" {
		return "Log in"
	}
	return l.Title
}

// loginStatus returns what a failed login is answered with, and sets Retry-After where waiting
// helps.
func loginStatus(h http.Header, err error) (status int, why string) {
	switch {
	case errors.Is(err, cred.ErrUnauthorized):
		return http.StatusUnauthorized, "unknown user or wrong password"
	case errors.Is(err, cred.ErrTooManyTries):
		wait := time.Second
		if e, ok := errors.AsType[*cred.TooManyTriesError](err); ok {
			wait = e.RetryAfter
		}
		seconds := int(math.Ceil(wait.Seconds()))
		h["Retry-After"] = []string{strconv.Itoa(max(1, seconds))}
		return http.StatusTooManyRequests, "too many wrong tries, wait before the next one"
	case errors.Is(err, cred.ErrBusy):
		h["Retry-After"] = []string{"2"}
		return http.StatusServiceUnavailable, "too many logins at once, try again"
	}
	return http.StatusInternalServerError, "the login does not work, see the site's log"
}
