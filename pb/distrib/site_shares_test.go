package distrib

import (
	"fmt"
	"testing"
)

func TestKeyOf(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:80":            "192.0.2.1/32",
		"192.0.2.1":               "192.0.2.1/32",
		"[::ffff:192.0.2.1]:80":   "192.0.2.1/32",
		"[2001:db8:1:2:3::1]:80":  "2001:db8:1:2::/64",
		"[2001:db8:1:2:4::9]:0":   "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80":       "fe80::/64",
		"@":                       "invalid Prefix",
		"":                        "invalid Prefix",
		"some.where.example.com:": "invalid Prefix",
	} {
		if got := keyOf(addr).String(); got != want {
			t.Errorf("keyOf(%q) = %s, want %s", addr, got, want)
		}
	}
}

// The last quarter is for those that hold little, and what was given back can be taken again.
func TestShares(t *testing.T) {
	s := shares{sum: 64, each: 24}
	take := func(addr string, want int) {
		t.Helper()
		n := 0
		for s.take(keyOf(addr)) {
			n++
		}
		if n != want {
			t.Errorf("%s takes %d, want %d", addr, n, want)
		}
	}
	take("192.0.2.1", 24)
	take("192.0.2.2", 24)
	take("192.0.2.1", 0)
	take("192.0.2.3", 3) // of the quarter that is kept
	for i := range 13 {
		if !s.take(keyOf(fmt.Sprintf("192.0.2.%d", 10+i))) {
			t.Errorf("client %d finds no room", i)
		}
	}
	take("192.0.2.9", 0)
	for range 24 {
		s.give(keyOf("192.0.2.1"))
	}
	take("192.0.2.4", 8) // up to the quarter that is kept: 40 are left of the others
}
