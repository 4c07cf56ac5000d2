package distrib

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"perspective/cred"
	"perspective/internal/guard"
	"perspective/internal/lines"
)

// A LoginMethod is how users show who they are.
type LoginMethod uint8

const (
	// FormLogin, the zero value, has a page at /.pb/login.
	FormLogin LoginMethod = iota
	// BasicLogin takes the header Authorization, for programs without cookies. Browsers send it
	// with every request to the site until they are closed, so nobody can log out.
	BasicLogin
)

// String is "form" or "basic".
func (m LoginMethod) String() string {
	if m == BasicLogin {
		return "basic"
	}
	return "form"
}

// Accounts is a Realm for the Portal of a Login: the avatar of an account is its cred.AvatarID. The
// zero value is ready.
type Accounts struct{}

// RequestAvatar gives id.
func (Accounts) RequestAvatar(_ context.Context, id cred.AvatarID, _ any) (any, func(), error) {
	return id, nil, nil
}

// A Login lets users log in at the front, which alone sees passwords and cookies: back ends get
// the user's name, see UserFrom. With FormLogin the front serves /.pb/login and /.pb/logout, and
// 404 for what else begins with /.pb/.
//
// Portal is needed. Set the fields before the first request; they are only read. The methods may be
// called from several goroutines. It ends with Site.Close, and may belong to one Site.
type Login struct {
	// Portal checks credentials, slows down guessing, and is told when users log out. Its Realm may
	// be Accounts.
	Portal *cred.Portal
	// Method is how users show who they are; zero: by a form.
	Method LoginMethod
	// Title is what the form says above its fields, and what BasicLogin calls the site ("realm");
	// empty: "Log in".
	Title string
	// Page is executed with a LoginPage in place of the page that there is; nil: that one.
	Page *template.Template
	// Claims gives what back ends get of a user beside the name, by ClaimsOf: anything that
	// encoding/json can write in 4 KiB, as it travels with each request. nil: nothing.
	Claims func(*cred.Login) any
	// Idle is how long a login lasts that nobody uses, noted once a minute; zero: 30 minutes.
	Idle time.Duration
	// Count is how many users may be logged in, and UserCount how often one of them; zero: 100,000
	// and 100. Over either the login ends that nobody has used for the longest time; over
	// UserCount, of that user's.
	Count, UserCount int
	// Logger gets what goes wrong in Claims and Page; nil: slog.Default. Logins themselves go to
	// the Portal's.
	Logger *slog.Logger

	log    lines.Log
	once   sync.Once
	logins idleTable[[sha256.Size]byte, *loginRecord]
	basic  basicLogins
}

// A loginRecord is a user who is logged in.
type loginRecord struct {
	user   Identity
	login  *cred.Login
	until  time.Time // whatever happens; zero: as long as it is used
	before sessionID // the session that the client came with
	prior  time.Time // until when before counts; zero: it came with none
}

// cameWith returns the session from before the login, as long as back ends may take it over.
func (l *loginRecord) cameWith() (before sessionID, ok bool) {
	return l.before, time.Now().Before(l.prior)
}

func (l *Login) init() {
	l.once.Do(func() {
		l.logins.idle = orDefault(l.Idle, sessionIdle)
		l.logins.most = orDefault(l.Count, 100_000)
		l.logins.gone = func(_ [sha256.Size]byte, gone *loginRecord) { gone.login.Logout() }
		l.basic.init(l)
	})
}

// close logs all users out.
func (l *Login) close() {
	if l == nil {
		return
	}
	l.init()
	for _, table := range l.tables() {
		for _, gone := range table.close() {
			gone.login.Logout()
		}
	}
}

func (l *Login) tables() []*idleTable[[sha256.Size]byte, *loginRecord] {
	return []*idleTable[[sha256.Size]byte, *loginRecord]{&l.logins, &l.basic.known}
}

// Logout logs the user out wherever that is, and returns how many logins that were. Requests under
// way go on.
func (l *Login) Logout(name string) int {
	l.init()
	n := 0
	for _, table := range l.tables() {
		for _, gone := range table.takeAll(func(r *loginRecord) bool {
			return r.user.Name == name
		}) {
			gone.login.Logout()
			n++
		}
	}
	return n
}

// find returns who is logged in by the session of this id; nil: nobody. l may be nil.
func (l *Login) find(id sessionID) *loginRecord {
	if l == nil || l.Method != FormLogin {
		return nil
	}
	l.init()
	r, _ := l.logins.find(sha256.Sum256(id[:]))
	return r
}

// end logs out who is logged in by the session of this id.
func (l *Login) end(id sessionID) {
	if gone, ok := l.logins.take(sha256.Sum256(id[:])); ok {
		gone.login.Logout()
	}
}

// begin keeps a login under a new id, and ends the one that the client had.
func (l *Login) begin(r *loginRecord, id sessionID, old *visitor) {
	if old.key != nil {
		l.end(old.id)
		r.before, r.prior = old.id, time.Now().Add(l.logins.idle)
	}
	l.makeRoom(r.user.Name)
	kept := false
	l.logins.change(sha256.Sum256(id[:]), func(*loginRecord, bool) (*loginRecord, int, bool) {
		kept = true
		return r, 0, true
	})
	if !kept { // the site is closed
		r.login.Logout()
	}
}

