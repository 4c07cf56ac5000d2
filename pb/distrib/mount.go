package distrib

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"perspective/cred"
	"perspective/internal/lines"
	"perspective/internal/prefix"
	"perspective/pb"
)

const (
	// envMount names the link to the front for a back end that no monitor started, as a pb URL.
	envMount = "PB_MOUNT_URL"

	firstRedial = 50 * time.Millisecond
	lastRedial  = 5 * time.Second

	// envInstance is the instance of a back end that dials, as Mount.Instance.
	envInstance = "PB_MOUNT_INSTANCE"
)

// ErrReplaced ends a link in whose place another of the same instance has come. The requests that
// it had were finished, for at most 30 s. For a process that dialed the front it is the end of a
// deploy: another process serves in its place, and this one has nothing left to do.
var ErrReplaced = errors.New("distrib: another back end of this name has taken this one's place")

// ErrNoFront comes from Serve in a process that has no way to a front.
var ErrNoFront = errors.New("distrib: no front: start this program by a monitor, or set " +
	envMount + " to the front's pb URL, or " + envListen + " to one to listen at")

// Serve serves h to the front that this process is a back end of, until ctx ends; then it lets the
// requests under way end and returns nil. It stands where http.ListenAndServe stood. See Mount for
// more to say.
func Serve(ctx context.Context, h http.Handler) error {
	return (&Mount{Handler: h}).Serve(ctx)
}

// A Mount is the back end's side: a handler that serves what the front hands over. The front
// decides which prefix that is; the handler sees whole paths. Requests run at once, as under an
// http.Server; a handler that was always quick may be run by the link's reader, which another
// goroutine replaces as soon as it waits.
//
// The zero value serves http.DefaultServeMux. Set the fields before Serve; they are only read. Its
// methods may be called from several goroutines.
type Mount struct {
	// Handler serves the requests; nil: http.DefaultServeMux.
	Handler http.Handler
	// Name is the mount that this back end believes to be, for the front to check; empty: what the
	// monitor calls it (Part.Mount), or nothing. It gives no right.
	Name string
	// Instance is which of several processes of the mount this is, where it dials the front: those
	// with names of their own share the requests, and of two with one name the newer takes over.
	// Empty: what PB_MOUNT_INSTANCE says, or else the one instance without a name. A name is 1 to
	// 64 letters, digits, and "._~-". Where a monitor started this process its name for it counts.
	Instance string
	// Limits are what this side takes; give it those of the front's Route. Zero fields are
	// defaults.
	Limits Limits
	// Sessions keep what SessionOf gives; nil: in memory, with the defaults.
	Sessions *Sessions
	// Allow decides, by what is proved of it, whether a front that connects to this back end
	// (Accept) is one; nil: each that can connect to the unix socket.
	Allow cred.AllowFunc
	// Grace is how long requests under way may take to end after ctx ended; zero: 3 s.
	Grace time.Duration
	// Logger gets panics of handlers, and the coming and going of links; nil: slog.Default.
	Logger *slog.Logger

	log      lines.Log
	sessions Sessions // where there are no others
}

// Serve finds the link that the monitor handed over, or else listens at the pb URL in
// PB_MOUNT_LISTEN (see Accept; a file pb+unix:///PATH has mode 0600, and pb://HOST:PORT/ needs
// PB_MOUNT_KEY, a file as pb id makes it, and PB_MOUNT_FRONTS, the node ids of its fronts), or else
// dials the URL in PB_MOUNT_URL. When a
// link ends it asks the monitor for another, or dials again. Where several back ends dial under one
// name and instance the newest serves; the one before it finishes what it has, and its Serve then
// returns ErrReplaced: a new process is started beside the old one, and that ends by itself. Where
// a monitor started this process, Serve also takes from it the right to start programs
// (Handover.Confine) and tells the monitor when the front has heard that it is ready. It returns
// nil when ctx has ended, ErrNoFront where there is neither, and an error when the URL is none or
// the front refuses this back end.
func (m *Mount) Serve(ctx context.Context) error {
	h, err := Inherited()
	switch {
	case err == nil:
		return m.serveManaged(ctx, h)
	case !errors.Is(err, ErrNotManaged):
		return err
	}
	if url := os.Getenv(envListen); url != "" {
		return m.listen(ctx, url)
	}
	url := os.Getenv(envMount)
	if url == "" {
		return ErrNoFront
	}
	if _, err := pb.ParseURL(url); err != nil { // dialing again would not help
		return prefix.Errorf("distrib: %s: %w", envMount, err)
	}
	return m.redial(ctx, url)
}

// serveManaged serves each link that the monitor hands over, and tells it which ended.
func (m *Mount) serveManaged(ctx context.Context, h *Handover) error {
	if err := h.Confine(); err != nil {
		return err
	}
	letHeapGrow()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	told := sync.OnceValue(h.Ready)
	var links sync.WaitGroup
	defer links.Wait()
	for {
		l, err := h.Link(ctx)
		if err != nil {
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) &&
				!errors.Is(cause, context.DeadlineExceeded) {
				return cause
			}
			return nil
		}
		s := &mountLink{mount: m, name: m.Name, ready: told,
			connect: func(n *pb.Node) (*pb.Conn, error) { return n.Attach(ctx, l.Conn, pb.Dialer) },
			files:   newFileSender(l.files)}
		if s.name == "" {
			s.name = l.Mount
		}
		links.Go(func() { // ends with the link, soon after ctx
			err := s.serve(ctx)
			if _, refused := errors.AsType[*refusedError](err); refused {
				cancel(err)
			} else if err != nil {
				m.logger().Warn("link ended", "err", err)
				_ = h.Ended(l) // an error is the monitor's end, which is this process's
			}
			s.finish()
		})
	}
}

