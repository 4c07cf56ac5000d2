package distrib

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"perspective/internal/accept"
	"perspective/internal/lines"
	"perspective/internal/prefix"
)

// ErrSiteClosed comes from Attach after Close.
var ErrSiteClosed = errors.New("distrib: the site is closed")

var errNoRoute = errors.New("distrib: no route leads")

// A Site is the front of a split web server: an http.Handler that hands each request to the back
// end, or the handler of its own, whose prefix is the longest in the request's path. What a back
// end answers is treated as hostile: it can reach no header, cookie or client that is not its own.
//
// The zero value serves 404. Set the fields before the first request; the methods may be called at
// any time from any goroutine. A Site ends with Close. Any http.Server serves it; Server and
// Clients make one with safe bounds.
type Site struct {
	// TrustedProxies are the networks whose word about a client's address counts (X-Forwarded-For
	// and X-Forwarded-Proto); empty: none.
	TrustedProxies []netip.Prefix
	// Reserved are names of cookies that are the front's own, which no back end may see or set,
	// beside "s" and those that begin with __Host- or __Secure-.
	Reserved []string
	// StickyKey signs the cookies of Route.Sticky; nil: one made at random, so that after a start
	// of the front each client is given an instance anew.
	StickyKey []byte
	// BodyGrace is how long a client may keep its request's body waiting before BodyRate counts;
	// zero: 10 s.
	BodyGrace time.Duration
	// BodyRate is how many bytes of a body each second must bring from then on; zero: 1,024,
	// negative: any number. Time in which nobody reads does not count. A client that is slower gets
	// 408, or the end of its connection.
	BodyRate int
	// WriteStall is how long a client may take nothing of a long response that has something for
	// it; zero: a minute, negative: any time. It then loses the response. A server with a
	// WriteTimeout of its own keeps to that.
	WriteStall time.Duration
	// Conns is how many connections of clients Clients takes, and ClientConns how many of one
	// address (of one /64 of IPv6); zero: 16,384 and 512. The last quarter is for addresses that
	// hold few. TrustedProxies are not bounded one by one, for theirs carry many clients.
	Conns, ClientConns int
	// Observe is told of each request once it has been served, on the request's own goroutine,
	// which waits for it: see LogTo. The record is only good until it returns. Nil: nobody is told.
	Observe func(*Record)
	// SessionKeys are secrets of 32 random bytes or so, from which the keys are made by which back
	// ends keep their sessions (SessionOf): the first is for new sessions, the others are of
	// sessions from before. nil: a random one, so that a front which starts again ends all
	// sessions.
	SessionKeys [][]byte
	// Sessions keep what SessionOf gives to the front's own handlers; nil: in memory, with the
	// defaults.
	Sessions *Sessions
	// Login lets users log in; nil: nobody can.
	Login *Login
	// ErrorPage gives the page of an answer of the front's own, with a status from 400 on, to the
	// request called id; nil, or an empty page: a line of text. A page of over 64 KiB is not sent.
	// Answers of handlers are theirs.
	ErrorPage func(r *http.Request, status int, id string) (contentType string, page []byte)
	// Logger gets what an administrator should know about back ends; nil: slog.Default.
	Logger *slog.Logger

	log         lines.Log
	table       atomic.Pointer[routeTable]
	clientConns shares

	keyOnce       sync.Once
	frontKeys     []*frontKey
	localSessions Sessions // where there are no others
	connsRefused  atomic.Uint64
	clients       clientConns
	draining      atomic.Bool // every answer ends its connection
	encoders      encoders

	handshakes shares // of TLS links, by address

	randomKey func() []byte // made with the first route, for StickyKey

	mu       sync.Mutex
	closed   bool
	backs    map[string]*backEnd
	leaving  map[*backEnd]struct{} // whose mounts have no route any more
	greeting map[*tls.Conn]func()  // handshakes under way, and what ends them
	running  sync.WaitGroup        // what looks after links
}

// Handle gives the prefix to a mount. The prefix is a plain path; it matches whole segments, with
// or without a slash at its end, and the back end sees the whole path unless Route.Strip takes it
// off. A mount may have several. Handle panics if the prefix is malformed or taken, or the mount
// has other Limits already: that is a mistake in the configuration. Requests wait until an instance
// of the back end is attached.
func (s *Site) Handle(prefix string, r Route) {
	r.Paths = append([]string{prefix}, r.Paths...)
	if err := s.change(s.table.Load, r); err != nil && !errors.Is(err, ErrSiteClosed) {
		panic(err.Error())
	}
}

// Local gives the prefix to a handler in the front itself. It panics as Handle does.
func (s *Site) Local(prefix string, h http.Handler) {
	if h == nil {
		panic("distrib: Site.Local needs a handler")
	}
	s.Handle(prefix, Route{Handler: h})
}

