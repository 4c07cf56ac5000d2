package distrib

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"perspective/internal/lines"
	"perspective/pb"
)

const (
	// envMount names the link to the front for a back end that no monitor started, as a pb URL.
	envMount = "PB_MOUNT_URL"

	firstRedial = 50 * time.Millisecond
	lastRedial  = 5 * time.Second
)

// ErrNoFront comes from Serve in a process that has no way to a front.
var ErrNoFront = errors.New("distrib: no front: start this program by a monitor, or set " + envMount + " to the front's pb URL")

// Serve serves h to the front that this process is a back end of, until ctx ends; then it lets the requests under way end
// and returns nil. It stands where http.ListenAndServe stood. See Mount for more to say.
func Serve(ctx context.Context, h http.Handler) error {
	return (&Mount{Handler: h}).Serve(ctx)
}

// A Mount is the back end's side: a handler that serves what the front hands over. The front decides which prefix that
// is; the handler sees whole paths. Requests run at once, as under an http.Server; a handler that was always quick may be
// run by the link's reader, which another goroutine replaces as soon as it waits.
//
// The zero value serves http.DefaultServeMux. Set the fields before Serve; they are only read. Its methods may be called
// from several goroutines.
type Mount struct {
	// Handler serves the requests; nil: http.DefaultServeMux.
	Handler http.Handler
	// Name is what this back end believes to be called, for the front to check; empty: what the monitor called it, or
	// nothing. It gives no right.
	Name string
	// Limits are what this side takes; give it those of the front's Route. Zero fields are defaults.
	Limits Limits
	// Grace is how long requests under way may take to end after ctx ended; zero: 3 s.
	Grace time.Duration
	// Logger gets panics of handlers, and the coming and going of links; nil: slog.Default.
	Logger *slog.Logger

	log lines.Log
}

// Serve finds the link that the monitor handed over, or else dials the URL in PB_MOUNT_URL; it takes each new link, and
// dials again when one ends. Where a monitor started this process, Serve also takes from it the right to start
// programs (Handover.Confine) and tells the monitor when the front has heard that it is ready. It returns nil when ctx
// has ended, ErrNoFront where there is neither, and an error when the URL is none or the front refuses this back end.
func (m *Mount) Serve(ctx context.Context) error {
	h, err := Inherited()
	switch {
	case err == nil:
		return m.serveManaged(ctx, h)
	case !errors.Is(err, ErrNotManaged):
		return err
	}
	url := os.Getenv(envMount)
	if url == "" {
		return ErrNoFront
	}
	if _, err := pb.ParseURL(url); err != nil { // dialing again would not help
		return fmt.Errorf("distrib: %s: %w", envMount, err)
	}
	return m.redial(ctx, url)
}

// serveManaged serves each link that the monitor hands over.
func (m *Mount) serveManaged(ctx context.Context, h *Handover) error {
	if err := h.Confine(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	told := sync.OnceValue(h.Ready)
	var links sync.WaitGroup
	defer links.Wait()
	for {
		l, err := h.Link(ctx)
		if err != nil {
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
				return cause
			}
			return nil
		}
		name := m.Name
		if name == "" {
			name = h.Name()
		}
		links.Go(func() { // ends with the link, soon after ctx
			err := m.serveLink(ctx, name, told, func(n *pb.Node) (*pb.Conn, error) { return n.Attach(ctx, l.Conn, pb.Dialer) })
			if _, refused := errors.AsType[*refusedError](err); refused {
				cancel(err)
			} else if err != nil {
				m.logger().Warn("link ended", "err", err)
			}
		})
	}
}

// ServeConn serves over one link, whose other end the front has (Site.Attach). It returns nil when ctx has ended and the
// requests under way have, or else why the link ended. The Mount owns nc from then on.
func (m *Mount) ServeConn(ctx context.Context, nc net.Conn) error {
	return m.serveLink(ctx, m.Name, nil, func(n *pb.Node) (*pb.Conn, error) { return n.Attach(ctx, nc, pb.Dialer) })
}

// redial serves over one link after another.
func (m *Mount) redial(ctx context.Context, url string) error {
	wait := firstRedial
	for {
		ready := func() error {
			wait = firstRedial
			return nil
		}
		err := m.serveLink(ctx, m.Name, ready, func(n *pb.Node) (*pb.Conn, error) { return n.Dial(ctx, url) })
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end that was asked for
		}
		if _, refused := errors.AsType[*refusedError](err); refused {
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
	return "distrib: the front refuses this back end: " + e.err.Error()
}
func (e *refusedError) Unwrap() error { return e.err }

// serveLink serves over the connection that connect makes. ready is called when the front has heard of it; nil: not.
func (m *Mount) serveLink(ctx context.Context, name string, ready func() error, connect func(*pb.Node) (*pb.Conn, error)) error {
	o := newMountObject(m)
	node := &pb.Node{Limits: m.Limits.withDefaults().ofBack(), Logger: m.logger()}
	conn, err := connect(node)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer func() { //nolint:contextcheck // the handlers are waited for when ctx has ended too
		_ = conn.Close() // it has ended, or is to
		o.abandon()
		_ = node.Close() // waits for the streams' goroutines
		o.handlers.wait()
	}()
	if _, err := pb.Do[struct{}](ctx, conn.Root(), "Ready", name, o); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		if pb.OutcomeOf(err) == pb.Executed {
			return &refusedError{err}
		}
		return err
	}
	if ready != nil {
		if err := ready(); err != nil {
			return err
		}
	}
	m.logger().Info("serving", "front", conn.String())
	select {
	case <-conn.Done():
		return fmt.Errorf("distrib: the link to the front ended: %w", conn.Err())
	case <-ctx.Done():
		m.leave(conn, o) //nolint:contextcheck // ctx has ended
		return nil
	}
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
