package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"perspective/internal/guard"
	"perspective/internal/lines"
	"perspective/pb"
)

// How long a search waits between two rounds in which nobody gave the service.
// A change of the members ends the wait.
const (
	shortestPause = 50 * time.Millisecond
	longestPause  = 2 * time.Second
)

// Service gives a Target for the named service. It is there at once; the
// provider is found when the first call needs it, and calls wait for one, as
// long as their ctx lives, if there is none. pb.Call gives its Deferred at once
// all the same; see Waiting. A call that no provider could be found for was not
// executed: its error wraps ErrNoProvider and the ctx's, or what else ended it;
// ErrClosed if it was the cluster's end.
//
// A Target stays with its provider until the connection to it ends, the
// provider takes the service back or leaves, so calls made one after another
// over one Target arrive in that order. Each Service call begins with another
// provider, which spreads the load: keep a Target for what must stay in order,
// make one for each job otherwise. A Target holds nothing that must be given
// back.
//
// A call under way when its provider dies fails, with its outcome
// ([pb.OutcomeOf]), and is not made again here: only its caller knows whether
// it may be.
//
// The reference that its Reference method gives is the provider's of the
// moment. It is shared: do not Release it. To pass a service to another peer as
// an argument, pass that reference; the Target itself would have the encoder
// wait for a provider without end.
func (c *Cluster) Service(name string) pb.Target {
	return &service{c: c, name: name, start: c.turn.Add(1)}
}

// service is the Target of one service.
type service struct {
	c     *Cluster
	name  string
	start uint64 // which provider is the first
	held  atomic.Pointer[provider]

	mu     sync.Mutex
	search *search               // under way, or nil
	queue  atomic.Pointer[queue] // calls that wait for a provider, or nil; written under mu
}

// provider is what a service has reached. It never changes.
type provider struct {
	ref      *pb.RemoteReference
	nodeID   string
	revision uint64 // of the member's entry
	epoch    uint64 // of the roster, when it was looked at
}

// alive reports whether calls can go to the provider. Its connection has an error a little before
// it is Done, and before the calls in flight fail. So a caller that sees its call fail and makes
// the next one goes to another provider.
func (p *provider) alive() bool { return p.ref.Conn().Err() == nil }

// search is one attempt to find a provider. All callers that wait share it.
type search struct {
	result  pb.Deferred[*provider]
	stop    context.CancelFunc
	waiting int   // guarded by service.mu, as is last
	last    error // of the provider that was tried last
}

// JellyReference marks a service as a thing that crosses by reference.
func (s *service) JellyReference() {}

// Reference gives the provider's object, waiting for a provider while ctx lives.
func (s *service) Reference(ctx context.Context) (*pb.RemoteReference, error) {
	if p := s.current(); p != nil {
		return p.ref, nil
	}
	//nolint:contextcheck // callers share the search: it outlives this one
	found, err := s.join()
	if err != nil {
		return nil, err
	}
	p, err := found.result.Wait(ctx) // ends the turn of the method that waits
	last := s.leave(found)
	switch {
	case err == nil:
		return p.ref, nil
	case errors.Is(err, ErrClosed):
		return nil, err
	}
	return nil, s.missed(err, last)
}

// missed is the error of a search that ended because of cause; last is what went wrong last, or
// nil.
func (s *service) missed(cause, last error) error {
	if last != nil {
		return fmt.Errorf("%w: service %q: %w; tried last: %w", ErrNoProvider, s.name, cause, last)
	}
	return fmt.Errorf("%w: service %q: %w; no member has it", ErrNoProvider, s.name, cause)
}

// current is the provider at hand, nil if it has to be found.
func (s *service) current() *provider {
	if p := s.held.Load(); p != nil && p.alive() && s.stays(p) {
		return p
	}
	return nil
}

// stays says whether the gossip still agrees with the provider.
func (s *service) stays(p *provider) bool {
	epoch := s.c.roster.epoch.Load()
	if p.epoch == epoch {
		return true
	}
	m := s.c.roster.get(p.nodeID)
	if m == nil || m.revision != p.revision {
		return false
	}
	seen := *p
	seen.epoch = epoch
	s.held.CompareAndSwap(p, &seen)
	return true
}