// Configure replaces all routes at once, or none: the error is about the first that is malformed,
// or taken by one before it. Requests that have found their route keep it. A mount whose name stays
// keeps its links and what waits for them; its Limits count for requests and links that come from
// now on. One that is gone finishes what it has, within 30 s, and its links end. One that is new
// waits for its links.
func (s *Site) Configure(routes []Route) error {
	return s.change(func() *routeTable { return nil }, routes...)
}

// change puts routes into a table, and that in the place of the Site's.
func (s *Site) change(from func() *routeTable, routes ...Route) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	table := from()
	var added []*route
	for _, r := range routes {
		all, err := routesOf(r)
		if err == nil {
			err = checkEncode(r.Encode)
		}
		if err != nil {
			return err
		}
		for _, rt := range all {
			if table, err = table.with(rt); err != nil {
				return err
			}
		}
		added = append(added, all...)
	}
	backs := make(map[string]*backEnd)
	for rt := range table.all() {
		if rt.back != nil {
			backs[rt.Back] = rt.back
		}
	}
	for _, rt := range added {
		if rt.Handler == nil {
			s.equip(rt, backs)
		}
	}
	if s.closed {
		return ErrSiteClosed
	}
	s.table.Store(table)
	before := s.backs
	s.backs = backs
	for name, b := range before {
		if backs[name] == nil {
			s.retire(b)
		}
	}
	return nil
}

// equip gives a new route its back end: that of its mount in backs, or that of the table before
// with the same limits, or another one with the same instances. It needs mu.
func (s *Site) equip(rt *route, backs map[string]*backEnd) {
	reserved := append([]string{plainCookie}, s.Reserved...)
	rt.cookies = newCookieJar(rt.Back, rt.prefix, rt.Cookies, reserved)
	if rt.back = backs[rt.Back]; rt.back != nil {
		return
	}
	limits := rt.Limits.withDefaults()
	switch before := s.backs[rt.Back]; {
	case before == nil:
		rt.back = newBackEnd(newInstances(rt.Back, s.stickiness(rt.Back), s.logger()), limits)
	case before.limits != limits:
		rt.back = newBackEnd(before.instances, limits)
	default:
		rt.back = before
	}
	backs[rt.Back] = rt.back
}

// retire lets a back end without a route finish. It needs mu.
func (s *Site) retire(b *backEnd) {
	if s.leaving == nil {
		s.leaving = make(map[*backEnd]struct{})
	}
	s.leaving[b] = struct{}{}
	s.running.Go(func() { // ends when its requests have, drainTime later, or with the Site
		b.retire()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.leaving, b)
	})
}

// Attach makes nc a link to the back end called name and returns at once. The caller knows that
// this back end sits at the other end of nc; nothing that the peer says changes its identity.
// Requests go to the link when the back end has said that it is ready.
// The Site owns nc from then on, also after an error. The handshake of a *tls.Conn goes on after
// the return, for 10 s at most and at most 64 at once, 16 with one address; one that fails is
// logged.
//
// The back end may say which instance it is (Mount.Instance): the link takes the place of the one
// before it of the same instance, which is told, finishes what it has and ends.
func (s *Site) Attach(name string, nc net.Conn) error {
	return s.attach(name, "", nc, linkOwner{})
}

// AttachInstance is Attach for a back end of which the caller knows the instance too, whatever it
// says itself.
func (s *Site) AttachInstance(name, instance string, nc net.Conn) error {
	if !validName(instance) {
		_ = nc.Close() // the error says more
		return fmt.Errorf("distrib: %q is no name for an instance", instance)
	}
	return s.attach(name, instance, nc, linkOwner{})
}

func (s *Site) attach(name, instance string, nc net.Conn, owner linkOwner) error {
	s.mu.Lock()
	b, closed := s.backs[name], s.closed
	s.mu.Unlock()
	err := ErrSiteClosed
	if !closed {
		err = fmt.Errorf("%w to a back end %q, call Site.Handle first", errNoRoute, name)
	}
	if b == nil || closed {
		_ = nc.Close() // the error says more
		return err
	}
	if tlsConn, ok := nc.(*tls.Conn); ok {
		return s.greet(b, instance, tlsConn, owner)
	}
	l, err := newLink(context.Background(), b, instance, nc, owner)
	if err != nil {
		return prefix.Errorf("distrib: link to %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.close()
		return ErrSiteClosed
	}
	s.running.Go(l.watch) // ends with the link
	return nil
}

// Follow attaches the links that the monitor hands over, as they come, until ctx ends; then it
// returns nil. It tells the monitor which links serve, and which ended, so that another is made.
// Links to back ends without a route are logged and closed.
func (s *Site) Follow(ctx context.Context, h *Handover) error {
	letHeapGrow()
	for {
		l, err := h.Link(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the end that was asked for
			}
			return err
		}
		owner := linkOwner{ // an error is the monitor's end, which is this process's
			serves: func() { _ = h.serves(l) },
			ended:  func() { _ = h.Ended(l) },
			files:  l.files,
		}
		//nolint:contextcheck // the link outlives ctx
		if err := s.attach(l.Mount, l.Name, l.Conn, owner); err != nil {
			s.logger().Error("link refused", "back", l.Name, "err", err)
			_ = closeFiles(l.files) // it may be closed already
		}
	}
}

