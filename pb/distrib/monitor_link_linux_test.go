package distrib

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	processRoles["front of a site"] = func(args []string) { runSiteFront(limitsOf(args)) }
	processRoles["back of a site"] = func(args []string) { runSiteBack(limitsOf(args)) }
}

// runSiteFront serves a site whose path /app/ is the board's, and cuts its own links when a client
// asks for /cut.
func runSiteFront(limits Limits) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	h, err := Inherited()
	if err != nil {
		processFail(err)
	}
	l, err := h.Listener("http")
	if err != nil {
		processFail(err)
	}
	site := &Site{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	site.Handle("/app/", Route{Back: "board", Limits: limits})
	site.Local("/cut", http.HandlerFunc(cutLinks))
	site.Local("/break", http.HandlerFunc(breakLinks))
	site.Local("/cut-and-stop", thenStop(cutLinks))
	site.Local("/break-and-stop", thenStop(breakLinks))
	server, clients := site.Server(), site.Clients(l)
	go func() { _ = server.Serve(clients) }() // ends with Drain
	if err := h.Ready(); err != nil {
		processFail(err)
	}
	if err := site.Follow(ctx, h); err != nil {
		processFail(err)
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	_ = site.Drain(draining, server, clients)
}

// runSiteBack is a back end of honest handlers, some of which do what no other server minds.
func runSiteBack(limits Limits) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	mux := http.NewServeMux()
	mux.HandleFunc("/app/",
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
	mux.HandleFunc("/app/cut", cutLinks)
	mux.HandleFunc("/app/break", breakLinks)
	mux.HandleFunc("/app/cut-and-stop", thenStop(cutLinks))
	mux.HandleFunc("/app/break-and-stop", thenStop(breakLinks))
	if err := (&Mount{Handler: mux, Limits: limits}).Serve(ctx); err != nil {
		processFail(err)
	}
}

// quickLimits notice within a second that the other end has gone still.
var quickLimits = Limits{keepalive: 500 * time.Millisecond}

// limitsOf are those of a part of a test that hurries nobody, or quickLimits.
func limitsOf(args []string) Limits {
	if slices.Contains(args, "patient") {
		return Limits{Hold: patience}
	}
	return quickLimits
}

// cutLinks shuts the links.
func cutLinks(http.ResponseWriter, *http.Request) {
	eachLink(func(fd int) { _ = unix.Shutdown(fd, unix.SHUT_RDWR) })
}

// breakLinks writes to the links what no honest end does: a frame of yamux that is of no version.
// The other end sends ABORT.
func breakLinks(http.ResponseWriter, *http.Request) {
	eachLink(func(fd int) { _, _ = unix.Write(fd, bytes.Repeat([]byte{0xff}, 12)) })
}

// thenStop runs do, and then stops its process, so that what becomes of the link can be seen.
func thenStop(do http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		do(w, r)
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	}
}

// eachLink finds every stream socket of the unix family in this process: the links, and nothing
// else that a part has.
func eachLink(use func(fd int)) {
	for fd := range 1024 {
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil || kind != unix.SOCK_STREAM {
			continue
		}
		if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil &&
			domain == unix.AF_UNIX {
			use(fd)
		}
	}
}

// startSite runs a monitor over a front and a back end that serve a web site, and returns where.
func startSite(t *testing.T, args ...string) (p *processTest, url string) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	sep := Probe(t.Context())
	if sep.Mode == NotSeparated {
		skipOrFail(t, sep.String())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	p = startProcesses(t, sep, func(m *Monitor) {
		m.Grace = patience
		m.Front.Args = append([]string{"front of a site"}, args...)
		m.Backs[0].Args = append([]string{"back of a site"}, args...)
		m.Front.Listeners = map[string]net.Listener{"http": listener}
	})
	return p, "http://" + listener.Addr().String()
}

