package distrib_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"perspective/pb/distrib"
)

const maxMessage = 4 << 20

// coderEcho echoes until the client ends, and says how by bye.
func coderEcho(bye chan<- int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(maxMessage)
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil {
				bye <- int(websocket.CloseStatus(err))
				return
			}
			if string(b) == "close" {
				_ = c.Close(websocket.StatusPolicyViolation, "as you like")
				bye <- 0
				return
			}
			if err := c.Write(r.Context(), kind, b); err != nil {
				bye <- 0
				return
			}
		}
	}
}

// gorillaEcho is coderEcho by another library, which takes the connection first and writes the 101
// onto it. The connection outlives its handler.
func gorillaEcho(bye chan<- int, running *sync.WaitGroup) http.HandlerFunc {
	up := gorilla.Upgrader{Subprotocols: []string{"echo"},
		CheckOrigin: func(*http.Request) bool { return true }}
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		c.SetReadLimit(maxMessage)
		running.Go(func() { // ends with the connection
			defer func() { _ = c.Close() }()
			for {
				kind, b, err := c.ReadMessage()
				if closed, ok := errors.AsType[*gorilla.CloseError](err); ok {
					bye <- closed.Code
					return
				}
				if string(b) == "close" {
					word := gorilla.FormatCloseMessage(gorilla.ClosePolicyViolation, "as you like")
					err = c.WriteMessage(gorilla.CloseMessage, word)
				} else if err == nil {
					err = c.WriteMessage(kind, b)
				}
				if err != nil {
					bye <- 0
					return
				}
			}
		})
	}
}

// WebSocket goes through the split by the libraries that programs use, as without it.
func TestWebSocket(t *testing.T) {
	var running sync.WaitGroup
	defer running.Wait()
	bye := make(chan int, 10)
	for name, h := range map[string]http.HandlerFunc{
		"coder/websocket":   coderEcho(bye),
		"gorilla/websocket": gorillaEcho(bye, &running),
	} {
		t.Run(name, func(t *testing.T) {
			s, r := oneBack(t, h)
			dial := func() *websocket.Conn {
				t.Helper()
				c, resp, err := websocket.Dial(t.Context(), s.server.URL+"/app/",
					&websocket.DialOptions{Subprotocols: []string{"echo"}})
				if err != nil {
					t.Fatal(err)
				}
				if resp.Body != nil {
					_ = resp.Body.Close()
				}
				if c.Subprotocol() != "echo" {
					t.Errorf("subprotocol %q", c.Subprotocol())
				}
				c.SetReadLimit(maxMessage)
				return c
			}
			echo := func(c *websocket.Conn, kind websocket.MessageType, b []byte) {
				t.Helper()
				if err := c.Write(t.Context(), kind, b); err != nil {
					t.Fatal(err)
				}
				got, back, err := c.Read(t.Context())
				if err != nil || got != kind || !bytes.Equal(back, b) {
					t.Fatalf("echo of %d bytes: %v of %d, %v", len(b), got, len(back), err)
				}
			}
			c := dial()
			for _, n := range []int{0, 1, 125, 126, 4096, 65_535, 65_536, 1 << 20} {
				echo(c, websocket.MessageText, bytes.Repeat([]byte("a"), n))
				echo(c, websocket.MessageBinary, bytes.Repeat([]byte{0xff, 0}, n/2))
			}
			pinging(t, c)
			if err := c.Close(websocket.StatusGoingAway, "enough"); err != nil {
				t.Errorf("Close = %v", err)
			}
			if code := <-bye; code != int(websocket.StatusGoingAway) {
				t.Errorf("the handler hears %d, want 1001", code)
			}

			c = dial()
			_ = c.Write(t.Context(), websocket.MessageText, []byte("close"))
			_, _, err := c.Read(t.Context())
			var closed websocket.CloseError
			if !errors.As(err, &closed) || closed.Code != websocket.StatusPolicyViolation ||
				closed.Reason != "as you like" {
				t.Errorf("the client hears %v, want 1008", err)
			}
			_ = c.CloseNow()
			<-bye

			c = dial()
			_ = c.CloseNow() // no word
			if code := <-bye; code != -1 && code != gorilla.CloseAbnormalClosure {
				t.Errorf("the handler hears %d of a client that says nothing", code)
			}

			c = dial()
			r.kill()
			if _, _, err := c.Read(t.Context()); err == nil || websocket.CloseStatus(err) != -1 {
				t.Errorf("the client hears %v of the back end's death", err)
			}
			_ = c.CloseNow()
			<-bye
		})
	}
}

