package distrib

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"perspective/pb"
)

// What a back end asks of sessions it gets for requests of its own that are under way, and one key
// for each, however often it asks.
func TestHostileSessions(t *testing.T) {
	ids := make(chan uint64, 1)
	s := newHostileSite(t, func(ctx context.Context, q *request) (*response, error) {
		if len(q.session) != 0 {
			t.Errorf("a client without a cookie has a session: %x", q.session)
		}
		ids <- q.id
		ask := func(id uint64) ([]byte, error) {
			return pb.Do[[]byte](ctx, pb.ConnFrom(ctx).Root(), "Session", id)
		}
		if key, err := ask(q.id); err == nil {
			t.Errorf("without a note: %x", key)
		}
		for range maxInformed / 2 {
			if err := pb.Note(ctx, noteSession); err != nil {
				t.Errorf("Note() = %v", err)
			}
		}
		if key, err := ask(q.id + 1); err == nil {
			t.Errorf("for another request: %x", key)
		}
		key, err := ask(q.id)
		again, errAgain := ask(q.id)
		if err != nil || errAgain != nil || len(key) != sessionKeyBytes ||
			!bytes.Equal(key, again) {
			t.Errorf("Session() = %x, %v; again %x, %v", key, err, again, errAgain)
		}
		return &response{status: 200, length: -1,
			header: []string{"Set-Cookie", "s=AAAA", "Cache-Control", "public, max-age=9"}}, nil
	})
	got := s.raw("GET /evil/ HTTP/1.1\r\n" + closing)
	if n := strings.Count(got, "Set-Cookie:"); n != 1 || !strings.Contains(got,
		"Set-Cookie: s=") || strings.Contains(got, "s=AAAA;") ||
		!strings.Contains(got, "Cache-Control: private\r\n") {
		t.Errorf("the client got %q", got)
	}
	if key, err := pb.Do[[]byte](t.Context(), s.conn.Root(), "Session", <-ids); err == nil {
		t.Errorf("after the response: %x", key)
	}
	s.good()
}

// Keys of mounts, users, ids and fronts are all different.
func TestMountKeys(t *testing.T) {
	seen := map[string]bool{}
	one, other := newFrontKey([]byte("one")), newFrontKey([]byte("other"))
	id := newSessionID(one.id)
	for _, k := range []*frontKey{one, other} {
		for _, id := range []sessionID{id, newSessionID(one.id)} {
			for _, who := range [][2]string{{"", "app"}, {"ann", "app"}, {"ann", "ap"},
				{"annap", "p"}, {"", "annapp"}, {"a", "nnapp"}} {
				seen[string(k.mountKey(nil, id, who[0], who[1]))] = true
			}
		}
	}
	if len(seen) != 24 {
		t.Errorf("%d different keys, want 24", len(seen))
	}
	if !bytes.Equal(one.mountKey(nil, id, "a", "m"), newFrontKey([]byte("one")).mountKey(nil, id,
		"a", "m")) {
		t.Error("the same secret makes other keys")
	}
}

// A front that knows the keys from before goes on with their sessions.
func TestSessionKeysFromBefore(t *testing.T) {
	shared := &Sessions{}
	defer func() { _ = shared.Close() }()
	const value SessionValue[int] = "n"
	visit := func(cookie string, keys ...string) (n int, set string) {
		site := &Site{Sessions: shared}
		for _, k := range keys {
			site.SessionKeys = append(site.SessionKeys, []byte(k))
		}
		site.Local("/", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			n, _ = value.Get(SessionOf(r))
			if err := value.Put(SessionOf(r), n+1); err != nil {
				t.Errorf("Put() = %v", err)
			}
		}))
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.TLS = &tls.ConnectionState{}
		r.Header.Set("Cookie", cookie)
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		if err := site.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		set, _, _ = strings.Cut(w.Header().Get("Set-Cookie"), ";")
		return n, set
	}
	_, cookie := visit("", "old")
	for _, tt := range []struct {
		keys []string
		want int
		set  bool
	}{
		{[]string{"old"}, 1, false},
		{[]string{"new", "old"}, 2, false},
		{[]string{"new"}, 0, true},
		{nil, 0, true},
	} {
		n, set := visit(cookie, tt.keys...)
		if n != tt.want || (set != "") != tt.set {
			t.Errorf("with the keys %q: %d, cookie %q; want %d, %v", tt.keys, n, set, tt.want,
				tt.set)
		}
	}
}

func FuzzSameSite(f *testing.F) {
	for _, s := range []string{"/a?b#c", "//evil", `/\evil`, "https:evil", "/\t/x", "/%2f/x"} {
		f.Add(s)
	}
	base := &url.URL{Scheme: "https", Host: "site.test", Path: "/.pb/login"}
	f.Fuzz(func(t *testing.T, next string) {
		got := sameSite(next)
		if got != "/" && got != next {
			t.Fatalf("sameSite(%q) = %q", next, got)
		}
		// Browsers drop tabs and ends of lines, and take a backslash for a slash.
		seen := strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(got)
		u, err := url.Parse(seen)
		if err != nil {
			return // a broken escape: it stays with the site all the same
		}
		if to := base.ResolveReference(u); to.Host != "site.test" || to.Scheme != "https" {
			t.Fatalf("sameSite(%q) = %q leads to %s", next, got, to)
		}
	})
}
