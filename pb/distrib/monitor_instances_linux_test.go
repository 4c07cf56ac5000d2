package distrib

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func init() {
	processRoles["front of instances"] = func([]string) { runInstancesFront() }
	processRoles["instance"] = func([]string) { runInstance() }
}

// runInstancesFront serves a mount "app", whose instances may take as long as they like.
func runInstancesFront() {
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
	site.Handle("/", Route{Back: "app", Limits: Limits{Hold: patience, HeaderTimeout: patience}})
	server := &http.Server{Handler: site, ReadHeaderTimeout: patience}
	go func() { _ = server.Serve(l) }() // ends with the process
	if err := h.Ready(); err != nil {
		processFail(err)
	}
	if err := site.Follow(ctx, h); err != nil {
		processFail(err)
	}
}

func runInstance() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	h, err := Inherited()
	if err != nil {
		processFail(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, h.Name())
	})
	mux.HandleFunc("/passed", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, r.FormValue("path"))
		fmt.Println("passed:", w.(*responseWriter).passed)
	})
	if err := (&Mount{Handler: mux}).Serve(ctx); err != nil {
		processFail(err)
	}
}

// find waits for a state of the part of that name.
func (p *processTest) find(name string, holds func(Description) bool) (found Description) {
	p.t.Helper()
	expired := time.NewTimer(patience)
	defer expired.Stop()
	for {
		p.state.Lock()
		changed, table := p.state.watch(), p.state.table
		p.state.Unlock()
		for _, d := range table {
			if d.Name == name && holds(d) {
				return d
			}
		}
		select {
		case <-changed:
		case <-expired.C:
			p.t.Fatalf("waiting for %s: %v", name, table)
		}
	}
}

// Instances that are killed under load cost no GET and no HEAD: another one serves, and each comes
// back as the instance that it was.
func TestMonitorInstancesKilled(t *testing.T) {
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
	names := []string{"app.1", "app.2"}
	p := startProcesses(t, sep, func(m *Monitor) {
		m.Front = Part{Args: []string{"front of instances"},
			Listeners: map[string]net.Listener{"http": listener}}
		m.Backs = nil
		for _, name := range names {
			m.Backs = append(m.Backs, Part{Name: name, Mount: "app", Args: []string{"instance"}})
		}
	})
	url := "http://" + listener.Addr().String() + "/"
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPost}
	var done [3]atomic.Int64
	var stop atomic.Bool
	var asking sync.WaitGroup
	defer asking.Wait()
	defer stop.Store(true)
	served := make(map[string]*atomic.Int64)
	for _, name := range names {
		served[name] = new(atomic.Int64)
	}
	for c, method := range methods {
		asking.Go(func() { // ends with stop
			for !stop.Load() {
				status, by := fetch(t, method, url)
				// A POST that had begun is lost with its process, and the client is told.
				if status != http.StatusOK &&
					(method != http.MethodPost || status != http.StatusBadGateway) {
					t.Errorf("%s: %d %s", method, status, by)
				}
				if served[by] != nil {
					served[by].Add(1)
				}
				done[c].Add(1)
			}
		})
	}
	rounds := 20
	if RaceEnabled {
		rounds = 3 // processes start slowly
	}
	for range rounds {
		for _, name := range names {
			before := p.find(name, func(d Description) bool { return d.State == Ready })
			if before.Mount != "app" {
				t.Fatalf("%s is an instance of %q", name, before.Mount)
			}
			if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			p.find(name, func(d Description) bool {
				return d.State == Ready && d.PID != before.PID
			})
			// It serves again, and no request lives through two deaths.
			for again := served[name].Load(); served[name].Load() == again && !t.Failed(); {
				fetch(t, http.MethodOptions, url)
			}
			for c := range done {
				for n := done[c].Load(); done[c].Load() < n+2 && !t.Failed(); {
					fetch(t, http.MethodOptions, url)
				}
			}
		}
	}
}