// Accept attaches each connection that the listener accepts as the link to the back end called
// name, until the listener is closed; then it returns nil. Any process that can connect there is
// that back end: the listener should be a unix socket in a folder that no other user can enter. A
// connection that comes to nothing, or stalls in its handshake, ends itself alone, and when the
// process has run out of descriptors or memory Accept goes on after a wait, as pb.Node.Serve does.
// It gives ErrSiteClosed after Close, and an error if no route leads to name.
func (s *Site) Accept(name string, l net.Listener) error {
	err := accept.Each(l, nil, s.logger(), func(nc net.Conn) error {
		err := s.Attach(name, nc)
		if errors.Is(err, ErrSiteClosed) || errors.Is(err, errNoRoute) {
			return err
		}
		if err != nil {
			s.logger().Warn("link refused", "back", name, "err", err)
		}
		return nil
	})
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Close ends all links and waits until nothing of the Site runs but handlers of requests, whose
// calls have failed.
func (s *Site) Close() error {
	s.mu.Lock()
	s.closed = true
	backs := slices.AppendSeq(slices.Collect(maps.Keys(s.leaving)), maps.Values(s.backs))
	for _, cancel := range s.greeting {
		cancel()
	}
	s.mu.Unlock()
	for _, b := range backs {
		b.close()
	}
	s.running.Wait()
	s.Login.close()
	_ = s.localSessions.Close() // it is memory
	return nil
}

// ServeHTTP serves one request.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := visit{site: s, w: w, r: r, mark: newMark(r.Header)}
	if s.Observe != nil {
		v.seen = s.observe(&v)
		defer v.seen.tell(s)
		v.w = v.seen
	}
	if s.draining.Load() {
		v.w.Header()["Connection"] = []string{"close"}
	}
	rt, target, err := s.table.Load().find(r)
	for rt != nil && rt.back != nil && !rt.back.users.enter() {
		rt, target, err = s.table.Load().find(r) // its mount has gone just now
	}
	if rt != nil && rt.back != nil {
		defer rt.back.users.leave()
	}
	switch {
	case err != nil || r.Method == http.MethodConnect &&
		(!asksWebSocket(r) || rt == nil || rt.back == nil):
		v.refuse(http.StatusBadRequest, "bad request")
		return
	case s.Login.has(r):
		v.seen.mounted(ownPaths)
		v.serveLogin()
		return
	case rt == nil:
		v.refuse(http.StatusNotFound, "not found")
		return
	case rt.back == nil:
		v.seen.mounted(rt.String())
	default:
		v.seen.mounted(rt.Back)
	}
	v.from = s.visitorOf(r)
	switch {
	case !v.admitted(rt): // and answered
	case rt.back == nil:
		v.serveLocal(rt, v.local(rt), target)
	default:
		serveExchange(v, rt, target)
	}
}

// A visit is a request as the front sees it.
type visit struct {
	site *Site
	w    http.ResponseWriter
	r    *http.Request
	mark mark
	from visitor
	seen *observed // nil: nobody observes it
}

// named says the request's id to the client, and to what stands before the Site.
func (v *visit) named() { v.w.Header()["X-Request-Id"] = []string{v.mark.id} }

// serveLocal serves a request by a handler of the front's own, whose body is held to the same pace.
// r is the request, with what the handler may know of it.
func (v *visit) serveLocal(rt *route, r *http.Request, target string) {
	r, err := rt.stripped(v.mark.on(r), target) // net/http looks at the body of its own
	if err != nil {
		v.refuse(http.StatusBadRequest, "bad request")
		return
	}
	v.named()
	if unseen(v.r) {
		v.w.Header()["Connection"] = []string{"close"}
	}
	if body := v.site.bodyOf(v.w, v.r); body != nil {
		v.seen.reads(body)
		r.Body = body
		defer func() {
			body.linger()
			if r.MultipartForm != nil {
				_ = r.MultipartForm.RemoveAll() // files that are gone anyway
			}
		}()
	}
	v.seen.handles()
	rt.Handler.ServeHTTP(v.w, r)
	v.seen.ends(Complete, nil)
}

// refuse answers for the front, without reading the request's body.
func (v *visit) refuse(status int, why string) {
	w, r := v.w, v.r
	v.seen.ends(Refused, errors.New(why))
	v.named()
	body := v.site.bodyOf(w, r)
	if unseen(r) || body.unread() {
		w.Header()["Connection"] = []string{"close"}
	}
	defer body.linger()
	v.answer(status, why)
}

func (s *Site) logger() *slog.Logger { return s.log.Logger(s.Logger) }
