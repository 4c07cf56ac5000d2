package distrib_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perspective/pb/distrib"
)

func TestNoBackEnd(t *testing.T) {
	site := &distrib.Site{}
	site.Handle("/app/",
		distrib.Route{Back: "app", Limits: distrib.Limits{Hold: 20 * time.Millisecond}})
	s := newSplit(t, site)
	resp, body := s.get("/app/")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %d, Retry-After %q, %q; want 503 with Retry-After", resp.StatusCode,
			resp.Header.Get("Retry-After"), body)
	}
	if resp, _ := s.get("/elsewhere"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("without a route: %d, want 404", resp.StatusCode)
	}
}

func TestZeroSite(t *testing.T) {
	s := newSplit(t, &distrib.Site{})
	if resp, _ := s.get("/"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("status = %d, want 404", resp.StatusCode)
	}
}

func TestHoldUntilTheBackEndComes(t *testing.T) {
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	const clients = 8
	got := make(chan string, clients)
	for i := range clients {
		go func() {
			resp, err := s.client.Post(s.server.URL+"/app/", "text/plain",
				strings.NewReader(fmt.Sprint(i)))
			if err != nil {
				got <- err.Error()
				return
			}
			defer func() { _ = resp.Body.Close() }()
			b, _ := io.ReadAll(resp.Body)
			got <- fmt.Sprint(resp.StatusCode, " ", string(b))
		}()
	}
	s.back("app", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	seen := map[string]bool{}
	for range clients {
		seen[<-got] = true
	}
	for i := range clients {
		if want := fmt.Sprint("200 ", i); !seen[want] {
			t.Errorf("no answer %q among %v", want, seen)
		}
	}
}

func TestWaitingIsBounded(t *testing.T) {
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app",
		Limits: distrib.Limits{Requests: 1, Waiting: 1, Hold: time.Minute}})
	s := newSplit(t, site)
	in, release := make(chan struct{}, 2), make(chan struct{})
	s.back("app", func(w http.ResponseWriter, r *http.Request) {
		in <- struct{}{}
		<-release
	})
	status := make(chan int, 3)
	get := func() {
		resp, err := s.client.Get(s.server.URL + "/app/")
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		_ = resp.Body.Close()
		status <- resp.StatusCode
	}
	go get()
	<-in
	for range 2 {
		go get()
	}
	// one runs, one waits, the third is over the bound
	if got := <-status; got != http.StatusServiceUnavailable {
		t.Errorf("status = %d, want 503", got)
	}
	close(release)
	for range 2 {
		if got := <-status; got != http.StatusOK {
			t.Errorf("status = %d, want 200", got)
		}
	}
}

func TestDeathMidRequest(t *testing.T) { testDeathMidRequest(t, pair) }

func testDeathMidRequest(t *testing.T, pair func(*testing.T) (front, back net.Conn)) {
	for _, tt := range []struct {
		method string
		die    int32 // how many times the handler's process dies
		status int
		runs   int32
	}{
		{http.MethodGet, 1, http.StatusOK, 2},         // repeated once
		{http.MethodGet, 2, http.StatusBadGateway, 2}, // but no more
		{http.MethodHead, 1, http.StatusOK, 2},
		{http.MethodPost, 1, http.StatusBadGateway, 1}, // begun and lost
		{http.MethodDelete, 1, http.StatusBadGateway, 1},
	} {
		t.Run(fmt.Sprintf("%s %d", tt.method, tt.die), func(t *testing.T) {
			site := &distrib.Site{}
			site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
			s := newSplit(t, site)
			var runs atomic.Int32
			deaths := make(chan *running, 4)
			var current atomic.Pointer[running]
			handler := func(w http.ResponseWriter, r *http.Request) {
				if runs.Add(1) <= tt.die {
					victim := current.Load()
					victim.kill()
					deaths <- victim
					<-r.Context().Done()
				}
			}
			current.Store(s.backOver(pair, "app", handler))
			var monitor sync.WaitGroup
			monitor.Go(func() {
				for range tt.die {
					<-deaths
					// What the monitor does: a new pair, both ends handed over.
					front, back := pair(t)
					current.Store(s.serve("app", back, handler))
					if err := site.Attach("app", front); err != nil {
						t.Error(err)
					}
				}
			})
			resp, _ := s.do(tt.method, "/app/", nil)
			monitor.Wait()
			if resp.StatusCode != tt.status {
				t.Errorf("status = %d, want %d", resp.StatusCode, tt.status)
			}
			if got := runs.Load(); got != tt.runs {
				t.Errorf("the handler ran %d times, want %d", got, tt.runs)
			}
			if resp, _ := s.get("/app/"); resp.StatusCode != http.StatusOK {
				t.Errorf("after it: %d", resp.StatusCode)
			}
		})
	}
}

func TestDeathMidBodyIsVisible(t *testing.T) {
	var victim *running
	s, victim := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "some")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	resp, err := s.client.Get(s.server.URL + "/app/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	buf := make([]byte, 4)
	if _, err := io.ReadFull(resp.Body, buf); err != nil {
		t.Fatal(err)
	}
	victim.kill()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("a clean end after %q", b)
	}
}

func TestEachPostOnceUnderFire(t *testing.T) { testEachPostOnceUnderFire(t, pair) }

