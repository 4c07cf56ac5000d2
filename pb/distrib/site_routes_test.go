package distrib_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"perspective/pb/distrib"
)

func (s *split) at(host, target string) (reply, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.server.URL+target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = host
	return s.send(req)
}

// A route with a host goes before those without, and a mount may have several.
func TestRoutesByHost(t *testing.T) {
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	local := func(text string) http.Handler { return says(text) }
	if err := site.Configure([]distrib.Route{
		{Handler: local("any")},
		{Paths: []string{"/a/b/", "/c"}, Back: "deep", Limits: unhurried},
		{Host: "Other.test", Handler: local("other")},
		{Host: "other.test", Paths: []string{"/a/"}, Back: "deep", Limits: unhurried},
		{Host: "[2001:db8::1]", Handler: local("address")},
		{Host: "paths.test", Paths: []string{"/only/"}, Handler: local("only")},
	}); err != nil {
		t.Fatal(err)
	}
	s := newSplit(t, site)
	s.back("deep", says("deep"))
	for _, tt := range []struct{ host, target, want string }{
		{"", "/", "any"},
		{"example.test", "/a/b/c", "deep"},
		{"example.test", "/c", "deep"},
		{"example.test", "/cc", "any"},
		{"other.test", "/", "other"},
		{"OTHER.test:8080", "/a/b", "deep"},
		{"other.test.", "/c/", "other"},
		{"sub.other.test", "/", "any"},
		{"[2001:db8::1]:80", "/", "address"},
		{"[2001:DB8::1]", "/", "address"},
		{"paths.test", "/only/x", "only"},
		{"paths.test", "/onlyx", "any"},
		{"paths.test", "/c/", "deep"},
	} {
		if _, body := s.at(tt.host, tt.target); body != tt.want {
			t.Errorf("%s%s is served by %q, want %q", tt.host, tt.target, body, tt.want)
		}
	}
	// What is ambiguous for a host is refused, whatever it is for others.
	if resp, _ := s.at("other.test", "/x/../a/"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a way round: status %d, want 400", resp.StatusCode)
	}
	d, err := site.Route("other.test", "/a/x?q")
	if err != nil || d.Route != "other.test/a/" || d.Target != "/a/x?q" || d.Mount == nil ||
		!slices.Equal(d.Mount.Routes, []string{"/a/b/", "/c/", "other.test/a/"}) {
		t.Errorf("Route() = %+v, %v", d, err)
	}
	if d, err := site.Route("other.test", "/x"); err != nil || d.Mount != nil ||
		d.Route != "other.test/" {
		t.Errorf("Route() of the front's own = %+v, %v", d, err)
	}
	if _, err := site.Route("other.test", "/x/../a/"); err == nil ||
		!strings.Contains(err.Error(), "ambiguous") {
		t.Errorf("Route() of a way round = %v", err)
	}
	if _, err := new(distrib.Site).Route("", "/x"); err == nil {
		t.Error("Route() of an empty site gave no error")
	}
}

