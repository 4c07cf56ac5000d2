package distrib

import (
	"strings"
	"testing"
)

func TestSetCookie(t *testing.T) {
	own := newCookieJar("board", "/board", OwnCookies, []string{"s"})
	shared := newCookieJar("board", "/board", SharedCookies, []string{"s"})
	for _, tt := range []struct{ in, own, shared string }{
		{"a=1", "~board.a=1; Path=/board", "a=1; Path=/board"},
		{"a=1; Path=/", "~board.a=1; Path=/board", "a=1; Path=/board"},
		{"a=1; Path=/board/x", "~board.a=1; Path=/board/x", "a=1; Path=/board/x"},
		{"a=1; path=/boards", "~board.a=1; Path=/board", "a=1; Path=/board"},
		{"a=1; Path=/board/../x", "~board.a=1; Path=/board", "a=1; Path=/board"},
		{"a=1; Path=/board/%2e%2e", "~board.a=1; Path=/board", "a=1; Path=/board"},
		{"a=1; Path=/board/x; Path=/", "~board.a=1; Path=/board", "a=1; Path=/board"},
		{"a=1; Path", "~board.a=1; Path=/board", "a=1; Path=/board"},
		{"a=1; Domain=example.org", "~board.a=1; Path=/board", "a=1; Path=/board"},
		{"a=1;DOMAIN = example.org; Secure", "~board.a=1; Secure; Path=/board",
			"a=1; Secure; Path=/board"},
		{"a=1; HttpOnly; SameSite=Lax; Max-Age=3; Expires=Wed, 09 Jun 2027 10:18:14 GMT",
			"~board.a=1; HttpOnly; SameSite=Lax; Max-Age=3; Expires=Wed, 09 Jun 2027 10:18:14 " +
				"GMT; Path=/board",
			"a=1; HttpOnly; SameSite=Lax; Max-Age=3; Expires=Wed, 09 Jun 2027 10:18:14 GMT; " +
				"Path=/board"},
		{"a=b=c", "~board.a=b=c; Path=/board", "a=b=c; Path=/board"},
		{"a=", "~board.a=; Path=/board", "a=; Path=/board"},
		// Refused.
		{"__Host-a=1; Secure", "", ""},
		{"__SECURE-a=1; Secure", "", ""},
		{" __host-a=1", "", ""},
		{"s=1", "", ""},
		{"S=1", "", ""},
		{"=1", "", ""},
		{"=__Host-a=1", "", ""},
		{"a", "", ""},
		{"", "", ""},
		{"a b=1", "", ""},
		{"~other.a=1", "~board.~other.a=1; Path=/board", ""},
	} {
		for _, j := range []struct {
			name string
			jar  cookieJar
			want string
		}{{"own", own, tt.own}, {"shared", shared, tt.shared}} {
			got, ok := j.jar.set(tt.in)
			if got != j.want || ok != (j.want != "") {
				t.Errorf("%s: set(%q) = %q, %v; want %q", j.name, tt.in, got, ok, j.want)
			}
		}
	}
}

func TestForwardCookies(t *testing.T) {
	sent := []string{"~board.a=1; ~board.b=x=y; ~site.a=2; plain=3; s=4; __Host-s=5",
		"~board.__Host-x=6; ~board.s=7; odd; ~boa.rd=8; ~board.=9"}
	for _, tt := range []struct {
		jar  cookieJar
		want string
	}{
		{newCookieJar("board", "/board", OwnCookies, []string{"s"}), "a=1; b=x=y"},
		{newCookieJar("site", "", OwnCookies, []string{"s"}), "a=2"},
		{newCookieJar("boa", "/boa", OwnCookies, nil), "rd=8"},
		{newCookieJar("other", "/other", OwnCookies, nil), ""},
		{newCookieJar("board", "/board", SharedCookies, []string{"s"}), "plain=3"},
	} {
		if got := tt.jar.forward(sent); got != tt.want {
			t.Errorf("jar %s%s: forward = %q, want %q", tt.jar.prefix, tt.jar.path, got, tt.want)
		}
	}
}

// A mount whose name continues another's with a dot must not get at its cookies.
func TestCookieNamesDoNotMix(t *testing.T) {
	a, ab := newCookieJar("a", "/a", OwnCookies, nil), newCookieJar("a.b", "/b", OwnCookies, nil)
	for _, c := range []string{"c", "b.c", "b!c", "!b.c"} {
		for _, pair := range [][2]cookieJar{{a, ab}, {ab, a}} {
			set, ok := pair[0].set(c + "=1")
			if !ok {
				t.Fatalf("set(%q) refused", c)
			}
			cookie, _, _ := strings.Cut(set, ";")
			if got := pair[0].forward([]string{cookie}); got != c+"=1" {
				t.Errorf("%s came back as %q", c, got)
			}
			if got := pair[1].forward([]string{cookie}); got != "" {
				t.Errorf("another mount sees %q as %q", cookie, got)
			}
		}
	}
}

func FuzzSetCookie(f *testing.F) {
	for _, s := range []string{"a=1; Path=/; Domain=x", "a=1;;;", "=;=",
		"a=1; Path=/board/a; Secure"} {
		f.Add(s)
	}
	j := newCookieJar("board", "/board", OwnCookies, nil)
	f.Fuzz(func(t *testing.T, in string) {
		got, ok := j.set(in)
		if !ok {
			return
		}
		if !strings.HasPrefix(got, "~board.") {
			t.Fatalf("set(%q) = %q", in, got)
		}
		paths := 0
		for a := range strings.SplitSeq(got, ";") {
			key, v, _ := strings.Cut(strings.TrimSpace(a), "=")
			switch {
			case strings.EqualFold(strings.TrimSpace(key), "domain"):
				t.Fatalf("set(%q) = %q: a domain", in, got)
			case strings.EqualFold(strings.TrimSpace(key), "path"):
				paths++
				if v != "/board" && !strings.HasPrefix(v, "/board/") {
					t.Fatalf("set(%q) = %q: outside the mount", in, got)
				}
			}
		}
		if paths != 1 {
			t.Fatalf("set(%q) = %q: %d paths", in, got, paths)
		}
	})
}