// fetch returns a status, 0 if there was no answer, and a body.
func fetch(t *testing.T, method, url string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// A link whose processes live is made again, whichever end lost it and however often.
func TestMonitorReplacesLinks(t *testing.T) {
	p, url := startSite(t)
	front, back := p.until("ready",
		func(f, b Description) bool { return f.State == Ready && b.State == Ready })
	for i, path := range []string{"/cut", "/app/cut", "/app/cut", "/cut", "/break", "/app/break"} {
		fetch(t, http.MethodPost, url+path)
		began := time.Now()
		if status, body := fetch(t, http.MethodGet, url+"/app/"); status != http.StatusOK {
			t.Errorf("after %s: %d %s", path, status, body)
		}
		_, b := p.until("the next link",
			func(_, b Description) bool { return b.State == Ready && b.Relinks > i })
		t.Logf("after %s: a new link in %v", path, time.Since(began))
		if b.Relinks != i+1 {
			t.Errorf("after %s: %d new links, want %d", path, b.Relinks, i+1)
		}
	}
	f, b := p.until("ready",
		func(f, b Description) bool { return f.State == Ready && b.State == Ready })
	if f.PID != front.PID || b.PID != back.PID {
		t.Errorf("processes %d and %d, want %d and %d as before", f.PID, b.PID, front.PID, back.PID)
	}
	var table strings.Builder
	if err := WriteTable(&table, p.Describe()); err != nil ||
		!strings.Contains(table.String(), string(Ready)) {
		t.Errorf("the table tells no state: %v\n%s", err, table.String())
	}
}

// A back end that is stopped loses its link after some time, and has another when it goes on.
func TestMonitorReplacesTheLinkOfAStoppedBackEnd(t *testing.T) {
	p, url := startSite(t)
	_, back := p.until("ready", func(_, b Description) bool { return b.State == Ready })
	if err := syscall.Kill(back.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(back.PID, syscall.SIGCONT) }()
	fetch(t, http.MethodPost, url+"/cut")
	p.until("no link", func(_, b Description) bool { return b.State == NoLink && b.Relinks > 0 })
	if err := syscall.Kill(back.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if status, body := fetch(t, http.MethodGet, url+"/app/"); status != http.StatusOK ||
		body != "here" {
		t.Errorf("when it went on: %d %q", status, body)
	}
	p.until("its link",
		func(_, b Description) bool { return b.State == Ready && b.PID == back.PID })
}

// Whichever end breaks a rule of the link, cuts it or stalls for longer than the other waits, the
// table says that there is no link. The monitor makes and counts another, which serves when both
// ends do. Both parts live on.
func TestMonitorReplacesLinksOfHostileParts(t *testing.T) {
	p, url := startSite(t)
	for _, from := range []string{"front", "board"} {
		for _, how := range []string{"break-and-stop", "cut-and-stop", "stop"} {
			front, back := p.until("ready",
				func(f, b Description) bool { return f.State == Ready && b.State == Ready })
			pid, path := front.PID, "/"
			if from == "board" {
				pid, path = back.PID, "/app/"
			}
			var asking sync.WaitGroup
			if how == "stop" {
				if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			} else {
				// ends when the part goes on
				asking.Go(func() { fetch(t, http.MethodPost, url+path+how) })
			}
			began := time.Now()
			p.until("no link and a new one made", func(_, b Description) bool {
				return b.State == NoLink && b.Relinks > back.Relinks
			})
			t.Logf("%s of %s: a new link after %v", how, from, time.Since(began))
			if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			asking.Wait()
			if status, body := fetch(t, http.MethodGet, url+"/app/"); status != http.StatusOK ||
				body != "here" {
				t.Errorf("%s of %s, then %d %q", how, from, status, body)
			}
			f, b := p.until("its link",
				func(f, b Description) bool { return f.State == Ready && b.State == Ready })
			if f.PID != front.PID || b.PID != back.PID {
				t.Errorf("%s of %s: processes %d and %d, want %d and %d as before", how, from,
					f.PID, b.PID, front.PID, back.PID)
			}
		}
	}
	if said := "frame of yamux version 255"; !strings.Contains(p.output.String(), said) {
		t.Errorf("nobody says %q", said)
	}
}