func TestStrip(t *testing.T) {
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/redirect" {
			http.Redirect(w, r, "/there", http.StatusFound)
			return
		}
		_, _ = fmt.Fprint(w, r.RequestURI, " ", r.URL.Path, " ", r.URL.RawPath, " ",
			r.Header["X-Forwarded-Prefix"])
	}
	site.Handle("/old/app/", distrib.Route{Back: "app", Strip: true, Limits: unhurried})
	site.Handle("/old/own/", distrib.Route{Handler: http.HandlerFunc(handler), Strip: true})
	site.Handle("/old/plain/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	s.back("app", handler)
	for _, at := range []string{"/old/app", "/old/own"} {
		prefix := " [" + at + "]"
		for target, want := range map[string]string{
			at:                   "/ / " + prefix,
			at + "/":             "/ / " + prefix,
			at + "?q=1":          "/?q=1 / " + prefix,
			at + "/x/y?q":        "/x/y?q /x/y " + prefix,
			at + "/a%2fb":        "/a%2fb /a/b /a%2fb" + prefix,
			at + "/a//b":         "/a//b /a//b " + prefix,
			at + "//evil.test":   "400",
			at + "/\\evil.test":  "400",
			at + "/../plain/":    "400",
			at + "/%2e%2e/plain": "400",
		} {
			req, err := http.NewRequest(http.MethodGet, s.server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.URL.Opaque = target
			req.Header.Set("X-Forwarded-Prefix", "/forged")
			resp, body := s.send(req)
			if resp.StatusCode != http.StatusOK {
				body = fmt.Sprint(resp.StatusCode)
			}
			if body != want {
				t.Errorf("%s: the handler sees %q, want %q", target, body, want)
			}
		}
		// Where it leads is the handler's word, which is not changed.
		if resp, _ := s.get(at + "/redirect"); resp.Header.Get("Location") != "/there" {
			t.Errorf("%s: Location = %q", at, resp.Header.Get("Location"))
		}
	}
	if _, body := s.get("/old/plain/x"); body != "/old/plain/x /old/plain/x  []" {
		t.Errorf("without Strip the handler sees %q", body)
	}
}

// Configure takes a table whole or not at all.
func TestConfigureAllOrNothing(t *testing.T) {
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	site.Local("/a/", says("before"))
	s := newSplit(t, site)
	good := distrib.Route{Paths: []string{"/a/"}, Handler: says("after")}
	for what, bad := range map[string]distrib.Route{
		"/a/ is taken":  {Paths: []string{"/b/", "/a"}, Back: "b"},
		"no name":       {Back: "b b"},
		"no prefix":     {Paths: []string{"b"}, Back: "b"},
		"no host":       {Host: "b/c", Back: "b"},
		"has a handler": {Back: "b", Handler: says("b")},
	} {
		if err := site.Configure([]distrib.Route{good, bad}); err == nil ||
			!strings.Contains(err.Error(), what) {
			t.Errorf("Configure() = %v, want %q", err, what)
		}
	}
	if _, body := s.get("/a/"); body != "before" {
		t.Errorf("after the refusals: %q", body)
	}
	if err := site.Configure([]distrib.Route{good}); err != nil {
		t.Fatal(err)
	}
	if _, body := s.get("/a/"); body != "after" {
		t.Errorf("afterwards: %q", body)
	}
	if err := site.Close(); err != nil {
		t.Fatal(err)
	}
	if err := site.Configure(nil); !errors.Is(err, distrib.ErrSiteClosed) {
		t.Errorf("Configure() after Close = %v, want ErrSiteClosed", err)
	}
}

// A mount that goes finishes what it has, and its links end; one that stays keeps them.
func TestConfigureDrains(t *testing.T) {
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	kept := distrib.Route{Paths: []string{"/kept/"}, Back: "kept", Limits: unhurried}
	site.Handle("/gone/", distrib.Route{Back: "gone", Limits: unhurried})
	if err := site.Configure([]distrib.Route{kept,
		{Paths: []string{"/gone/"}, Back: "gone", Limits: unhurried}}); err != nil {
		t.Fatal(err)
	}
	s := newSplit(t, site)
	in, release := make(chan struct{}), make(chan struct{})
	handler := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "held") {
			in <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, "served")
	}
	s.back("kept", handler)
	s.back("gone", handler)
	bodies := make(chan string, 2)
	for _, target := range []string{"/kept/held", "/gone/held"} {
		go func() { // ends with release
			_, body := s.get(target)
			bodies <- body
		}()
		<-in
	}
	kept.Limits.Requests = 1 // which is used up only by those that come from now on
	kept.Limits.Instances = 3
	if err := site.Configure([]distrib.Route{kept}); err != nil {
		t.Fatal(err)
	}
	if resp, _ := s.get("/gone/"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a mount that is gone: status %d, want 404", resp.StatusCode)
	}
	if _, body := s.get("/kept/"); body != "served" {
		t.Errorf("a mount that stays: %q", body)
	}
	d := site.Describe()
	if len(d) != 1 || d[0].Name != "kept" || len(d[0].Instances) != 1 ||
		d[0].Instances[0].State != distrib.Serving || d[0].Instances[0].Requests != 1 ||
		d[0].Instances[0].Since.IsZero() {
		t.Errorf("Describe() = %+v", d)
	}
	front, back := pair(t)
	defer func() { _ = back.Close() }()
	if err := site.Attach("gone", front); err == nil {
		t.Error("a link to a mount that is gone was taken")
	}
	close(release)
	for range 2 {
		if body := <-bodies; body != "served" {
			t.Errorf("what was under way got %q", body)
		}
	}
}

// Requests that run while the table is replaced again and again are served by the mount that had
// their path when they came, or the one that has it now.
func TestConfigureUnderLoad(t *testing.T) {
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	tables := [][]distrib.Route{
		{{Paths: []string{"/app/"}, Back: "a", Limits: unhurried},
			{Paths: []string{"/stays/"}, Back: "stays", Limits: unhurried}},
		{{Paths: []string{"/app/"}, Back: "b", Limits: unhurried},
			{Paths: []string{"/stays/", "/too/"}, Back: "stays", Sticky: true, Limits: unhurried}},
	}
	for i := range tables[1] {
		tables[1][i].Limits.Requests = 1 << 10
	}
	if err := site.Configure(tables[0]); err != nil {
		t.Fatal(err)
	}
	s := newSplit(t, site)
	handler := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprint(w, name, " ", string(b))
		}
	}
	s.back("a", handler("a"))
	s.back("stays", handler("stays"))
	var done [4]atomic.Int64
	var stop atomic.Bool
	var asking sync.WaitGroup
	defer asking.Wait()
	defer stop.Store(true)
	for c := range done {
		asking.Go(func() { // ends with stop
			for !stop.Load() {
				target, want := "/app/", "a b"
				if c%2 == 1 {
					target, want = "/stays/", "stays"
				}
				resp, body := s.do(http.MethodPost, target, strings.NewReader("x"))
				by, got, _ := strings.Cut(body, " ")
				if resp.StatusCode != http.StatusOK || !strings.Contains(want, by) || got != "x" {
					t.Errorf("POST %s: %d %q", target, resp.StatusCode, body)
					return
				}
				done[c].Add(1)
			}
		})
	}
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	for i := range rounds {
		next := (i + 1) % 2
		if err := site.Configure(tables[next]); err != nil {
			t.Fatal(err)
		}
		// A mount that was away has new links.
		name := tables[next][0].Back
		s.back(name, handler(name))
		for c := range done {
			for before := done[c].Load(); done[c].Load() < before+3 && !t.Failed(); {
				s.get("/stays/")
			}
		}
	}
}
