package distrib

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
)

func testTable(t testing.TB, prefixes ...string) *routeTable {
	t.Helper()
	var table *routeTable
	for _, p := range prefixes {
		clean, err := cleanPrefix(p)
		if err != nil {
			t.Fatal(err)
		}
		if table, err = table.with(&route{prefix: clean}); err != nil {
			t.Fatal(err)
		}
	}
	return table
}

func TestFind(t *testing.T) {
	table := testTable(t, "/", "/~al/", "/~alice/", "/~bob", "/board/", "/board/admin/")
	for _, tt := range []struct{ target, want string }{
		{"/", "/"},
		{"/x/y?z=/board/", "/"},
		{"/~al", "/~al"},
		{"/~al/", "/~al"},
		{"/~alice/x", "/~alice"},
		{"/~ali", "/"},
		{"/board", "/board"},
		{"/board/", "/board"},
		{"/board?x", "/board"},
		{"/boards", "/"},
		{"/board/admin/x", "/board/admin"},
		{"/board/administrator", "/board"},
		{"http://any.host/board/x?y", "/board"},
		{"HTTP://any.host", "/"},
		{"http://any.host?q", "/"},
		// The same mount whichever way it is read: passes untouched.
		{"/board/a%2fb", "/board"},
		{"/board//a", "/board"},
		{"/board/./a", "/board"},
		{"/board/a%20b", "/board"},
		{"/x/../y", "/"},
		{"/.well-known/x", "/"},
		{"/board/%252e%252e/x", "/board"},
		// Ways round.
		{"/a/../~bob", "400"},
		{"/~al%69ce", "400"},
		{"/~al%69ce/x", "400"},
		{"/a%2f..%2f~bob", "400"},
		{"//~bob", "400"},
		{"/./~bob", "400"},
		{"/board/../~bob/x", "400"},
		{"/board/..", "400"},
		{"/board/%2e%2e/", "400"},
		{"/board%2fadmin/", "400"},
		{"/board/x/../admin/", "400"},
		{"/board//admin", "400"},
		{"/%7ebob", "400"},
		{"/%zz", "400"},
		{"ftp://host/", "400"},
		{"board", "400"},
		{"*", "400"},
	} {
		rt, target, err := table.find(
			&http.Request{RequestURI: tt.target, URL: &url.URL{Opaque: tt.target}})
		got := "400"
		if err == nil {
			got = rt.prefix
			if got == "" {
				got = "/"
			}
			if !strings.HasPrefix(target, "/") ||
				!strings.HasSuffix(tt.target, target) && target != "/" && target != "/?q" {
				t.Errorf("find(%q): target %q", tt.target, target)
			}
		} else if !errors.Is(err, errTarget) {
			t.Errorf("find(%q) = %v", tt.target, err)
		}
		if got != tt.want {
			t.Errorf("find(%q) = %s, want %s", tt.target, got, tt.want)
		}
	}
}

func FuzzFind(f *testing.F) {
	table := testTable(f, "/", "/a", "/a/b", "/~al", "/~alice")
	for _, s := range []string{"/a/../b", "/a%2fb", "//a", "/%61", "/~al%69ce/..", "/a/b?c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		rt, got, err := table.find(&http.Request{RequestURI: target, URL: &url.URL{Opaque: target}})
		if err != nil {
			return
		}
		raw, _, _ := strings.Cut(got, "?")
		decoded, err := url.PathUnescape(raw)
		if err != nil {
			t.Fatalf("%q passes but cannot be decoded", target)
		}
		for _, p := range []string{raw, decoded, path.Clean(decoded)} {
			if table.match(nil, p) != rt {
				t.Fatalf("%q goes to %q, read as %q it is not there", target, rt.prefix, p)
			}
		}
	})
}

func TestCleanPrefix(t *testing.T) {
	for prefix, want := range map[string]string{
		"/": "", "/a": "/a", "/a/": "/a", "/a/b/": "/a/b", "/~bob/": "/~bob",
		"": "!", "a": "!", "//": "!", "/a//b": "!", "/a/../b": "!", "/./": "!", "/a%20": "!",
		"/a?": "!", "/a b": "!", "/a\r\n": "!", "/a;b": "!",
	} {
		got, err := cleanPrefix(prefix)
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("cleanPrefix(%q) = %q, %v; want %q", prefix, got, err, want)
		}
	}
}

func TestTaken(t *testing.T) {
	for name, configure := range map[string]func(*Site){
		"prefix": func(s *Site) {
			s.Local("/a/", http.NotFoundHandler())
			s.Handle("/a", Route{Back: "x"})
		},
		"back end with other limits": func(s *Site) {
			s.Handle("/a", Route{Back: "x"})
			s.Handle("/b", Route{Back: "x", Limits: Limits{Requests: 1}})
		},
		"prefix of a host": func(s *Site) {
			s.Handle("/a", Route{Back: "x", Host: "a.test"})
			s.Handle("/a/", Route{Back: "y", Host: "A.TEST"})
		},
		"host with a port": func(s *Site) { s.Handle("/a", Route{Back: "x", Host: "a.test:80"}) },
		"handler and back end": func(s *Site) {
			s.Handle("/a", Route{Back: "x", Handler: http.NotFoundHandler()})
		},
		"no name":      func(s *Site) { s.Handle("/a", Route{}) },
		"no handler":   func(s *Site) { s.Local("/a", nil) },
		"not a prefix": func(s *Site) { s.Local("a", http.NotFoundHandler()) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			configure(new(Site))
		})
	}
}
