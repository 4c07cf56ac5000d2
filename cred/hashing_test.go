package cred_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perspective/cred"
)

// crowd logs in many peers at one Portal whose hashes stand still until let go.
type crowd struct {
	portal *cred.Portal
	let    chan struct{} // one value lets one hash go on
	done   chan string   // "name: outcome" of each login
}

func newCrowd(t *testing.T, hashing cred.Hashing) *crowd {
	t.Helper()
	c := &crowd{let: make(chan struct{}), done: make(chan string, 100)}
	c.portal = &cred.Portal{
		Realm: realm, Checkers: []cred.Checker{annOnly(t)}, Hashing: hashing,
		Limits: cred.Limits{Tries: -1, AddressTries: -1},
	}
	c.portal.CountHashes(func(cred.HashParams) { <-c.let })
	return c
}

// login starts a login and waits until it stands somewhere.
func (c *crowd) login(ctx context.Context, name, address string) {
	// Ends when the login does; the bubble waits for it.
	go func() {
		_, err := c.portal.Login(ctx, cred.UsernamePassword{Username: "ann", Password: "sesame"},
			from(address), nil)
		outcome := "in"
		switch {
		case errors.Is(err, cred.ErrBusy):
			outcome = "busy"
		case errors.Is(err, context.Canceled):
			outcome = "gone"
		case err != nil:
			outcome = err.Error()
		}
		c.done <- name + ": " + outcome
	}()
	synctest.Wait()
}

func (c *crowd) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	for _, w := range want {
		select {
		case got := <-c.done:
			if got != w {
				t.Errorf("login ended %q, want %q", got, w)
			}
		default:
			t.Fatalf("no login ended, want %q", w)
		}
	}
	select {
	case got := <-c.done:
		t.Errorf("login ended %q, want none", got)
	default:
	}
}

func TestHashingQueueDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, cred.Hashing{})
		for range 2 + 16 {
			c.login(t.Context(), "ann", "192.0.2.1")
		}
		c.expect(t)
		if n := c.portal.HashesRunning(); n != 2 {
			t.Errorf("%d hashes at once, want 2", n)
		}
		c.login(t.Context(), "late", "192.0.2.1")
		c.expect(t, "late: busy")
		for range 2 + 16 {
			c.let <- struct{}{}
			c.expect(t, "ann: in")
		}
		if n := c.portal.HashesRunning(); n != 0 {
			t.Errorf("%d turns are still taken", n)
		}
	})
}

func TestHashingQueueOrderAndGoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, cred.Hashing{AtOnce: 1, Queue: 3})
		ctx, cancel := context.WithCancel(t.Context())
		c.login(t.Context(), "first", "192.0.2.1")
		c.login(t.Context(), "second", "192.0.2.1")
		c.login(ctx, "third", "192.0.2.1")
		c.login(t.Context(), "fourth", "192.0.2.1")
		cancel()
		c.expect(t, "third: gone")
		c.login(t.Context(), "fifth", "192.0.2.1") // in the place that became free
		for _, name := range []string{"first", "second", "fourth", "fifth"} {
			c.let <- struct{}{}
			c.expect(t, name+": in")
		}
	})
}

// crossing is a context that ends at the moment a goroutine begins to wait for its end, right after
// meanwhile has run.
type crossing struct {
	context.Context
	meanwhile func()
	ended     chan struct{}
}

func (c *crossing) Done() <-chan struct{} {
	select {
	case <-c.ended:
	default:
		c.meanwhile()
		close(c.ended)
	}
	return c.ended
}

func (c *crossing) Err() error {
	select {
	case <-c.ended:
		return context.Canceled
	default:
		return nil
	}
}

func TestHashingTurnMeetsGoing(t *testing.T) {
	// The turn comes and the context ends before the waiter looks. It may see either, so this is
	// done many times; the turn must never be lost.
	for range 30 {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t, cred.Hashing{AtOnce: 1})
			c.let = make(chan struct{}, 10)
			c.login(t.Context(), "first", "192.0.2.1")
			ctx := &crossing{Context: t.Context(), ended: make(chan struct{}), meanwhile: func() {
				c.let <- struct{}{}
				c.let <- struct{}{}
				c.expect(t, "first: in")
				if n := c.portal.HashesRunning(); n != 1 {
					t.Errorf("%d turns are taken, want the waiter's", n)
				}
			}}
			_, err := c.portal.Login(ctx,
				cred.UsernamePassword{Username: "ann", Password: "sesame"}, nil, nil)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Login: error %v, want context.Canceled", err)
			}
			if n := c.portal.HashesRunning(); n != 0 {
				t.Errorf("%d turns are still taken", n)
			}
			c.let <- struct{}{}
			c.login(t.Context(), "next", "192.0.2.1")
			c.expect(t, "next: in")
		})
	}
}

func TestHashingNoQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, cred.Hashing{AtOnce: 1, Queue: -1})
		c.login(t.Context(), "first", "192.0.2.1")
		c.login(t.Context(), "second", "192.0.2.1")
		c.expect(t, "second: busy")
		c.let <- struct{}{}
		c.expect(t, "first: in")
	})
}

func TestHashingQueueIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, cred.Hashing{AtOnce: 1, Queue: 4})
		c.login(t.Context(), "running", "192.0.2.1")
		for _, name := range []string{"a1", "a2", "a3", "a4"} {
			c.login(t.Context(), name, "192.0.2.1")
		}
		// Another address gets its share, the one that asked most goes without, and they take
		// turns.
		c.login(t.Context(), "b1", "192.0.2.2")
		c.expect(t, "a4: busy")
		c.login(t.Context(), "b2", "192.0.2.2")
		c.expect(t, "a3: busy")
		c.login(t.Context(), "b3", "192.0.2.2")
		c.expect(t, "b3: busy")
		c.login(t.Context(), "a5", "192.0.2.1")
		c.expect(t, "a5: busy")
		for _, name := range []string{"running", "b1", "a1", "b2", "a2"} {
			c.let <- struct{}{}
			c.expect(t, name+": in")
		}
	})
}

// What an address asked lately counts, also if it was told that all are busy, until Limits.Forget
// has passed.
func TestHashingBusyPlacesGoLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, cred.Hashing{AtOnce: 1, Queue: 2})
		c.login(t.Context(), "running", "192.0.2.1")
		c.login(t.Context(), "a1", "192.0.2.2")
		c.login(t.Context(), "b1", "192.0.2.3")
		c.login(t.Context(), "c1", "192.0.2.4") // the youngest of those that never asked is first
		c.expect(t, "a1: busy")
		c.login(t.Context(), "a2", "192.0.2.2") // and an address that got ErrBusy last
		c.expect(t, "a2: busy")
		for _, name := range []string{"running", "c1"} {
			c.let <- struct{}{}
			c.expect(t, name+": in")
		}
		c.login(t.Context(), "a3", "192.0.2.2")
		c.login(t.Context(), "c2", "192.0.2.4") // whose first one was right, and does not count
		for _, name := range []string{"b1", "c2", "a3"} {
			c.let <- struct{}{}
			c.expect(t, name+": in")
		}
		time.Sleep(16 * time.Minute)
		c.login(t.Context(), "running again", "192.0.2.1")
		c.login(t.Context(), "d1", "192.0.2.5")
		c.login(t.Context(), "a4", "192.0.2.2") // as good as new
		for _, name := range []string{"running again", "a4", "d1"} {
			c.let <- struct{}{}
			c.expect(t, name+": in")
		}
	})
}

// TestHashingCrowd is an attack: 1,000 addresses guess as fast as they are answered, and each hash
// takes 200 ms, twice what one of the default parameters takes. A user that logs in meanwhile, from
// an address that does not guess, is in within two seconds at the first try: when the attack
// begins, and when it has gone on for long.
func TestHashingCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, cred.Hashing{})
		c.portal.Limits = cred.Limits{Tries: -1, AddressTries: -1}
		c.portal.CountHashes(func(cred.HashParams) { time.Sleep(200 * time.Millisecond) })
		attack, end := context.WithCancel(t.Context())
		var guessers sync.WaitGroup
		for i := range 1000 {
			address := fmt.Sprintf("198.51.%d.%d", i/250, i%250+1)
			guessers.Go(func() { // ends with the attack
				for attack.Err() == nil {
					guess := cred.UsernamePassword{Username: "ann", Password: "guess"}
					if _, err := c.portal.Login(attack, guess,
						from(address), nil); errors.Is(err, cred.ErrBusy) {
						time.Sleep(300 * time.Millisecond) // its round trip
					}
				}
			})
		}
		synctest.Wait()
		for i := range 12 {
			began := time.Now()
			right := cred.UsernamePassword{Username: "ann", Password: "sesame"}
			_, err := c.portal.Login(t.Context(), right, from(fmt.Sprint("203.0.113.", i%3+1)), nil)
			if took := time.Since(began); err != nil || took >= 2*time.Second {
				t.Errorf("login %d: %v after %v, want in within 2 s", i, err, took)
			}
			time.Sleep(time.Duration(i) * 37 * time.Millisecond)
		}
		end()
		guessers.Wait()
		if n := c.portal.HashesRunning(); n != 0 {
			t.Errorf("%d turns are still taken", n)
		}
	})
}

func TestBusyIsNotHeldAgainstAnyone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, cred.Hashing{AtOnce: 1, Queue: -1})
		c.portal.Limits = cred.Limits{}
		c.login(t.Context(), "first", "192.0.2.1")
		for range 30 {
			c.login(t.Context(), "other", "192.0.2.1")
			c.expect(t, "other: busy")
		}
		if accounts, addresses := c.portal.ThrottleEntries(); accounts+addresses != 0 {
			t.Errorf("%d accounts and %d addresses are remembered, want none", accounts, addresses)
		}
		c.let <- struct{}{}
		c.expect(t, "first: in")
	})
}
