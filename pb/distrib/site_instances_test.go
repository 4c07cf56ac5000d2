package distrib_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"perspective/pb/distrib"
)

// instance starts a back end as an instance of a mount.
func (s *split) instance(name, instance string, h http.HandlerFunc) *running {
	s.t.Helper()
	front, back := pair(s.t)
	r := s.serve(name, back, h)
	if err := s.site.AttachInstance(name, instance, front); err != nil {
		s.t.Fatal(err)
	}
	return r
}

// newInstances serves a mount "app" by instances that answer their names, and waits until all do.
func newInstances(
	t *testing.T, r distrib.Route, observe func(*distrib.Record), names ...string,
) (*split, map[string]*running) {
	t.Helper()
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	site.Observe = observe
	r.Back, r.Limits = "app", unhurried
	site.Handle("/app/", r)
	s := newSplit(t, site)
	all := make(map[string]*running)
	for _, name := range names {
		all[name] = s.instance("app", name, says(name))
	}
	for _, name := range names {
		s.until(name)
	}
	return s, all
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// until asks until that instance answers: of two each is picked some time.
func (s *split) until(name string) {
	s.t.Helper()
	for {
		if resp, by := s.get("/app/"); by == name {
			return
		} else if resp.StatusCode != http.StatusOK {
			s.t.Fatalf("waiting for %s: %d %q", name, resp.StatusCode, by)
		}
	}
}

// Each request goes to the instance that has less to do.
func TestInstancesShareLoad(t *testing.T) {
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	arrived, release := make(chan string), make(chan struct{})
	defer close(release)
	for _, name := range []string{"app.1", "app.2"} {
		s.instance("app", name, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/app/held" {
				arrived <- name
				<-release
			}
			_, _ = io.WriteString(w, name)
		})
	}
	s.until("app.1")
	s.until("app.2")
	count := map[string]int{}
	const each = 10
	for range 2 * each {
		go func() { // ends with release, or the server
			if resp, err := s.client.Get(s.server.URL + "/app/held"); err == nil {
				_ = resp.Body.Close()
			}
		}()
		count[<-arrived]++
	}
	if count["app.1"] != each || count["app.2"] != each {
		t.Errorf("requests under way: %v, want %d each", count, each)
	}
}

// An instance that dies costs no request that was promised to be served: the others serve at once.
func TestInstancesDieUnderLoad(t *testing.T) {
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	var mu sync.Mutex
	journal := map[string]int{}
	handler := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			if r.Method == http.MethodPost {
				mu.Lock()
				journal[string(b)]++
				mu.Unlock()
			}
			_, _ = io.WriteString(w, name)
		}
	}
	names := []string{"app.1", "app.2"}
	instances := map[string]*running{}
	for _, name := range names {
		instances[name] = s.instance("app", name, handler(name))
		s.until(name)
	}
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodGet}
	var done [4]atomic.Int64
	var stop atomic.Bool
	var asking sync.WaitGroup
	for c, method := range methods {
		asking.Go(func() {
			for i := 0; !stop.Load(); i++ {
				text := fmt.Sprint(c, "/", i)
				var body io.Reader
				if method == http.MethodPost {
					body = strings.NewReader(text)
				}
				resp, _ := s.do(method, "/app/", body)
				mu.Lock()
				begun := journal[text]
				mu.Unlock()
				switch {
				case method == http.MethodPost && begun > 1:
					t.Errorf("POST %s began %d times", text, begun)
				case resp.StatusCode == http.StatusOK:
				case method == http.MethodPost && resp.StatusCode == http.StatusBadGateway:
					// It may have begun, for the back end had named it.
				default:
					t.Errorf("%s %s: status %d", method, text, resp.StatusCode)
				}
				done[c].Add(1)
			}
		})
	}
	rounds := 20
	if testing.Short() || distrib.RaceEnabled {
		rounds = 3
	}
	for i := range rounds {
		for _, name := range names {
			instances[name].kill()
			next := fmt.Sprint(name, " again ", i)
			instances[name] = s.instance("app", name, handler(next))
			s.until(next)
			// No request lives through two deaths, or it may get 502: those of before end first.
			for c := range done {
				for before := done[c].Load(); done[c].Load() < before+2 && !t.Failed(); {
					s.get("/app/")
				}
			}
		}
	}
	stop.Store(true)
	asking.Wait()
}

