package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"perspective/pb/distrib"
	"perspective/pb/web"
)

// siteLoad is what clients of a site see while parts of it die and are replaced: each request is
// sent once, and looked at for itself.
type siteLoad struct {
	t    *testing.T
	site string

	mu       sync.Mutex
	answered int   // GETs
	counted  int   // POSTs that were answered
	begun    int   // POSTs that were begun and lost: 502
	rounds   []int // requests of each client that ended
	wrong    []string

	stop    context.CancelFunc
	running sync.WaitGroup
}

// load begins to ask for each of the paths, and to POST to /app/count, until end.
func (s *siteCopy) load(site string, gets ...string) *siteLoad {
	ctx, stop := context.WithCancel(context.Background())
	const posting = 2
	l := &siteLoad{t: s.t, site: site, stop: stop, rounds: make([]int, len(gets)+posting)}
	for i, path := range gets {
		l.running.Go(func() { l.repeat(ctx, i, http.MethodGet, path) }) // ends with ctx
	}
	for i := range posting {
		l.running.Go(func() { // as above
			l.repeat(ctx, len(gets)+i, http.MethodPost, "/app/count")
		})
	}
	return l
}

func (l *siteLoad) repeat(ctx context.Context, client int, method, path string) {
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	for ctx.Err() == nil {
		// The request itself does not end with ctx: what was sent is waited for.
		status, err := l.one(context.WithoutCancel(ctx), c, method, path)
		l.note(method, path, status, err)
		l.mu.Lock()
		l.rounds[client]++
		l.mu.Unlock()
	}
}

func (l *siteLoad) one(ctx context.Context, c *http.Client, method, path string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, l.site+path, nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// note counts how a request ended.
func (l *siteLoad) note(method, path string, status int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
	case method == http.MethodGet && status == http.StatusOK:
		l.answered++
		return
	case method == http.MethodPost && status == http.StatusOK:
		l.counted++
		return
	case method == http.MethodPost && status == http.StatusBadGateway:
		l.begun++
		return
	}
	if len(l.wrong) < 20 {
		l.wrong = append(l.wrong, fmt.Sprintf("%s %s: %d %v", method, path, status, err))
	}
}

// end ends the load, and says what came of it.
func (l *siteLoad) end() {
	l.t.Helper()
	l.stop()
	l.running.Wait()
	l.t.Logf("GETs: %d answered; POSTs: %d answered, %d begun and lost", l.answered, l.counted,
		l.begun)
	for _, wrong := range l.wrong {
		l.t.Error(wrong)
	}
	if l.answered == 0 || l.counted == 0 {
		l.t.Error("nothing was asked for")
	}
}

// waitRound waits until each client has had an answer to a request that it sends from now on.
func (l *siteLoad) waitRound() {
	l.t.Helper()
	l.mu.Lock()
	before := slices.Clone(l.rounds)
	l.mu.Unlock()
	waitFor(l.t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, n := range l.rounds {
			if n < before[i]+2 { // the first may have been under way
				return false
			}
		}
		return true
	})
}

// count is the number that grows, as its file says.
func (s *siteCopy) count() int {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "data/app/count"))
	if err != nil {
		s.t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// waitStatus waits until the site's status is as wanted.
func (s *siteCopy) waitStatus(wanted func(*web.Status) bool) (status web.Status) {
	s.t.Helper()
	waitFor(s.t, func() bool {
		status = s.status()
		return wanted(&status)
	})
	return status
}

// newLoadedSite is a copy of the example that runs and is under load.
func newLoadedSite(t *testing.T) (*siteCopy, web.Status, *siteLoad) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, "legacy ", r.URL.Path)
	}))
	t.Cleanup(upstream.Close)
	s := copySite(t, upstream.URL)
	status, end := s.run()
	t.Cleanup(end)
	site := "http://" + status.Listen[0]
	getFrom(t, "", site+"/app/count") // there is a file from here on
	return s, status, s.load(site, "/", "/app/", "/app/slow?ms=5", "/legacy/x", "/cgi/")
}

// TestBackEndsDieUnderLoad kills each back end again and again: no GET is lost, and no POST that
// had not begun; what had begun is neither repeated nor called done.
func TestBackEndsDieUnderLoad(t *testing.T) {
	const deaths = 20 // of each mount
	s, _, load := newLoadedSite(t)
	before := s.count()
	for range deaths {
		victims := map[string]int{}
		for _, p := range s.status().Parts {
			if p.Mount != "" && p.State == string(distrib.Ready) {
				victims[p.Mount] = p.PID // of instances the last
			}
		}
		for _, pid := range victims {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		s.waitStatus(func(st *web.Status) bool {
			for _, p := range st.Parts {
				if p.PID == victims[p.Mount] || p.State != string(distrib.Ready) {
					return false
				}
			}
			return true
		})
		load.waitRound() // a GET is repeated once: none loses its part twice
	}
	load.end()
	if n := s.count() - before; n < load.counted || n > load.counted+load.begun {
		t.Errorf("the count grew by %d, for %d POSTs answered and %d begun and lost", n,
			load.counted, load.begun)
	}
}

// status asks the site what runs.
func (s *siteCopy) status() (status web.Status) {
	s.t.Helper()
	s.ask(&status, "status", "--json")
	return status
}