// join makes one more wait for the search, beginning it if there is none.
func (s *service) join() (*search, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.search == nil {
		now := &search{}
		err := s.c.spawn(func() { // ends when it has found, with the cluster, or when nobody waits
			ctx, stop := context.WithCancel(s.c.life)
			defer stop()
			s.mu.Lock()
			now.stop = stop
			abandoned := now.waiting == 0
			s.mu.Unlock()
			if abandoned {
				stop()
			}
			s.run(ctx, now)
		})
		if err != nil {
			return nil, err
		}
		s.search = now
	}
	s.search.waiting++
	return s.search, nil
}

// leave takes back a join, and gives what went wrong last.
func (s *service) leave(found *search) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	found.waiting--
	if found.waiting == 0 && s.search == found {
		s.search = nil
		if found.stop != nil { // else it sees that nobody waits
			found.stop()
		}
	}
	return found.last
}

// run searches until a provider is found or ctx ends.
func (s *service) run(ctx context.Context, now *search) {
	p, err := s.find(ctx, now)
	if err == nil {
		s.held.Store(p)
	}
	s.mu.Lock()
	if s.search == now {
		s.search = nil
	}
	s.mu.Unlock()
	if err != nil {
		now.result.Errback(err)
		return
	}
	now.result.Callback(p)
}

func (s *service) find(ctx context.Context, now *search) (*provider, error) {
	pause := shortestPause
	if old := s.held.Load(); old != nil && !old.alive() {
		s.c.trials.fail(old.nodeID, time.Now())
	}
	for {
		change, epoch := s.c.roster.next(), s.c.roster.epoch.Load()
		old := s.held.Load()
		for _, m := range s.candidates(old) {
			ref, err := s.c.ask(ctx, m, s.name)
			if err == nil {
				return &provider{ref, m.nodeID, m.revision, epoch}, nil
			}
			if ctx.Err() != nil {
				return nil, ErrClosed
			}
			s.mu.Lock()
			now.last = err
			s.mu.Unlock()
		}
		if old != nil && old.alive() { // the gossip says it is gone, but there is no better
			kept := *old
			kept.epoch = epoch
			return &kept, nil
		}
		pausing, stop := context.WithTimeout(ctx, pause)
		_, err := change.Wait(pausing)
		stop()
		switch {
		case ctx.Err() != nil:
			return nil, ErrClosed
		case err == nil:
			pause = shortestPause
		default:
			pause = min(2*pause, longestPause)
		}
	}
}

// trusts asks Trust. One that does not answer has not said yes.
func (c *Cluster) trusts(nodeID, service string) (yes bool) {
	if c.Trust == nil {
		return true
	}
	err := guard.Run(func() error {
		yes = c.Trust(nodeID, service)
		return nil
	})
	if err != nil {
		lines.Fault(context.Background(), c.log(), "Cluster.Trust", err, "node", nodeID,
			"service", service)
	}
	return yes
}

// candidates gives the members to try, best first: the one at hand if it is as
// good as any, then those that have not failed lately, then those that failed
// longest ago. Those that say they have the service come before those that must
// be asked; equals take turns.
func (s *service) candidates(old *provider) []*member {
	type rank struct {
		*member
		held   bool
		failed time.Time
		says   bool
		turn   uint64
	}
	now := time.Now()
	var ranks []rank
	for _, m := range s.c.roster.all() {
		may, says := m.offers(s.name)
		if !may || !s.c.trusts(m.nodeID, s.name) {
			continue
		}
		ranks = append(ranks, rank{
			member: m,
			held:   old != nil && old.nodeID == m.nodeID && old.alive(),
			failed: s.c.trials.lately(m.nodeID, s.name, now),
			says:   says,
		})
	}
	n := uint64(len(ranks))
	for i := range ranks {
		ranks[i].turn = (uint64(i) + n - s.start%n) % n
	}
	slices.SortFunc(ranks, func(a, b rank) int {
		return cmp.Or(
			first(a.held, b.held),
			a.failed.Compare(b.failed),
			first(a.says, b.says),
			cmp.Compare(a.turn, b.turn),
		)
	})
	members := make([]*member, n)
	for i, r := range ranks {
		members[i] = r.member
	}
	return members
}

// first orders what is before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