// A new link of an instance takes over while requests run, as when its process is restarted in a
// rolling way: none is lost, none is doubled, and the one before ends when it has finished.
func TestInstancesReplacedUnderLoad(t *testing.T) {
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	var mu sync.Mutex
	journal := map[string]int{}
	long := strings.Repeat("x", 100<<10) // is streamed
	handler := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			mu.Lock()
			journal[string(b)]++
			mu.Unlock()
			_, _ = io.WriteString(w, name+"\n")
			if r.URL.Path == "/app/long" {
				w.(http.Flusher).Flush()
				_, _ = io.WriteString(w, long)
			}
		}
	}
	replaced := make(chan error, 2)
	start := func(instance, name string) {
		front, back := pair(t)
		var serving sync.WaitGroup
		serving.Go(func() { // ends when it is replaced, or with the site
			m := &distrib.Mount{Handler: handler(name), Logger: slog.New(slog.DiscardHandler)}
			replaced <- m.ServeConn(context.Background(), back)
		})
		t.Cleanup(func() { _ = back.Close(); serving.Wait() })
		if err := site.AttachInstance("app", instance, front); err != nil {
			t.Fatal(err)
		}
		s.until(name + "\n")
	}
	names := []string{"app.1", "app.2"}
	for _, name := range names {
		start(name, name)
	}
	var done [4]atomic.Int64
	var stop atomic.Bool
	var asking sync.WaitGroup
	for c := range done {
		asking.Go(func() { // ends with stop
			target, length := "/app/", 0
			if c%2 == 1 {
				target, length = "/app/long", len(long)
			}
			for i := 0; !stop.Load(); i++ {
				text := fmt.Sprint(c, "/", i)
				resp, body := s.do(http.MethodPost, target, strings.NewReader(text))
				_, rest, _ := strings.Cut(body, "\n")
				if resp.StatusCode != http.StatusOK || len(rest) != length {
					t.Errorf("POST %s: %d, %d bytes", text, resp.StatusCode, len(rest))
				}
				done[c].Add(1)
			}
		})
	}
	rounds := 20
	if testing.Short() || distrib.RaceEnabled {
		rounds = 3
	}
	for i := range rounds {
		for _, name := range names {
			start(name, fmt.Sprint(name, " again ", i))
			if err := <-replaced; !errors.Is(err, distrib.ErrReplaced) {
				t.Errorf("the one before ended with %v, want ErrReplaced", err)
			}
			for c := range done {
				for n := done[c].Load(); done[c].Load() < n+1 && !t.Failed(); {
					s.get("/app/")
				}
			}
		}
	}
	stop.Store(true)
	asking.Wait()
	delete(journal, "") // of GETs
	for text, times := range journal {
		if times != 1 {
			t.Errorf("%s was served %d times", text, times)
		}
	}
}

func TestSticky(t *testing.T) {
	records := make(chan string, 1000)
	observe := func(r *distrib.Record) {
		if r.Request.URL.Path == "/app/asked" {
			records <- r.Instance
		}
	}
	s, all := newInstances(t, distrib.Route{Sticky: true}, observe, "app.1", "app.2")
	ask := func(cookie string) (by, set string, c *http.Cookie) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, s.server.URL+"/app/asked", nil)
		if err != nil {
			t.Fatal(err)
		}
		if cookie != "" {
			req.Header.Set("Cookie", "other=1; "+cookie)
		}
		resp, by := s.send(req)
		if set = resp.Header.Get("Set-Cookie"); set != "" {
			if c, err = http.ParseSetCookie(set); err != nil {
				t.Fatal(err)
			}
		}
		return by, set, c
	}
	first, set, c := ask("")
	if told := <-records; told != first {
		t.Errorf("the record tells of instance %q, want %q", told, first)
	}
	if c == nil || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/app" ||
		c.Secure {
		t.Fatalf("Set-Cookie = %q, want HttpOnly, SameSite=Lax and Path=/app", set)
	}
	mine := c.Name + "=" + c.Value
	for range 20 {
		if by, set, _ := ask(mine); by != first || set != "" {
			t.Fatalf("with the cookie of %s: by %s, Set-Cookie %q", first, by, set)
		}
	}
	for _, forged := range []string{mine + "x", mine[:len(mine)-2], c.Name + "=",
		c.Name + "=app.1"} {
		if _, set, _ := ask(forged); set == "" {
			t.Errorf("the cookie %q counts", forged)
		}
	}
	// A newer link of the instance gets its clients; without any the other instance does.
	all[first].kill()
	second, _, moved := ask(mine)
	if moved == nil || second == first {
		t.Fatalf("after the end of %s: by %s, cookie %v", first, second, moved)
	}
	s.instance("app", first, says("again"))
	for by := ""; by != "again"; {
		by, _, _ = ask(mine)
	}
	if by, _, _ := ask(moved.Name + "=" + moved.Value); by != second {
		t.Errorf("with the cookie of %s: by %s", second, by)
	}
}