// ServeConn serves over one link, whose other end the front has (Site.Attach). It returns nil when
// ctx has ended and the requests under way have, or else why the link ended: ErrReplaced if a newer
// one took its place. The Mount owns nc from then on.
func (m *Mount) ServeConn(ctx context.Context, nc net.Conn) error {
	s := &mountLink{mount: m, name: m.Name, instance: m.Instance,
		connect: func(n *pb.Node) (*pb.Conn, error) { return n.Attach(ctx, nc, pb.Dialer) }}
	err := s.serve(ctx)
	s.finish()
	return err
}

// redial serves over one link after another. What a handler of a link that ended still does holds
// nothing up but the end.
func (m *Mount) redial(ctx context.Context, url string) error {
	wait := firstRedial
	var links sync.WaitGroup
	defer links.Wait()
	for {
		s := &mountLink{mount: m, name: m.Name,
			instance: cmp.Or(m.Instance, os.Getenv(envInstance)),
			connect:  func(n *pb.Node) (*pb.Conn, error) { return n.Dial(ctx, url) }}
		s.ready = func() error {
			wait = firstRedial
			return nil
		}
		err := s.serve(ctx)
		links.Go(s.finish) // ends with the link's handlers, whose contexts have ended
		if ctx.Err() != nil {
			return nil
		}
		if _, refused := errors.AsType[*refusedError](err); refused ||
			errors.Is(err, ErrReplaced) {
			return err
		}
		m.logger().Warn("link ended, dialing again", "err", err, "wait", wait)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		wait = min(2*wait, lastRedial)
	}
}

// A refusedError says that the front does not want this back end. Trying again does not help.
type refusedError struct{ err error }

func (e *refusedError) Error() string {
	return prefix.Once("distrib: the front refuses this back end: " + e.err.Error())
}
func (e *refusedError) Unwrap() error { return e.err }

// A mountLink is one link of a Mount: serve runs it to its end, then finish is called. mount and
// connect are needed.
type mountLink struct {
	mount    *Mount
	name     string
	instance string
	connect  func(*pb.Node) (*pb.Conn, error)
	ready    func() error // called when the front has heard of it; nil: not
	files    *fileSender  // nil: files go over the link

	object *mountObject // nil until there is a connection
	node   *pb.Node
}

// serve returns nil when ctx has ended, and otherwise why the link did.
func (s *mountLink) serve(ctx context.Context) error {
	m := s.mount
	limits := m.Limits.withDefaults()
	s.node = &pb.Node{Limits: limits.ofBack(), Memory: limits.memory(), Logger: m.logger()}
	conn, err := s.connect(s.node)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s.object = newMountObject(m)
	s.object.files = s.files
	defer func() { _ = conn.Close() }() // it has ended, or is to
	if err := s.announce(ctx, conn); err != nil {
		if ctx.Err() != nil {
			//nolint:contextcheck // the front may have heard, and sent requests
			m.leave(conn, s.object)
			return nil
		}
		return err
	}
	if s.ready != nil {
		if err := s.ready(); err != nil {
			return err
		}
	}
	m.logger().Info("serving", "front", conn.String())
	select {
	case <-conn.Done():
		if s.object.replaced.Load() {
			return ErrReplaced
		}
		return prefix.Errorf("distrib: the link to the front ended: %w", conn.Err())
	case <-ctx.Done():
		m.leave(conn, s.object) //nolint:contextcheck // ctx has ended
		return nil
	}
}

// announce offers the handler to the front.
func (s *mountLink) announce(ctx context.Context, conn *pb.Conn) error {
	if _, err := pb.Do[struct{}](ctx, conn.Root(), "Ready", s.name, s.object,
		s.instance); err != nil {
		if pb.OutcomeOf(err) == pb.Executed {
			return &refusedError{err}
		}
		return err
	}
	return nil
}

// finish waits until nothing of the link runs any more, its handlers included.
func (s *mountLink) finish() {
	if s.object != nil {
		s.object.abandon()
	}
	_ = s.node.Close() // waits for the streams' goroutines
	if s.object != nil {
		s.object.handlers.wait()
	}
	s.files.close()
}

// leave ends a link in order: the front sends nothing more, and what is under way gets its time.
func (m *Mount) leave(conn *pb.Conn, o *mountObject) {
	grace := m.Grace
	if grace <= 0 {
		grace = 3 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if _, err := pb.Do[struct{}](ctx, conn.Root(), "Leave"); err == nil {
		o.handlers.waitIdle(ctx)
	}
	_ = conn.Shutdown(ctx) // what is late is cut off
}

func (m *Mount) handler() http.Handler {
	if m.Handler == nil {
		return http.DefaultServeMux
	}
	return m.Handler
}

func (m *Mount) logger() *slog.Logger { return m.log.Logger(m.Logger) }
