package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"perspective/cred"
	"perspective/pb"
)

var (
	someAddr   = netip.MustParseAddrPort("192.0.2.7:8787")
	someGossip = netip.MustParseAddrPort("192.0.2.7:7946")
)

func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("service-%03d", i)
	}
	return names
}

func TestEntryCrosses(t *testing.T) {
	tests := []struct {
		name string
		in   entry
		ask  bool
	}{
		{"no services", entry{addr: someAddr}, false},
		{"two services",
			entry{revision: 7, addr: someAddr, services: []string{"a", "b.c-d_E9"}}, false},
		{"IPv6", entry{addr: netip.MustParseAddrPort("[2001:db8::1]:1"), services: []string{"a"}},
			false},
		{"longest name",
			entry{addr: someAddr, services: []string{strings.Repeat("x", maxName)}}, false},
		{"as many as fit", entry{addr: someAddr, services: manyNames(23)}, false},
		{"more than fit", entry{revision: 1 << 63, addr: someAddr, services: manyNames(24)}, true},
		{"more than can be counted", entry{addr: someAddr, services: manyNames(300)}, true},
	}
	node := &pb.Node{}
	id, err := node.ID()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			meta, err := test.in.sign(node, "x", someGossip)
			if err != nil || len(meta) > metaSize {
				t.Fatalf("sign = %d bytes, %v", len(meta), err)
			}
			if err := verify(meta, id, "x", someGossip); err != nil {
				t.Fatal(err)
			}
			out, err := decode(meta)
			if err != nil {
				t.Fatal(err)
			}
			want := test.in
			if test.ask {
				want.ask, want.services = true, nil
			}
			if out.revision != want.revision || out.addr != want.addr || out.ask != want.ask ||
				!slices.Equal(out.services, want.services) {
				t.Errorf("decode = %+v, want %+v", out, want)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	node, other := &pb.Node{}, &pb.Node{}
	id, _ := node.ID()
	otherID, _ := other.ID()
	good, err := entry{addr: someAddr, services: []string{"a"}}.sign(node, "x", someGossip)
	if err != nil {
		t.Fatal(err)
	}
	bent := bytes.Clone(good)
	bent[2]++
	tests := []struct {
		name        string
		meta        []byte
		id, cluster string
		gossip      netip.AddrPort
	}{
		{"another node's name", good, otherID, "x", someGossip},
		{"another cluster", good, id, "y", someGossip},
		{"another gossip address", good, id, "x", someAddr},
		{"changed", bent, id, "x", someGossip},
		{"no signature", good[:len(good)-cred.SignatureSize], id, "x", someGossip},
		{"empty", nil, id, "x", someGossip},
		{"too long", append(bytes.Clone(good), make([]byte, metaSize)...), id, "x", someGossip},
	}
	if err := verify(good, id, "x", someGossip); err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := verify(test.meta, test.id, test.cluster,
				test.gossip); !errors.Is(err, ErrBadEntry) {
				t.Errorf("verify = %v, want ErrBadEntry", err)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	ok := "\x02\x00\x00\x00\x00\x00\x00\x00\x00\x01\x04\xc0\x00\x02\x07\x22\x53"
	tests := map[string]string{
		"version":            "\x01" + ok[1:] + "\x00",
		"flags":              "\x02\x02" + ok[2:] + "\x00",
		"no count":           ok,
		"count too large":    ok + "\x01",
		"name cut":           ok + "\x01\x05ab",
		"empty name":         ok + "\x01\x00",
		"name with a space":  ok + "\x01\x03a b",
		"names out of order": ok + "\x02\x01b\x01a",
		"name twice":         ok + "\x02\x01a\x01a",
		"something behind":   ok + "\x00\x00",
		"asks and lists":     "\x02\x01" + ok[2:] + "\x01\x01a",
		"ip of 5 bytes":      ok[:10] + "\x05" + ok[11:] + "\x00\x00",
		"ip 0.0.0.0":         ok[:11] + "\x00\x00\x00\x00\x22\x53\x00",
		"multicast":          ok[:11] + "\xe0\x00\x00\x01\x22\x53\x00",
		"port 0":             ok[:15] + "\x00\x00\x00",
	}
	signature := strings.Repeat("s", cred.SignatureSize)
	if _, err := decode([]byte(ok + "\x00" + signature)); err != nil {
		t.Fatal(err)
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			if e, err := decode([]byte(body + signature)); !errors.Is(err, ErrBadEntry) {
				t.Errorf("decode = %+v, %v, want ErrBadEntry", e, err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	signature := strings.Repeat("s", cred.SignatureSize)
	for _, e := range []entry{{addr: someAddr}, {addr: someAddr, services: []string{"a", "b"}},
		{addr: someAddr, ask: true}} {
		f.Add(append(e.encode(), signature...))
	}
	f.Fuzz(func(t *testing.T, meta []byte) {
		e, err := decode(meta)
		if err != nil {
			return
		}
		if again := e.encode(); !bytes.Equal(again, meta[:len(meta)-cred.SignatureSize]) {
			t.Errorf("decode(%x) = %+v, which is %x", meta, e, again)
		}
	})
}
