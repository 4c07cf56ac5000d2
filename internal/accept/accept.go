// Package accept is the one loop that takes connections from a listener. A process that has no
// descriptor left, or a connection that was gone before it was taken, does not end it.
package accept

import (
	"errors"
	"log/slog"
	"net"
	"syscall"
	"time"
)

const (
	// MinDelay is the wait after an error that may pass. It doubles up to MaxDelay with each one
	// that follows at once; a connection ends it. Both are those of net/http.
	MinDelay = 5 * time.Millisecond
	// MaxDelay is the longest wait.
	MaxDelay = time.Second
)

// passing are the errors of accept that say nothing of the listener: the process or the machine has
// run out of something, or one connection came to nothing before it was taken. accept(2) of Linux
// names those of the network: it hands on what is wrong with the new socket.
var passing = []error{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
	syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPERM, syscall.EINTR,
	syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP,
	syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
}

// Passes says whether the next call of Accept may be better than the one that gave err. Errors with
// a method Temporary say so themselves.
func Passes(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	for _, p := range passing {
		if errors.Is(err, p) {
			return true
		}
	}
	temporary, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && temporary.Temporary()
}

// Each calls take with each connection that ln accepts. It waits over errors that pass, with a line
// in the log, and returns the first other one, of Accept or of take. over, if it is not nil, cuts
// such a wait short when it is closed; the listener is then asked at once. take must not wait for
// the peer.
func Each(
	ln net.Listener, over <-chan struct{}, log *slog.Logger, take func(net.Conn) error,
) error {
	var delay time.Duration
	for {
		nc, err := ln.Accept()
		if err == nil {
			delay = 0
			if err := take(nc); err != nil {
				return err
			}
			continue
		}
		if !Passes(err) {
			return err
		}
		delay = min(max(2*delay, MinDelay), MaxDelay)
		log.Warn("no connection could be accepted; trying again", "listener", ln.Addr(), "err",
			err, "wait", delay)
		wait := time.NewTimer(delay)
		select {
		case <-wait.C:
		case <-over:
			wait.Stop()
		}
	}
}
