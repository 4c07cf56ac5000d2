package cluster

import (
	"bytes"
	"net/netip"
	"testing"
)

func FuzzHearMoved(f *testing.F) {
	for _, at := range []string{"192.0.2.7:1", "[2001:db8::1]:65535"} {
		m := &member{nodeID: "node", gossip: netip.MustParseAddrPort(at), meta: []byte("entry")}
		f.Add(tellMoved(m).Message())
	}
	f.Add([]byte("\x01\x04nod"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := hearMoved(b)
		if err != nil {
			return
		}
		ip, _ := netip.AddrFromSlice(n.Addr)
		again := tellMoved(&member{
			nodeID: n.Name,
			gossip: netip.AddrPortFrom(ip, n.Port),
			meta:   n.Meta,
		})
		if !bytes.Equal(again.Message(), b) {
			t.Errorf("hearMoved(%x) = %+v, which is %x", b, n, again.Message())
		}
	})
}
