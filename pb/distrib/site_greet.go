package distrib

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"perspective/internal/guard"
)

const (
	// handshakeTime is how long the peer of a link may take for its TLS handshake, as pb's
	// Limits.Login is by default.
	handshakeTime = 10 * time.Second

	maxHandshakes       = 64
	maxClientHandshakes = 16 // of one address
)

var errHandshakes = errors.New("distrib: too many TLS handshakes of links are under way")

// greet makes nc the link once its handshake is done. It waits for no peer, so that one that stalls
// holds up nobody else.
func (s *Site) greet(b *backEnd, instance string, nc *tls.Conn, owner linkOwner) error {
	key := noClient
	_ = guard.Run(func() error { // what lies under TLS may be the program's own
		if addr := nc.RemoteAddr(); addr != nil {
			key = keyOf(addr.String())
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	err := s.beginHandshake(nc, key, cancel, func() { // ends with the link, or within handshakeTime
		l, err := newLink(ctx, b, instance, nc, owner)
		s.endHandshake(nc, key)
		if err != nil {
			b.log.Warn("link refused", "addr", nc.RemoteAddr(), "err", err)
			return
		}
		l.watch()
	})
	if err != nil {
		cancel()
		_ = guard.Run(nc.Close) // the error says more
		return fmt.Errorf("distrib: link to %s: %w", b.name, err)
	}
	return nil
}

// beginHandshake runs f where there is room for one more.
func (s *Site) beginHandshake(nc *tls.Conn, key clientKey, cancel func(), f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrSiteClosed
	}
	s.handshakes.sum, s.handshakes.each = maxHandshakes, maxClientHandshakes
	if !s.handshakes.take(key) {
		return errHandshakes
	}
	if s.greeting == nil {
		s.greeting = make(map[*tls.Conn]func())
	}
	s.greeting[nc] = cancel
	s.running.Go(f)
	return nil
}

func (s *Site) endHandshake(nc *tls.Conn, key clientKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.greeting[nc]()
	delete(s.greeting, nc)
	s.handshakes.give(key)
}
