package cluster

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestMoved shows what a roster believes of a node that is heard of at two addresses.
func TestMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(revision uint64) *member {
			gossip := netip.AddrPortFrom(someGossip.Addr(), uint16(revision))
			return &member{nodeID: "a", gossip: gossip, entry: entry{revision: revision}}
		}
		first, second, third := at(1), at(2), at(3)
		var r roster
		is := func(want *member, when string) {
			t.Helper()
			all := r.all()
			if got := r.get("a"); got != want || len(all) > 1 ||
				want != nil && (len(all) == 0 || all[0] != want) {
				t.Errorf("%s: %v, all %v, want %v", when, got, all, want)
			}
		}
		r.set(first)
		if same := at(1); r.move(&member{
			nodeID: "a",
			gossip: same.gossip,
			entry:  entry{revision: 2},
		}, time.Now()) {
			t.Error("moved to where it is")
		}
		if r.move(&member{nodeID: "a", entry: entry{revision: 1}}, time.Now()) {
			t.Error("moved by an entry of the same revision")
		}
		is(first, "same revision")
		epoch := r.epoch.Load()
		if !r.move(second, time.Now()) || r.epoch.Load() == epoch {
			t.Error("not moved, or nobody was told")
		}
		is(second, "moved")
		if r.move(first, time.Now()) || r.move(second, time.Now()) {
			t.Error("an old entry and one that is known are news")
		}
		if r.remove("a") {
			t.Error("gone though it has moved")
		}
		is(second, "the old one is dead")
		r.set(first)
		is(second, "the old one is back")
		r.set(second)
		if is(second, "taken up"); len(r.moved) > 0 {
			t.Errorf("%d moved, want none", len(r.moved))
		}
		if !r.remove("a") {
			t.Error("not gone")
		}
		is(nil, "dead")

		r.set(second)
		r.move(third, time.Now())
		time.Sleep(movedFor)
		r.move(third, time.Now()) // heard of again
		time.Sleep(movedFor)
		is(third, "heard of lately")
		time.Sleep(time.Nanosecond)
		is(second, "not heard of for long")
		if len(r.moved) > 0 {
			t.Errorf("%d moved, want none", len(r.moved))
		}
	})
}