// The cookie that sends a client back is the front's: no back end sees or sets it, and under TLS it
// is Secure.
func TestStickyCookieIsTheFronts(t *testing.T) {
	for _, mode := range []distrib.Cookies{distrib.OwnCookies, distrib.SharedCookies} {
		site := &distrib.Site{StickyKey: []byte("key"), Logger: slog.New(slog.DiscardHandler)}
		site.Handle("/", distrib.Route{Back: "a.b", Sticky: true, Cookies: mode, Limits: unhurried})
		s := newSplit(t, site)
		s.back("a.b", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Set-Cookie", "~a!b!=forged")
			w.Header().Add("Set-Cookie", "!=forged")
			_, _ = io.WriteString(w, strings.Join(r.Header["Cookie"], "; "))
		})
		req, err := http.NewRequest(http.MethodGet, s.server.URL+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", "~a!b!=secret; ~a!b.!=secret")
		resp, body := s.send(req)
		if mode == distrib.SharedCookies && body != "" || strings.Contains(body, "~") {
			t.Errorf("mode %d: the back end sees %q", mode, body)
		}
		n := 0
		for _, set := range resp.Header["Set-Cookie"] {
			if strings.HasPrefix(set, "~a!b!=") {
				n++
				if strings.Contains(set, "forged") {
					t.Errorf("mode %d: the back end set %q", mode, set)
				}
			}
		}
		if n != 1 {
			t.Errorf("mode %d: Set-Cookie = %q", mode, resp.Header["Set-Cookie"])
		}
	}
	site := &distrib.Site{StickyKey: []byte("key"), Logger: slog.New(slog.DiscardHandler)}
	site.Handle("/", distrib.Route{Back: "app", Sticky: true, Limits: unhurried})
	s := newSplit(t, site)
	s.back("app", says("x"))
	secure := httptest.NewTLSServer(site)
	defer secure.Close()
	resp, err := secure.Client().Get(secure.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if set := resp.Header.Get("Set-Cookie"); !strings.Contains(set, "; Secure") {
		t.Errorf("under TLS: Set-Cookie = %q", set)
	}
}

// More instances than Limits.Instances are refused; a newer one of a name that is there is not.
func TestInstancesAreBounded(t *testing.T) {
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	limits := unhurried
	limits.Instances = 2
	site.Handle("/app/", distrib.Route{Back: "app", Limits: limits})
	s := newSplit(t, site)
	s.instance("app", "one", says("one"))
	s.instance("app", "two", says("two"))
	s.until("one")
	s.until("two")
	front, back := pair(t)
	if err := site.Attach("app", front); err != nil {
		t.Fatal(err)
	}
	m := &distrib.Mount{Handler: says("three"), Instance: "three",
		Logger: slog.New(slog.DiscardHandler)}
	if err := m.ServeConn(context.Background(), back); err == nil ||
		!strings.Contains(err.Error(), "2 instances") {
		t.Errorf("ServeConn() of the third = %v, want a refusal", err)
	}
	s.instance("app", "one", says("new one"))
	s.until("new one")
	if err := site.AttachInstance("app", "no name", front); err == nil {
		t.Error("AttachInstance took a name with a space")
	}
}
