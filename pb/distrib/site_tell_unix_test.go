//go:build unix

package distrib

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// realPair returns the two ends of a pair of sockets.
func realPair(t *testing.T) (front, back *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		syscall.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), "pair")
		nc, err := net.FileConn(file)
		if err != nil {
			t.Fatal(err)
		}
		_ = file.Close() // net has its own
		ends[i] = nc.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

func TestIsPair(t *testing.T) {
	front, back := realPair(t)
	named, dialed := unixPair(t)
	pipe, far := net.Pipe()
	for _, test := range []struct {
		name string
		nc   net.Conn
		want bool
	}{
		{"a pair", front, true}, {"its other end", back, true}, {"accepted", named, false},
		{"dialed", dialed, false}, {"a pipe", pipe, false},
	} {
		if got := isPair(test.nc); got != test.want {
			t.Errorf("isPair(%s) = %v, want %v", test.name, got, test.want)
		}
	}
	for _, c := range []net.Conn{front, back, named, dialed, pipe, far} {
		_ = c.Close() // it was only looked at
	}
}

// TestToldOverAPair has a back end end in several ways: a POST is sent to the next one if the front
// is certain that the handler had not begun.
func TestToldOverAPair(t *testing.T) {
	for _, test := range []struct {
		name   string
		end    func(ctx context.Context, l *link, back net.Conn) error
		status int
	}{
		{"it had not begun", func(_ context.Context, _ *link, back net.Conn) error {
			return back.Close()
		}, http.StatusOK},
		{"it had begun", func(ctx context.Context, _ *link, back net.Conn) error {
			return errors.Join(pb.NoteWritten(ctx, noteStarted), back.Close())
		}, http.StatusBadGateway},
		{"the front ended the link", func(_ context.Context, l *link, _ net.Conn) error {
			l.close()
			return nil
		}, http.StatusBadGateway},
		{"it broke the rules", func(_ context.Context, _ *link, back net.Conn) error {
			_, err := back.Write([]byte(strings.Repeat("no frame", 100)))
			return err
		}, http.StatusBadGateway},
	} {
		t.Run(test.name, func(t *testing.T) {
			pbtest.NoLeaks(t)
			site := &Site{Logger: slog.New(slog.DiscardHandler)}
			defer func() { _ = site.Close() }()
			site.Handle("/", Route{Back: "app", Limits: Limits{Hold: time.Hour}})
			server := httptest.NewServer(site)
			defer server.Close()
			var first pb.Node
			defer func() { _ = first.Close() }()
			front, back := realPair(t)
			if err := site.Attach("app", front); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			object := &hostileBack{}
			object.answer = func(ctx context.Context, q *request) (*response, error) {
				if q.bits&(bitTell|bitAsk) != bitTell {
					t.Errorf("bits = %b, want bitTell without bitAsk", q.bits)
				}
				ended <- test.end(ctx, site.backs["app"].ready.Load().choose(), back)
				return nil, errors.New("it is over")
			}
			conn, err := first.Attach(t.Context(), back, pb.Dialer)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pb.Do[struct{}](t.Context(), conn.Root(), "Ready", "app", object,
				"one"); err != nil {
				t.Fatal(err)
			}
			answered := make(chan int, 1)
			go func() {
				r, err := server.Client().Post(server.URL, "text/plain", strings.NewReader("x"))
				if err != nil {
					t.Error(err)
					answered <- 0
					return
				}
				_ = r.Body.Close() // only its status counts
				answered <- r.StatusCode
			}()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			next, nextBack := realPair(t)
			if err := site.Attach("app", next); err != nil {
				t.Fatal(err)
			}
			go func() {
				served <- (&Mount{Instance: "two", Logger: slog.New(slog.DiscardHandler),
					Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						_, _ = io.WriteString(w, "here")
					})}).ServeConn(ctx, nextBack)
			}()
			if got := <-answered; got != test.status {
				t.Errorf("status = %d, want %d", got, test.status)
			}
			cancel()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}
