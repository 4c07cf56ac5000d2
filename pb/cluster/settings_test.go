package cluster

import (
	"net/netip"
	"strings"
	"testing"
)

func TestSettings(t *testing.T) {
	key := make([]byte, GossipKeySize)
	seed := "@127.0.0.1:7946"
	id := strings.Repeat("a", 52)
	tests := []struct {
		name string
		c    Cluster
		want string // part of the error; empty: none
	}{
		{"zero", Cluster{}, ""},
		{"key off loopback", Cluster{Bind: "192.0.2.1:7946", GossipKey: key}, ""},
		{"IPv6 loopback without key", Cluster{Bind: "[::1]:0"}, ""},
		{"join", Cluster{Join: []string{id + seed}}, ""},
		{"no key off loopback", Cluster{Bind: "192.0.2.1:7946"}, "set GossipKey"},
		{"no key, joins off loopback", Cluster{Join: []string{id + "@192.0.2.1:7946"}},
			"set GossipKey"},
		{"no key, listens off loopback", Cluster{Listen: "pb://192.0.2.1:0/"},
			"none of the networks"},
		{"no key, networks do not help", Cluster{Bind: "192.0.2.1:0",
			Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, "set GossipKey"},
		{"short key", Cluster{GossipKey: key[:16]}, "16 bytes"},
		{"short other key", Cluster{GossipKey: key, OtherKeys: [][]byte{key[:31]}}, "31 bytes"},
		{"other key alone", Cluster{OtherKeys: [][]byte{key}}, "0 bytes"},
		{"name", Cluster{Name: "no spaces"}, "name"},
		{"any address", Cluster{Bind: "0.0.0.0:7946", GossipKey: key}, "can reach"},
		{"host name", Cluster{Bind: "localhost:7946"}, "literal"},
		{"host name to join", Cluster{Join: []string{id + "@localhost:7946"}}, "literal"},
		{"no node to join", Cluster{Join: []string{"127.0.0.1:7946"}}, "NODEID@"},
		{"no node id to join", Cluster{Join: []string{"me" + seed}}, "node id"},
		{"no port to join", Cluster{Join: []string{id + "@127.0.0.1:0"}}, "port"},
		{"plain listener", Cluster{Listen: "pb+tcp://127.0.0.1:0/"}, "proves no keys"},
		{"listener at a name", Cluster{Listen: "pb://localhost:0/"}, "literal"},
		{"outside its own networks", Cluster{
			GossipKey: key,
			Bind:      "192.0.2.1:0",
			Networks:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		}, "none of the networks"},
	}
	for i := range tests {
		test := &tests[i]
		t.Run(test.name, func(t *testing.T) {
			_, err := test.c.settings()
			switch {
			case test.want == "" && err != nil:
				t.Errorf("settings = %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("settings = %v, want %q in it", err, test.want)
			}
		})
	}
}
