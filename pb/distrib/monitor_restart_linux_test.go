package distrib

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestMonitorRestart replaces a process by another of the same part, which has its user and its
// dialer.
func TestMonitorRestart(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		address := greeter(t)
		p := startProcesses(t, sep, func(m *Monitor) {
			m.Backs[0].Rights.Dial = []string{address}
		})
		_, first := p.until("ready", func(f, b Description) bool {
			return f.State == Ready && b.State == Ready
		})
		if err := p.Restart(t.Context(), "board"); err != nil {
			t.Fatal(err)
		}
		_, second := p.until("the first's end", func(_, b Description) bool {
			return b.State == Ready && len(p.Describe()) == 4
		})
		if second.PID == first.PID || second.UID != first.UID {
			t.Errorf("first %+v, second %+v", first, second)
		}
		if got := p.order(p.front, "ask", "board", "hello"); got != "board says hello" {
			t.Errorf("over the link: %q", got)
		}
		if got := p.order(p.back, "dial listed", address); got != "ok" {
			t.Errorf("by the dialer: %s", got)
		}
		if err := p.Restart(t.Context(), "nobody"); err == nil {
			t.Error("a part that is not there")
		}
		p.stop()
		if err := p.wait(); err != nil {
			t.Error(err)
		}
		if err := p.Restart(t.Context(), "board"); !errors.Is(err, ErrStopped) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// TestMonitorHand hands files to a part, which its next life has too if they were taken.
func TestMonitorHand(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		p := startProcesses(t, sep, nil)
		file := func(text string) *os.File {
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			return f
		}
		for text, want := range map[string]string{"take": "", "refuse": `"refuse"`,
			"panic": "panic"} {
			err := p.Hand(t.Context(), "board", text, file(text))
			if want == "" && err != nil || want != "" &&
				(err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("Hand(%s) = %v", text, err)
			}
		}
		if err := p.Restart(t.Context(), "board"); err != nil {
			t.Fatal(err)
		}
		p.until("the first's end", func(_, b Description) bool {
			return b.State == Ready && len(p.Describe()) == 3
		})
		if got := p.order(p.back, "file", "take"); got != "take" {
			t.Errorf("the next life's file: %q", got)
		}
		if got := p.order(p.back, "file", "refuse"); !strings.HasPrefix(got, "refused") {
			t.Errorf("a file that was refused: %q", got)
		}
		if err := p.Hand(t.Context(), "board", "a b", file("")); err == nil {
			t.Error("a name that is none")
		}
	})
}

// TestRestartUnderLoad restarts a back end, or the front, while clients post. No request
// is lost or gets another answer than 200.
func TestRestartUnderLoad(t *testing.T) {
	for part, times := range map[string]int{"board": 10, "front": 3} {
		t.Run(part, func(t *testing.T) {
			p, url := startSite(t, "patient")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			var clients sync.WaitGroup
			var served atomic.Int64
			for range 4 {
				clients.Go(func() { // ends with cancel
					for ctx.Err() == nil && postTo(t, transport, url) {
						served.Add(1)
					}
				})
			}
			for range times {
				if err := p.Restart(t.Context(), part); err != nil {
					t.Error(err)
					break
				}
			}
			cancel()
			clients.Wait()
			t.Logf("%d requests", served.Load())
		})
	}
}

// postTo posts once to the board of a site and says whether it was answered as it should be.
func postTo(t *testing.T, transport *http.Transport, url string) bool {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/app/",
		strings.NewReader("x"))
	if err != nil {
		t.Error(err)
		return false
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Error(err)
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || string(text) != "here" {
		t.Errorf("status %d, %q, %v", resp.StatusCode, text, err)
		return false
	}
	return true
}