func testEachPostOnceUnderFire(t *testing.T, pair func(*testing.T) (front, back net.Conn)) {
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	var mu sync.Mutex
	journal := map[string]int{}
	handler := func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		journal[string(b)]++
		mu.Unlock()
	}
	r := s.backOver(pair, "app", handler)
	const clients, each = 8, 40
	answered := make(chan string, clients*each)
	var posting sync.WaitGroup
	for c := range clients {
		posting.Go(func() {
			for i := range each {
				text := fmt.Sprint(c, "/", i)
				resp, err := s.client.Post(s.server.URL+"/app/", "text/plain",
					strings.NewReader(text))
				if err != nil {
					t.Error(err)
					continue
				}
				_ = resp.Body.Close()
				switch resp.StatusCode {
				case http.StatusOK:
					answered <- text
				case http.StatusBadGateway: // begun and lost
				default:
					t.Errorf("status = %d", resp.StatusCode)
				}
				if c == 0 && i%8 == 7 {
					r.kill()
					front, back := pair(t)
					r = s.serve("app", back, handler)
					if err := site.Attach("app", front); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	posting.Wait()
	close(answered)
	mu.Lock()
	defer mu.Unlock()
	n := 0
	for text := range answered {
		n++
		if journal[text] != 1 {
			t.Errorf("%s was answered and stands in the journal %d times", text, journal[text])
		}
	}
	for text, times := range journal {
		if times > 1 {
			t.Errorf("%s stands in the journal %d times", text, times)
		}
	}
	t.Logf("%d of %d answered", n, clients*each)
}

func TestHeaderTimeout(t *testing.T) {
	site := &distrib.Site{}
	site.Handle("/app/",
		distrib.Route{Back: "app", Limits: distrib.Limits{HeaderTimeout: 30 * time.Millisecond}})
	s := newSplit(t, site)
	ended := make(chan error, 1)
	s.back("app", func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	if resp, _ := s.get("/app/"); resp.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("status = %d, want 504", resp.StatusCode)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler's ctx: %v", err)
	}
}

func TestOrderlyLeave(t *testing.T) {
	in, release := make(chan struct{}), make(chan struct{})
	s, r := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "some")
		if r.Method == http.MethodPut {
			w.(http.Flusher).Flush()
		}
		in <- struct{}{}
		<-release
		_, _ = io.WriteString(w, " more")
	})
	got := make(chan string, 2)
	for _, method := range []string{http.MethodGet, http.MethodPut} {
		go func() {
			_, body := s.do(method, "/app/", nil)
			got <- body
		}()
		<-in
	}
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	// A link of the next process takes over while the old one finishes.
	s.back("app", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "next") })
	for body := ""; body != "next"; {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		req, _ := http.NewRequestWithContext(ctx, http.MethodOptions, s.server.URL+"/app/", nil)
		go func() {
			select {
			case <-in: // it went to the old one still
				cancel()
			case <-ctx.Done():
			}
		}()
		if resp, err := s.client.Do(req); err == nil {
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			body = string(b)
		}
		cancel()
	}
	close(release)
	for range 2 {
		if body := <-got; body != "some more" {
			t.Errorf("body = %q", body)
		}
	}
	<-stopped
}

func TestAttachRefusals(t *testing.T) {
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	front, back := pair(t)
	defer func() { _ = back.Close() }()
	if err := site.Attach("nobody", front); err == nil {
		t.Error("a link for nobody was taken")
	}
	if _, err := back.Read(make([]byte, 1)); err == nil {
		t.Error("its connection lives on")
	}
	if err := site.Close(); err != nil {
		t.Fatal(err)
	}
	front, back = pair(t)
	defer func() { _ = back.Close() }()
	if err := site.Attach("app", front); !errors.Is(err, distrib.ErrSiteClosed) {
		t.Errorf("Attach() after Close = %v, want ErrSiteClosed", err)
	}
}

func TestAnnouncementGivesNoRight(t *testing.T) {
	site := &distrib.Site{}
	site.Handle("/",
		distrib.Route{Back: "root", Limits: distrib.Limits{Hold: 20 * time.Millisecond}})
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	front, back := pair(t)
	if err := site.Attach("app", front); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"root", "/", "app2"} {
		m := &distrib.Mount{Handler: http.NotFoundHandler(), Name: name}
		if err := m.ServeConn(context.Background(), back); err == nil {
			t.Errorf("ServeConn() as %q = nil, want a refusal", name)
		}
		front, back = pair(t)
		if err := site.Attach("app", front); err != nil {
			t.Fatal(err)
		}
	}
	_ = back.Close()
	if resp, _ := s.get("/"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status of / = %d, want 503", resp.StatusCode)
	}
}

func TestServeNeedsAFront(t *testing.T) {
	t.Setenv("PB_MOUNT_URL", "")
	if err := distrib.Serve(context.Background(), nil); !errors.Is(err, distrib.ErrNoFront) {
		t.Errorf("Serve() = %v, want ErrNoFront", err)
	}
	t.Setenv("PB_MOUNT_URL", "front.example")
	if err := distrib.Serve(context.Background(), nil); err == nil ||
		!strings.Contains(err.Error(), "PB_MOUNT_URL") {
		t.Errorf("Serve() = %v, want an error that says what is wrong with PB_MOUNT_URL", err)
	}
}