// makeRoom ends what a user has over UserCount less one.
func (l *Login) makeRoom(name string) {
	most := orDefault(l.UserCount, 100)
	n := 0
	l.logins.each(func(r *loginRecord) {
		if r.user.Name == name {
			n++
		}
	})
	if n < most {
		return
	}
	for _, gone := range l.logins.takeAll(func(r *loginRecord) bool {
		if r.user.Name != name || n < most {
			return false
		}
		n--
		return true
	}) {
		gone.login.Logout()
	}
}

// check asks the Portal.
func (l *Login) check(
	ctx context.Context, name string, password cred.Password, peer *cred.Peer,
) (*loginRecord, error) {
	portal := l.Portal
	if portal == nil {
		portal = &cred.Portal{} // which says what is missing
	}
	login, err := portal.Login(ctx,
		cred.UsernamePassword{Username: name, Password: password}, peer, nil)
	if err != nil {
		l.tell(ctx, err)
		return nil, err
	}
	if len(login.ID) > maxUser {
		login.Logout()
		l.tell(ctx, fmt.Errorf("distrib: an account's name of %d bytes, at most %d",
			len(login.ID), maxUser))
		return nil, cred.ErrNoAvatar
	}
	r := &loginRecord{login: login, user: Identity{
		Name:   string(login.ID),
		Method: l.Method.String(),
		Since:  time.Now().Truncate(time.Second),
	}}
	if r.user.claims, err = l.claims(login); err != nil {
		login.Logout()
		lines.Fault(ctx, l.logger(), "Login.Claims", err)
		return nil, err
	}
	return r, nil
}

// tell logs what is no fault of the user's.
func (l *Login) tell(ctx context.Context, err error) {
	for _, told := range []error{cred.ErrUnauthorized, cred.ErrTooManyTries, cred.ErrBusy} {
		if errors.Is(err, told) {
			return // by the Portal
		}
	}
	if ctx.Err() == nil {
		l.logger().ErrorContext(ctx, "the login does not work", "err", err)
	}
}

// What travels with each request of a user's is bounded: the name, and the claims as JSON.
const (
	maxUser   = 256
	maxClaims = 4 << 10
)

func (l *Login) claims(login *cred.Login) (b []byte, err error) {
	if l.Claims == nil {
		return nil, nil
	}
	err = guard.Run(func() (err error) {
		b, err = json.Marshal(l.Claims(login))
		return err
	})
	if err == nil && len(b) > maxClaims {
		err = fmt.Errorf("distrib: Login.Claims gave %d bytes of JSON, at most %d", len(b),
			maxClaims)
	}
	return b, err
}

func (l *Login) logger() *slog.Logger { return l.log.Logger(l.Logger) }

// peerOf returns what the Portal may know of the client.
func peerOf(c client) *cred.Peer {
	p := &cred.Peer{Secure: c.secure}
	if addr, err := netip.ParseAddrPort(c.addr); err == nil {
		p.Addr = net.TCPAddrFromAddrPort(addr)
	}
	return p
}

// admitted says whether the request may pass on; otherwise it has got its answer.
func (v *visit) admitted(rt *route) bool {
	needed := rt.RequireLogin || len(rt.Require) > 0
	if !v.authenticate(needed) {
		return false
	}
	user := v.from.user()
	if user != nil {
		v.seen.belongsTo(user.Name)
	}
	switch {
	case !needed:
		return true
	case user == nil:
		v.askForLogin()
		return false
	case len(rt.Require) > 0 && !slices.Contains(rt.Require, user.Name):
		noStore(v.w.Header())
		v.refuse(http.StatusForbidden, "forbidden: this is for other users")
		return false
	}
	return true
}

// askForLogin sends a browser that wants a page to the form, and refuses everything else.
func (v *visit) askForLogin() {
	l, h, r := v.site.Login, v.w.Header(), v.r
	noStore(h)
	switch {
	case l == nil:
		v.refuse(http.StatusForbidden, "forbidden: this site has no login")
	case l.Method == BasicLogin:
		h["Www-Authenticate"] = []string{l.challenge()}
		v.refuse(http.StatusUnauthorized, "log in first")
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && wantsPage(r):
		h["Location"] = []string{loginPath + "?" + nextQuery(r.RequestURI)}
		v.refuse(http.StatusSeeOther, "log in first")
	default:
		v.refuse(http.StatusUnauthorized, "log in first")
	}
}

// wantsPage says whether the client takes HTML.
func wantsPage(r *http.Request) bool {
	return hasToken(r.Header["Accept"], "text/html")
}

// noStore keeps an answer that depends on who asks out of all caches.
func noStore(h http.Header) {
	h["Cache-Control"] = []string{"no-store"}
	if !listed(h["Vary"], "Cookie") {
		h["Vary"] = append(h["Vary"], "Cookie")
	}
}

// keeps returns the route as it is for a request whose header Authorization is for the front alone.
// l may be nil.
func (l *Login) keeps(rt *route, r *http.Request) *route {
	if l == nil || l.Method != BasicLogin || !rt.Authorization || !hasBasic(r) {
		return rt
	}
	kept := *rt
	kept.Authorization = false
	return &kept
}

func hasBasic(r *http.Request) bool {
	for _, v := range r.Header["Authorization"] {
		if hasPrefixFold(strings.TrimSpace(v), "basic ") {
			return true
		}
	}
	return false
}
