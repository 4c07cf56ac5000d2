package distrib_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"perspective/pb/distrib"
)

// dialFrom connects from an address of this machine's own.
func dialFrom(t *testing.T, s *split, from string) (net.Conn, *bufio.Reader) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(context.Background(), "tcp", s.server.Listener.Addr().String())
	if err != nil {
		t.Skipf("no address %s here: %v", from, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, bufio.NewReader(c)
}

// One client holds its share of what there is and no more; others are served.
func TestClientHoldsItsShare(t *testing.T) {
	const most = 4
	for _, kind := range []string{"streamed responses", "slow bodies"} {
		t.Run(kind, func(t *testing.T) {
			site := &distrib.Site{}
			site.Handle("/app/", distrib.Route{Back: "app",
				Limits: distrib.Limits{Streams: 64, ClientStreams: most}})
			s := newSplit(t, site)
			begun := make(chan struct{}, 64)
			s.back("app", func(w http.ResponseWriter, r *http.Request) {
				begun <- struct{}{}
				switch {
				case r.Method == http.MethodPost:
					_, _ = io.Copy(io.Discard, r.Body)
				default:
					_, _ = io.WriteString(w, "event")
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
				}
			})
			ask := func(from string) int {
				c, in := dialFrom(t, s, from)
				if kind == "slow bodies" {
					_, _ = io.WriteString(c,
						"POST /app/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nsome")
					// It is held when its handler has begun, or refused.
					refused := make(chan int, 1)
					go func() { // ends with the connection
						status := 0
						if resp, err := http.ReadResponse(in, nil); err == nil {
							status = resp.StatusCode
							_ = resp.Body.Close()
						}
						refused <- status
					}()
					select {
					case <-begun:
						return http.StatusOK
					case status := <-refused:
						return status
					}
				}
				_, _ = io.WriteString(c, "GET /app/ HTTP/1.1\r\nHost: x\r\n\r\n")
				resp, err := http.ReadResponse(in, nil) //nolint:bodyclose // the connection ends it
				if err != nil {
					t.Fatal(err)
				}
				return resp.StatusCode // the body stays open
			}
			for i := range most + 3 {
				want := http.StatusOK
				if i >= most {
					want = http.StatusServiceUnavailable
				}
				if got := ask("127.0.0.1"); got != want {
					t.Errorf("stream %d of one client: status = %d, want %d", i+1, got, want)
				}
			}
			if got := ask("127.0.0.2"); got != http.StatusOK {
				t.Errorf("another client: status = %d, want 200", got)
			}
			s.server.CloseClientConnections()
		})
	}
}

// A client that waits for a back end takes its share of the places, and the others are for others.
func TestClientWaitsInItsShare(t *testing.T) {
	site := &distrib.Site{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"),
			netip.MustParsePrefix("::1/128")},
	}
	site.Handle("/app/", distrib.Route{Back: "app",
		Limits: distrib.Limits{Waiting: 16, ClientWaiting: 3, Hold: time.Minute}})
	s := newSplit(t, site)
	status := make(chan int, 32)
	var wg sync.WaitGroup
	get := func(client string) {
		wg.Go(func() {
			req, err := http.NewRequest(http.MethodGet, s.server.URL+"/app/", http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("X-Forwarded-For", client)
			resp, err := s.client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			status <- resp.StatusCode
		})
	}
	// All are of one /64: which of them are refused is no matter.
	for i := range 5 {
		get(fmt.Sprintf("2001:db8:1:2::%d", i+1))
	}
	for range 2 {
		if got := <-status; got != http.StatusServiceUnavailable {
			t.Errorf("status = %d, want 503", got)
		}
	}
	get("2001:db8:1:3::1")
	s.back("app", func(http.ResponseWriter, *http.Request) {})
	for range 4 {
		if got := <-status; got != http.StatusOK {
			t.Errorf("status = %d, want 200", got)
		}
	}
	wg.Wait()
}

// A Site without any field set has bounds in the server that it makes.
func TestServerHasBounds(t *testing.T) {
	server := (&distrib.Site{}).Server()
	if server.ReadHeaderTimeout <= 0 || server.IdleTimeout <= 0 || server.MaxHeaderBytes <= 0 ||
		server.Handler == nil {
		t.Errorf("Server() = %+v", server)
	}
}
