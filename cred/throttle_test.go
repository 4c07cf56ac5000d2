package cred_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"perspective/cred"
)

// door is a Portal and what a login there comes to.
type door struct{ *cred.Portal }

func newDoor(t *testing.T, limits cred.Limits) door {
	t.Helper()
	return door{
		&cred.Portal{
			Realm:    realm,
			Checkers: []cred.Checker{plain{}, cred.AnonymousChecker{}},
			Limits:   limits,
		},
	}
}

// plain knows one password and does not hash, since here only the outcomes are counted.
type plain struct{}

func (plain) Kinds() []cred.Kind { return []cred.Kind{cred.KindPassword} }

func (plain) Check(_ context.Context, c cred.Credentials, _ *cred.Peer) (cred.AvatarID, error) {
	if c != (cred.UsernamePassword{Username: "ann", Password: "sesame"}) {
		return "", cred.ErrUnauthorized
	}
	return "ann", nil
}

// try gives "in", "no", or how long to wait.
func (d door) try(t *testing.T, user string, password cred.Password, peer *cred.Peer) string {
	t.Helper()
	_, err := d.Login(t.Context(),
		cred.UsernamePassword{Username: user, Password: password}, peer, nil)
	var wait *cred.TooManyTriesError
	switch {
	case err == nil:
		return "in"
	case errors.Is(err, cred.ErrUnauthorized):
		return "no"
	case errors.As(err, &wait) && errors.Is(err, cred.ErrTooManyTries):
		return wait.RetryAfter.String()
	}
	t.Fatalf("Login: error %v", err)
	return ""
}

func (d door) expect(
	t *testing.T, user string, password cred.Password, peer *cred.Peer, want string,
) {
	t.Helper()
	if got := d.try(t, user, password, peer); got != want {
		t.Errorf("login of %q from %v: %s, want %s", user, peer, got, want)
	}
}

func TestThrottleDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, home := newDoor(t, cred.Limits{}), from("192.0.2.1")
		for range 3 {
			d.expect(t, "ann", "wrong", home, "no")
		}
		for _, wait := range []string{"1s", "2s", "4s", "8s", "16s", "32s", "1m0s", "1m0s"} {
			// Not even the right password is looked at, and asking does not make the wait longer.
			d.expect(t, "ann", "sesame", home, wait)
			d.expect(t, "ann", "wrong", home, wait)
			pause, err := time.ParseDuration(wait)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(pause) // the bubble's clock
			d.expect(t, "ann", "wrong", home, "no")
		}
		time.Sleep(time.Minute)
		d.expect(t, "ann", "sesame", home, "in")
		d.expect(t, "ann", "wrong", home, "no") // the count starts afresh
		d.expect(t, "ann", "wrong", home, "no")
		d.expect(t, "ann", "sesame", home, "in")
	})
}

func TestThrottleCountsUnknownUsersAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, home := newDoor(t, cred.Limits{}), from("192.0.2.1")
		for range 3 {
			d.expect(t, "nobody", "wrong", home, "no")
		}
		d.expect(t, "nobody", "wrong", home, "1s")
	})
}

func TestThrottleLocksNobodyElseOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, cred.Limits{})
		for i := range 200 { // a botnet against one account
			d.try(t, "ann", "wrong", from(fmt.Sprintf("198.51.100.%d", i%50)))
		}
		d.expect(t, "ann", "sesame", from("192.0.2.1"), "in")
	})
}

func TestThrottleForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, home := newDoor(t, cred.Limits{}), from("192.0.2.1")
		for range 3 {
			d.expect(t, "ann", "wrong", home, "no")
		}
		time.Sleep(15*time.Minute + time.Second)
		for range 3 {
			d.expect(t, "ann", "wrong", home, "no")
		}
		d.expect(t, "ann", "wrong", home, "1s")
	})
}

