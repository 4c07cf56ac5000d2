package distrib

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A readySet has the links of one mount that serve, one for each instance. It is never changed,
// only replaced, so that a request finds its link without a lock. nil is the empty set, and the
// only one.
type readySet struct {
	links []*link
}

func (s *readySet) size() int {
	if s == nil {
		return 0
	}
	return len(s.links)
}

func (s *readySet) has(l *link) bool { return s != nil && slices.Contains(s.links, l) }

// choose returns the one of two links picked at random that has less to do; nil: none serves. Two
// are enough to keep all about even, and no request sends the next ones after it to the one link
// that looked idle.
func (s *readySet) choose() *link {
	if s == nil {
		return nil
	}
	n := len(s.links)
	if n == 1 {
		return s.links[0]
	}
	i, j := mathrand.IntN(n), mathrand.IntN(n-1) //nolint:gosec // nothing is to be kept secret
	if j >= i {
		j++
	}
	if a, b := s.links[i], s.links[j]; a.load() <= b.load() {
		return a
	}
	return s.links[j]
}

// with returns a set that has l in the place of its instance's link, and that one.
func (s *readySet) with(l *link) (set *readySet, before *link) {
	set = &readySet{}
	if s != nil {
		set.links = slices.Clone(s.links)
	}
	for i, old := range set.links {
		if old.instance == l.instance {
			set.links[i] = l
			return set, old
		}
	}
	set.links = append(set.links, l)
	return set, nil
}

// without returns a set that does not have l.
func (s *readySet) without(l *link) *readySet {
	if !s.has(l) {
		return s
	}
	if len(s.links) == 1 {
		return nil
	}
	i := slices.Index(s.links, l)
	return &readySet{slices.Concat(s.links[:i], s.links[i+1:])}
}

// load is how many requests use the link.
func (l *link) load() int64 {
	if n := l.users.n.Load(); n >= 0 {
		return n
	}
	return math.MaxInt64 // given up
}

// users count the requests that use something, without a lock, until it is given up and they have
// left.
type users struct {
	n    atomic.Int64  // less by givenUp once no more may come
	gone chan struct{} // gets a value when it is given up and none is left
}

// givenUp is far over any number of requests.
const givenUp = 1 << 40

func newUsers() users { return users{gone: make(chan struct{}, 1)} }

// enter counts one more, which leaves by leave; false: it was given up.
func (u *users) enter() bool {
	if u.n.Add(1) > 0 {
		return true
	}
	u.leave()
	return false
}

func (u *users) leave() {
	if u.n.Add(-1) == -givenUp {
		u.empty()
	}
}

// end gives it up. It is called once.
func (u *users) end() {
	if u.n.Add(-givenUp) == -givenUp {
		u.empty()
	}
}

func (u *users) empty() {
	select {
	case u.gone <- struct{}{}:
	default: // one that came too late was counted out as well
	}
}

// stickiness makes what sends a client back to an instance: the cookie's name, and its value for
// each instance, which nobody makes without the key. The value names no instance: it is compared
// with those of the instances that serve.
type stickiness struct {
	cookie string
	mount  string
	key    []byte
}

// stickiness of a mount. Its cookie has no dot, so it is neither a mount's own (~MOUNT.NAME) nor
// one that is shared, which begin with no tilde.
func (s *Site) stickiness(mount string) stickiness {
	if s.randomKey == nil {
		s.randomKey = sync.OnceValue(func() []byte {
			key := make([]byte, sha256.Size)
			_, _ = rand.Read(key) // never fails
			return key
		})
	}
	k := stickiness{cookie: "~" + cookieMount(mount) + "!", mount: mount, key: s.StickyKey}
	if k.key == nil {
		k.key = s.randomKey()
	}
	return k
}

func (k *stickiness) token(instance string) string {
	mac := hmac.New(sha256.New, k.key)
	_, _ = mac.Write([]byte("distrib sticky\x00" + k.mount + "\x00" + instance)) // never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// pick returns the link for the request, nil if none serves.
func (ex *exchange) pick() *link {
	set := ex.back.ready.Load()
	if ex.route.Sticky && set != nil {
		for _, l := range set.links {
			if ex.stuckTo(l) {
				return l
			}
		}
	}
	return set.choose()
}

// stuckTo says whether the client has the cookie of the link's instance.
func (ex *exchange) stuckTo(l *link) bool {
	for _, header := range ex.r.Header["Cookie"] {
		for c := range strings.SplitSeq(header, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(c), "=")
			if name == l.back.sticky.cookie &&
				subtle.ConstantTimeCompare([]byte(value), []byte(l.token)) == 1 {
				return true
			}
		}
	}
	return false
}

// stick gives the client the cookie of the instance that answers.
func (ex *exchange) stick(l *link) {
	if !ex.route.Sticky || ex.stuckTo(l) {
		return
	}
	//nolint:gosec // Secure where the client came over TLS: otherwise it would not come back
	c := http.Cookie{Name: l.back.sticky.cookie, Value: l.token, Path: ex.route.cookies.path,
		HttpOnly: true, Secure: ex.req.bits&bitSecure != 0, SameSite: http.SameSiteLaxMode}
	h := ex.w.Header()
	h["Set-Cookie"] = append(h["Set-Cookie"], c.String())
}
