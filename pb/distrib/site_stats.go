package distrib

import (
	"cmp"
	"slices"
)

// SiteStats say what a Site has at the moment, for metrics.
type SiteStats struct {
	// Conns are the connections of clients that Clients took and that are open, ConnsRefused those
	// that it has closed at once because there were too many.
	Conns        int
	ConnsRefused uint64
	// Mounts are those with back ends, by name.
	Mounts []MountStats
}

// MountStats say what one mount of a Site has at the moment.
type MountStats struct {
	Name string
	// Serves: a back end is there, so requests need not wait for one.
	Serves bool
	// Requests are under way, Waiting of them wait for the back end or for room.
	Requests, Waiting int
	// Links are those made so far: one for each start of a back end, and for each link that broke.
	Links uint64
}

// Stats returns what the Site has at the moment.
func (s *Site) Stats() SiteStats {
	s.clientConns.mu.Lock()
	stats := SiteStats{Conns: s.clientConns.all}
	s.clientConns.mu.Unlock()
	stats.ConnsRefused = s.connsRefused.Load()
	s.mu.Lock()
	for name, b := range s.backs {
		stats.Mounts = append(stats.Mounts, b.stats(name))
	}
	s.mu.Unlock()
	slices.SortFunc(stats.Mounts, func(a, b MountStats) int { return cmp.Compare(a.Name, b.Name) })
	return stats
}

func (b *backEnd) stats(name string) MountStats {
	stats := MountStats{Name: name, Serves: b.ready.Load() != nil}
	b.requests.mu.Lock()
	stats.Requests = b.requests.all
	b.requests.mu.Unlock()
	b.waiting.mu.Lock()
	stats.Waiting = b.waiting.all
	b.waiting.mu.Unlock()
	b.mu.Lock()
	stats.Links = b.made
	b.mu.Unlock()
	return stats
}
