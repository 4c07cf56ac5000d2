package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"perspective/cred"
	"perspective/internal/prefix"
	"perspective/pb"
)

// An adminObject is what a site's control socket leads to. Whoever can reach it has been let in by
// the kernel's word: root, or the user that the monitor runs as.
type adminObject struct {
	pb.Referenceable
	pb.Concurrent

	site *site
}

// RemoteStatus tells what runs, as JSON of a Status.
func (a *adminObject) RemoteStatus(context.Context) ([]byte, error) {
	return json.Marshal(a.site.status())
}

// RemoteReload reads the site's file again and makes it the one that runs, at once or not at all.
func (a *adminObject) RemoteReload(ctx context.Context) error { return a.site.reload(ctx) }

// RemoteRestart starts the parts of a mount again, one after the other, each beside the one that it
// replaces; an empty name means all, and "front" the front.
func (a *adminObject) RemoteRestart(ctx context.Context, name string) error {
	return a.site.restart(ctx, name)
}

// RemoteWhy tells where a URL leads, as JSON of a Why.
func (a *adminObject) RemoteWhy(_ context.Context, url string) ([]byte, error) {
	why, err := a.site.why(url)
	if err != nil {
		return nil, err
	}
	return json.Marshal(why)
}

// RemoteDrain ends the site: it takes no new connection, and lets what is under way end.
func (a *adminObject) RemoteDrain(context.Context) error {
	a.site.end()
	return nil
}

// An adminSocket is the control socket of a site that runs. It ends with close.
type adminSocket struct {
	node     *pb.Node
	listener net.Listener
	served   chan struct{}
}

// openAdmin opens the control socket. Where a monitor that died has left its own, it is replaced;
// one that answers is an error.
func openAdmin(ctx context.Context, path string, s *site) (*adminSocket, error) {
	//nolint:gosec // others may look for it
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, prefix.Errorf("web: admin: %w", err)
	}
	if err := clearStale(ctx, path); err != nil {
		return nil, err
	}
	a := &adminSocket{
		node: &pb.Node{
			Root:   &adminObject{site: s},
			Allow:  cred.AllowUIDs(0, uint32(os.Geteuid())), //nolint:gosec // no uid is negative
			Logger: s.log,
		},
		served: make(chan struct{}),
	}
	l, err := a.node.Listen("pb+unix://" + path)
	if err != nil {
		return nil, prefix.Errorf("web: admin: %w", err)
	}
	a.listener = l
	go func() { // ends with close, which waits for it
		defer close(a.served)
		if err := a.node.Serve(l); err != nil && !errors.Is(err, pb.ErrNodeClosed) {
			s.log.Error("the control socket has ended", "err", err)
		}
	}()
	return a, nil
}

// clearStale removes a socket that nobody listens at.
func clearStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return nil //nolint:nilerr // there is none, or listening says what is wrong
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("web: admin: %s is there and no socket", path)
	}
	nc, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = nc.Close()
		return fmt.Errorf("web: admin: another site listens at %s", path)
	}
	return os.Remove(path)
}

func (a *adminSocket) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = a.node.Shutdown(ctx) // what is late is cut off
	<-a.served
}

// A Client asks a site that runs. It ends with Close.
type Client struct {
	node *pb.Node
	root *pb.RemoteReference
}

// Dial connects to the control socket at path.
func Dial(ctx context.Context, path string) (*Client, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, prefix.Errorf("web: %w", err)
	}
	c := &Client{node: &pb.Node{Logger: slog.New(slog.DiscardHandler)}}
	conn, err := c.node.Dial(ctx, "pb+unix://"+abs)
	if err != nil {
		_ = c.node.Close()
		return nil, prefix.Errorf("web: no site answers at %s: %w", path, err)
	}
	c.root = conn.Root()
	return c, nil
}

// Close ends it.
func (c *Client) Close() { _ = c.node.Close() }

// Status asks what runs.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	s := new(Status)
	return s, c.ask(ctx, s, "Status")
}

// Why asks where a URL leads.
func (c *Client) Why(ctx context.Context, url string) (*Why, error) {
	w := new(Why)
	return w, c.ask(ctx, w, "Why", url)
}

func (c *Client) ask(ctx context.Context, into any, method string, args ...any) error {
	text, err := pb.Do[[]byte](ctx, c.root, method, args...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return prefix.Errorf("web: the site's answer: %w", err)
	}
	return nil
}

// Reload has the site read its file again. An error leaves what runs as it was.
func (c *Client) Reload(ctx context.Context) error { return c.tell(ctx, "Reload") }

// Restart starts the parts of a mount again; see the command "pb web restart".
func (c *Client) Restart(ctx context.Context, mount string) error {
	return c.tell(ctx, "Restart", mount)
}

// Drain has the site end in order.
func (c *Client) Drain(ctx context.Context) error { return c.tell(ctx, "Drain") }

func (c *Client) tell(ctx context.Context, method string, args ...any) error {
	_, err := pb.Do[struct{}](ctx, c.root, method, args...)
	return err
}
