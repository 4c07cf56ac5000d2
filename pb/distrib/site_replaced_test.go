package distrib_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perspective/pb/distrib"
)

// A second process that dials under one name is a deploy: it serves, and the one before it finishes
// what it has and ends with ErrReplaced. No request is lost or doubled.
func TestTwoBackEndsOfOneName(t *testing.T) {
	var log lockedBuffer
	site := &distrib.Site{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: distrib.Limits{Hold: 5 * time.Minute}})
	s := newSplit(t, site)
	socket := filepath.Join(t.TempDir(), "app")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() { // ends with the listener
		if err := site.Accept("app", l); err != nil {
			t.Errorf("Accept() = %v", err)
		}
	})
	t.Cleanup(func() { _ = l.Close(); accepting.Wait() })
	t.Setenv("PB_MOUNT_URL", "pb+unix://"+socket)

	var mu sync.Mutex
	journal := map[string]int{}
	held, release := make(chan struct{}), make(chan struct{})
	start := func(name string) (ended <-chan error) {
		mux := http.NewServeMux()
		mux.HandleFunc("/app/", func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			mu.Lock()
			journal[string(b)]++
			mu.Unlock()
			_, _ = io.WriteString(w, name)
		})
		mux.HandleFunc("/app/hold", func(w http.ResponseWriter, _ *http.Request) {
			close(held)
			<-release
			_, _ = io.WriteString(w, name)
		})
		ctx, cancel := context.WithCancel(context.Background())
		serving, served := make(chan error, 1), make(chan struct{})
		go func() { // ends with cancel, or when it is replaced
			defer close(served)
			m := &distrib.Mount{Handler: mux, Logger: slog.New(slog.DiscardHandler)}
			serving <- m.Serve(ctx)
		}()
		t.Cleanup(func() { cancel(); <-served })
		return serving
	}
	post := func(text string) string {
		resp, body := s.do(http.MethodPost, "/app/", strings.NewReader(text))
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %q", text, resp.StatusCode, body)
		}
		return body
	}

	older := start("older")
	if by := post("first"); by != "older" {
		t.Fatalf("served by %q, want the older", by)
	}
	finished := make(chan string, 1)
	go func() { // ends with release
		_, body := s.do(http.MethodPost, "/app/hold", nil)
		finished <- body
	}()
	<-held
	const clients, each = 4, 60
	var newer atomic.Bool // has served
	var posting sync.WaitGroup
	for c := range clients {
		posting.Go(func() {
			for n, after := 0, 0; after < each; n++ {
				was := newer.Load()
				by := post(fmt.Sprint(c, "/", n))
				if by == "newer" {
					newer.Store(true)
				} else if was {
					t.Errorf("request %d/%d was served by %q after the newer had begun", c, n, by)
					return
				}
				if newer.Load() {
					after++
				}
			}
		})
	}
	start("newer")
	posting.Wait()
	select {
	case err := <-older:
		t.Errorf("Serve() of the older = %v while it has a request under way", err)
	default:
	}
	close(release)
	if by := <-finished; by != "older" {
		t.Errorf("what the older had under way was answered by %q", by)
	}
	if err := <-older; !errors.Is(err, distrib.ErrReplaced) {
		t.Errorf("Serve() of the older = %v, want ErrReplaced", err)
	}
	if by := post("last"); by != "newer" {
		t.Errorf("after the older's end: served by %q, want the newer", by)
	}
	mu.Lock()
	defer mu.Unlock()
	for text, times := range journal {
		if times != 1 {
			t.Errorf("%s was served %d times", text, times)
		}
	}
	if text := log.String(); !strings.Contains(text, "replaced") {
		t.Errorf("the front's log does not tell of the replacement:\n%s", text)
	}
}

// A back end that serves over one link learns that the link was replaced.
func TestServeConnTellsReplaced(t *testing.T) {
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	front, back := pair(t)
	if err := site.Attach("app", front); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { // ends when it is replaced
		m := &distrib.Mount{Handler: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler)}
		ended <- m.ServeConn(context.Background(), back)
	}()
	if resp, _ := s.get("/app/"); resp.StatusCode != http.StatusNotFound {
		t.Fatalf("status = %d, want the older's 404", resp.StatusCode)
	}
	s.back("app", func(http.ResponseWriter, *http.Request) {})
	if err := <-ended; !errors.Is(err, distrib.ErrReplaced) {
		t.Errorf("ServeConn() = %v, want ErrReplaced", err)
	}
}