// pinging sends a ping, whose answer comes while somebody reads.
func pinging(t *testing.T, c *websocket.Conn) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	reading.Go(func() { // ends with the echo
		_, _, _ = c.Read(ctx)
	})
	if err := c.Ping(ctx); err != nil {
		t.Errorf("Ping = %v", err)
	}
	_ = c.Write(ctx, websocket.MessageText, []byte("x"))
	reading.Wait()
	cancel()
}

// A handshake that the handler refuses is an answer as any other.
func TestWebSocketRefused(t *testing.T) {
	s, _ := oneBack(t, coderEcho(nil))
	c, resp, err := websocket.Dial(t.Context(), s.server.URL+"/app/", &websocket.DialOptions{
		HTTPHeader: http.Header{"Origin": {"https://elsewhere.example"}}})
	if err == nil {
		_ = c.CloseNow()
		t.Fatal("a strange origin is served")
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status = %d, want 403", resp.StatusCode)
	}
}

// Many clients hold connections that say nothing; each answers when it is spoken to.
func TestManyIdleTunnels(t *testing.T) {
	many := 1000
	if testing.Short() {
		many = 100
	}
	limits := unhurried
	limits.ClientStreams, limits.ClientRequests = 4*many, 4*many
	limits.BodyBytes = 1 << 30
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: limits})
	s := newSplit(t, site)
	s.back("app", func(w http.ResponseWriter, _ *http.Request) {
		c, b := take(t, w, true)
		if c == nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.Copy(c, b)
	})
	open := make([]*raw, many)
	for i := range open {
		open[i] = s.upgrade("/app/")
		if open[i].status != http.StatusSwitchingProtocols {
			t.Fatalf("status = %d of number %d", open[i].status, i)
		}
	}
	for i, c := range open {
		word := fmt.Sprint("hello ", i)
		_, _ = io.WriteString(c, word)
		got := make([]byte, len(word))
		if _, err := io.ReadFull(c.in, got); err != nil || string(got) != word {
			t.Fatalf("echo = %q, %v", got, err)
		}
		_ = c.CloseWrite()
		if rest, err := io.ReadAll(c.in); len(rest) > 0 || err != nil {
			t.Fatalf("at the end %q, %v", rest, err)
		}
		_ = c.Close()
	}
	// All their places are free again.
	for range many {
		c := s.upgrade("/app/")
		_ = c.CloseWrite()
		if b, err := io.ReadAll(c.in); len(b) > 0 || err != nil {
			t.Fatalf("once more: %q, %v", b, err)
		}
		_ = c.Close()
	}
}

// What a client sends before the 101 is the handler's, if there is one.
func TestEarlyWords(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, _ *http.Request) {
		c, b := take(t, w, false)
		if c == nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.Copy(c, b)
	})
	c, in := rawClient(t, s.server)
	_, _ = io.WriteString(c, "GET /app/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"+
		"Upgrade: foo\r\n\r\nearly")
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	got := make([]byte, 5)
	if _, err := io.ReadFull(in, got); err != nil || string(got) != "early" {
		t.Errorf("got %q, %v", got, err)
	}
	_ = c.Close()
}

// A client that takes nothing of what is there for it loses its tunnel.
func TestTunnelStalls(t *testing.T) {
	site := &distrib.Site{WriteStall: 50 * time.Millisecond}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	failed := make(chan error, 1)
	s.back("app", func(w http.ResponseWriter, _ *http.Request) {
		c, _ := take(t, w, true)
		defer func() { _ = c.Close() }()
		for {
			if _, err := io.WriteString(c, strings.Repeat("a", 1<<16)); err != nil {
				failed <- err
				return
			}
		}
	})
	s.upgrade("/app/")
	if err := <-failed; err == nil {
		t.Error("no error")
	}
}
