package cred_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

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
		_, err := c.portal.Login(ctx, cred.UsernamePassword{Username: "ann", Password: "sesame"}, from(address), nil)
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

// crossing is a context that ends at the moment somebody begins to wait for its end, right after
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
	// The turn comes and the context ends before the waiter looks. It may see either, so this is done
	// many times; the turn must never be lost.
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
			_, err := c.portal.Login(ctx, cred.UsernamePassword{Username: "ann", Password: "sesame"}, nil, nil)
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
		// Another address gets its half, one after another, and not more.
		c.login(t.Context(), "b1", "192.0.2.2")
		c.expect(t, "a4: busy")
		c.login(t.Context(), "b2", "192.0.2.2")
		c.expect(t, "a3: busy")
		c.login(t.Context(), "b3", "192.0.2.2")
		c.expect(t, "b3: busy")
		c.login(t.Context(), "a5", "192.0.2.1")
		c.expect(t, "a5: busy")
		for _, name := range []string{"running", "a1", "a2", "b1", "b2"} {
			c.let <- struct{}{}
			c.expect(t, name+": in")
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
