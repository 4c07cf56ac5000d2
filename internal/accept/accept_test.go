package accept

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// listener gives one outcome after another, and then that it is closed. A nil one is a connection.
type listener struct {
	outcomes []error
	times    []time.Time
}

func (l *listener) Accept() (net.Conn, error) {
	l.times = append(l.times, time.Now())
	if len(l.outcomes) == 0 {
		return nil, net.ErrClosed
	}
	err := l.outcomes[0]
	l.outcomes = l.outcomes[1:]
	if err != nil {
		return nil, err
	}
	ours, theirs := net.Pipe()
	_ = theirs.Close()
	return ours, nil
}

func (*listener) Close() error   { return nil }
func (*listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// errBusy is an error that says of itself that it passes.
type errBusy struct{ passes bool }

func (errBusy) Error() string     { return "busy" }
func (e errBusy) Temporary() bool { return e.passes }

func opError(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
}

func TestPasses(t *testing.T) {
	tests := []struct {
		err  error
		want bool
	}{
		{opError(syscall.EMFILE), true},
		{opError(syscall.ENFILE), true},
		{opError(syscall.ECONNABORTED), true},
		{opError(syscall.ENOBUFS), true},
		{opError(syscall.ENOMEM), true},
		{opError(syscall.EHOSTUNREACH), true},
		{fmt.Errorf("wrapped: %w", opError(syscall.EPROTO)), true},
		{fmt.Errorf("wrapped: %w", errBusy{passes: true}), true},
		{errBusy{}, false},
		{opError(syscall.EBADF), false},
		{opError(syscall.EINVAL), false},
		{errors.New("another"), false},
		{&net.OpError{Op: "accept", Net: "tcp", Err: net.ErrClosed}, false},
	}
	for _, test := range tests {
		if got := Passes(test.err); got != test.want {
			t.Errorf("Passes(%v) = %t, want %t", test.err, got, test.want)
		}
	}
}

func TestEachWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := &listener{
			outcomes: []error{opError(syscall.EMFILE), opError(syscall.ENOBUFS),
				opError(syscall.ENOMEM), nil, opError(syscall.ENFILE)},
		}
		for range 10 {
			ln.outcomes = append(ln.outcomes, opError(syscall.EMFILE))
		}
		var log bytes.Buffer
		conns := 0
		err := Each(ln, nil, slog.New(slog.NewTextHandler(&log, nil)), func(nc net.Conn) error {
			conns++
			return nc.Close()
		})
		if !errors.Is(err, net.ErrClosed) || conns != 1 {
			t.Errorf("Each = %v after %d connections, want net.ErrClosed after one", err, conns)
		}
		ms := time.Millisecond
		want := []time.Duration{5 * ms, 10 * ms, 20 * ms, 0, 5 * ms, 10 * ms, 20 * ms, 40 * ms,
			80 * ms, 160 * ms, 320 * ms, 640 * ms, MaxDelay, MaxDelay, MaxDelay}
		for i, w := range want {
			if got := ln.times[i+1].Sub(ln.times[i]); got != w {
				t.Errorf("the wait after outcome %d was %v, want %v", i, got, w)
			}
		}
		if s := log.String(); !strings.Contains(s, "127.0.0.1:1") ||
			!strings.Contains(s, "too many open files") {
			t.Errorf("the log does not say where and what:\n%s", s)
		}
	})
}

func TestEachIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := &listener{outcomes: []error{opError(syscall.EMFILE)}}
		over := make(chan struct{})
		close(over)
		err := Each(ln, over, slog.New(slog.DiscardHandler), func(net.Conn) error { return nil })
		if !errors.Is(err, net.ErrClosed) || !ln.times[1].Equal(ln.times[0]) {
			t.Errorf("Each = %v after %v, want net.ErrClosed at once", err,
				ln.times[1].Sub(ln.times[0]))
		}
	})
}

func TestEachEnds(t *testing.T) {
	mine := errors.New("mine")
	ln := &listener{outcomes: []error{nil, nil}}
	err := Each(ln, nil, slog.New(slog.DiscardHandler), func(nc net.Conn) error {
		_ = nc.Close()
		return mine
	})
	if err != mine || len(ln.times) != 1 { //nolint:errorlint // itself
		t.Errorf("Each = %v after %d calls of Accept, want the error of take after one",
			err, len(ln.times))
	}
}
