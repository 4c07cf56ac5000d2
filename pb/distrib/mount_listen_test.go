package distrib_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"perspective/cred"
	"perspective/pb/distrib"
)

// accepting runs a back end that listens, and returns what ends it and its error.
func accepting(t *testing.T, m *distrib.Mount, l net.Listener) (end func() error) {
	t.Helper()
	m.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var err error
	running.Go(func() { err = m.Accept(ctx, l) }) // ends with ctx
	end = func() error {
		cancel()
		running.Wait()
		return err
	}
	t.Cleanup(func() { _ = end() })
	return end
}

// A back end that listens serves the front that connects, and the next one.
func TestMountAccept(t *testing.T) {
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	path := filepath.Join(t.TempDir(), "app")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	end := accepting(t, &distrib.Mount{Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "joined") })}, l)
	for range 3 { // each takes the place of the one before
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := site.Attach("app", nc); err != nil {
			t.Fatal(err)
		}
		if _, body := s.get("/app/"); body != "joined" {
			t.Errorf("body = %q", body)
		}
	}
	if err := end(); err != nil {
		t.Errorf("Accept() = %v", err)
	}
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("somebody still listens")
	}
}

// A front that Allow does not let in gets no link, and where anybody could connect there must be an
// Allow.
func TestMountAllow(t *testing.T) {
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := new(distrib.Mount).Accept(t.Context(), open); err == nil {
		t.Error("a TCP port without Allow is served")
	}
	path := filepath.Join(t.TempDir(), "app")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	accepting(t, &distrib.Mount{Allow: cred.AllowUIDs()}, l)
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	if _, err := io.ReadAll(nc); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
}

// At most 16 connections are links.
func TestMountAcceptIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	accepting(t, &distrib.Mount{}, l)
	var sites []*distrib.Site
	defer func() {
		for _, site := range sites {
			if err := site.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	attach := func() {
		site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
		site.Handle("/", distrib.Route{Back: "app"})
		sites = append(sites, site)
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := site.Attach("app", nc); err != nil {
			t.Fatal(err)
		}
	}
	for range 17 {
		attach()
	}
	serving := func() (n int) {
		for _, site := range sites {
			for _, m := range site.Describe() {
				for _, i := range m.Instances {
					if i.State == distrib.Serving {
						n++
					}
				}
			}
		}
		return n
	}
	eventually(t, "16 links", func() bool { return serving() == 16 })
}

// Serve listens where PB_MOUNT_LISTEN says.
func TestServeListens(t *testing.T) {
	for _, bad := range []string{"x", "pb+tcp://127.0.0.1:0", "pb://127.0.0.1:0"} {
		t.Setenv("PB_MOUNT_LISTEN", bad)
		if err := distrib.Serve(t.Context(), http.NotFoundHandler()); err == nil {
			t.Errorf("PB_MOUNT_LISTEN=%s is served", bad)
		}
	}
	path := filepath.Join(t.TempDir(), "app")
	t.Setenv("PB_MOUNT_LISTEN", "pb+unix://"+path)
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { // ends with ctx
		if err := distrib.Serve(ctx, http.NotFoundHandler()); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "a listener", func() bool {
		nc, err := net.Dial("unix", path)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	})
	cancel()
	serving.Wait()
}

// eventually waits, for at most a minute, until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !so(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute: no %s", what)
		}
	}
}
