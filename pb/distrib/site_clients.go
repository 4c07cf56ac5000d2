package distrib

import (
	"net/netip"
	"sync"
)

// A clientKey is what one client is counted by: an IPv4 address, or the first 64 bits of an IPv6
// address, which is what one line gets. The zero key is of those that have no address, as on a unix
// socket: they are not told apart, and only bounded together.
type clientKey = netip.Prefix

var noClient clientKey

// keyOf returns the key of host:port, or of a host.
func keyOf(addr string) clientKey {
	ap, err := netip.ParseAddrPort(addr)
	ip := ap.Addr()
	if err != nil {
		if ip, err = netip.ParseAddr(hostOf(addr)); err != nil {
			return noClient
		}
	}
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	key, _ := ip.Prefix(bits) // it has so many
	return key
}

// shares count what clients hold of something that there is a sum of. One client holds at most
// each, and the last quarter of the sum is for clients that hold little, so that a few addresses
// together keep nobody out. The zero value is ready but for its bounds; its methods may be called
// from several goroutines.
type shares struct {
	sum, each int
	// few is what each client may hold without the others, and many what all of them may hold over
	// that; many 0: any number.
	few, many int

	over int // what they hold over few
	mu   sync.Mutex
	held map[clientKey]int
	all  int
}

// take takes one for key; false: there is no room. What was taken is given back by give.
func (s *shares) take(key clientKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.sum {
		return false
	}
	if key != noClient {
		mine := s.held[key]
		if mine >= s.each || s.all >= s.sum-s.sum/4 && mine >= max(1, s.each/8) {
			return false
		}
		if s.many > 0 && mine >= s.few {
			if s.over >= s.many {
				return false
			}
			s.over++
		}
		if s.held == nil {
			s.held = make(map[clientKey]int)
		}
		s.held[key] = mine + 1
	}
	s.all++
	return true
}

func (s *shares) give(key clientKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if key == noClient {
		return
	}
	if s.many > 0 && s.held[key] > s.few {
		s.over--
	}
	if s.held[key]--; s.held[key] <= 0 {
		delete(s.held, key)
	}
}

// count returns how many are taken.
func (s *shares) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// share is the default of what one client may hold of sum: an eighth, but of a small sum not so
// little that a browser would notice.
func share(sum int) int { return min(sum, max(sum/8, 8)) }

// conns takes a place for a client's connection.
func (s *Site) conns(key clientKey) bool {
	s.clientConns.mu.Lock()
	if s.clientConns.sum == 0 {
		s.clientConns.sum, s.clientConns.each = s.Conns, s.ClientConns
		if s.Conns <= 0 {
			s.clientConns.sum = defaultConns
		}
		if s.ClientConns <= 0 {
			s.clientConns.each = min(s.clientConns.sum, defaultClientConns)
		}
	}
	s.clientConns.mu.Unlock()
	return s.clientConns.take(key)
}

func (s *Site) unconns(key clientKey) { s.clientConns.give(key) }