func TestThrottleByAddress(t *testing.T) {
	tests := []struct {
		name       string
		one, other *cred.Peer
		same       bool
	}{
		{"one IPv4 address, other port", from("192.0.2.1"),
			&cred.Peer{Addr: &net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 9}}, true},
		{"IPv4 written as IPv6", from("192.0.2.1"),
			&cred.Peer{Addr: named{"tcp", "[::ffff:192.0.2.1]:80"}}, true},
		{"two IPv4 addresses", from("192.0.2.1"), from("192.0.2.2"), false},
		{"one /64", from("2001:db8::1"), from("2001:db8::ffff:2"), true},
		{"two /64", from("2001:db8::1"), from("2001:db8:0:1::1"), false},
		{"one uid", &cred.Peer{HasUID: true, UID: 7},
			&cred.Peer{HasUID: true, UID: 7, Addr: named{"unix", "@"}}, true},
		{"two uids", &cred.Peer{HasUID: true, UID: 7}, &cred.Peer{HasUID: true, UID: 8}, false},
		{"one address, two keys", &cred.Peer{Addr: named{"tcp", "192.0.2.1:1"}, Key: keyOf(1)},
			&cred.Peer{Addr: named{"tcp", "192.0.2.1:1"}, Key: keyOf(2)}, true},
		{"no address, two keys", &cred.Peer{Key: keyOf(1)}, &cred.Peer{Key: keyOf(2)}, false},
		{"an address that is no IP", &cred.Peer{Addr: named{"pipe", "a"}},
			&cred.Peer{Addr: named{"pipe", "b"}}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDoor(t, cred.Limits{})
				for i := range 20 {
					d.expect(t, fmt.Sprint("user", i), "wrong", test.one, "no")
				}
				d.expect(t, "ann", "sesame", test.one, "6s")
				want := "in"
				if test.same {
					want = "6s"
				}
				d.expect(t, "ann", "sesame", test.other, want)

				// Credentials that cannot be guessed never wait.
				if _, err := d.Login(t.Context(), cred.Anonymous{}, test.one, nil); err != nil {
					t.Errorf("anonymous login: error %v", err)
				}

				// One more try each six seconds; a right password earns none.
				time.Sleep(6 * time.Second)
				d.expect(t, "ann", "sesame", test.one, "in")
				d.expect(t, "user", "wrong", test.one, "no")
				d.expect(t, "user", "wrong", test.one, "6s")
				time.Sleep(2 * time.Minute)
				for i := range 20 {
					d.expect(t, fmt.Sprint("user", i), "wrong", test.one, "no")
				}
			})
		})
	}
}

// named is an address of which only the text is known.
type named struct{ network, text string }

func (n named) Network() string { return n.network }
func (n named) String() string  { return n.text }

func TestThrottleTablesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, cred.Limits{Entries: 10})
		for i := range 100 {
			d.try(t, fmt.Sprint("user", i), "wrong", from(fmt.Sprintf("192.0.2.%d", i)))
			time.Sleep(time.Millisecond)
		}
		if accounts, addresses := d.ThrottleEntries(); accounts != 10 || addresses != 10 {
			t.Errorf("%d accounts and %d addresses are remembered, want 10 and 10",
				accounts, addresses)
		}
		// The newest are the ones that stayed.
		last := from("192.0.2.99")
		d.expect(t, "user99", "wrong", last, "no")
		d.expect(t, "user99", "wrong", last, "no")
		d.expect(t, "user99", "wrong", last, "1s")
	})
}

func TestThrottleOff(t *testing.T) {
	d, home := newDoor(t, cred.Limits{Tries: -1, AddressTries: -1}), from("192.0.2.1")
	for range 40 {
		d.expect(t, "ann", "wrong", home, "no")
	}
	if accounts, addresses := d.ThrottleEntries(); accounts+addresses != 0 {
		t.Errorf("%d accounts and %d addresses are remembered, want none", accounts, addresses)
	}
}

func TestThrottleOwnClock(t *testing.T) {
	now := time.Unix(0, 0)
	d := newDoor(t, cred.Limits{
		Tries:    1,
		Delay:    time.Hour,
		MaxDelay: 2 * time.Hour,
		Now:      func() time.Time { return now },
	})
	d.expect(t, "ann", "wrong", nil, "no")
	d.expect(t, "ann", "sesame", nil, "1h0m0s")
	now = now.Add(time.Hour)
	d.expect(t, "ann", "sesame", nil, "in")
}
