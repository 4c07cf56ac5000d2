package budget

import (
	"slices"
	"testing"
)

// Each connection holds as much as leaves as much free for each other one, so the last connection
// still finds a share, and one alone has half.
func TestMemoryShares(t *testing.T) {
	const size = 256 << 20
	m := NewMemory(size)
	accounts := make([]*Account, 40)
	held := func(a *Account) int64 { return a.held.Load() }
	greedy := func(a *Account) {
		for n := int64(1 << 20); n >= 1<<10; {
			if !a.Take(n) {
				n /= 2
			}
		}
	}
	for i := range accounts {
		accounts[i] = new(Account)
		accounts[i].Init(m)
		greedy(accounts[i])
		if i == 0 && (held(accounts[0]) > size/2 || held(accounts[0]) < size/2-memoryPiece) {
			t.Errorf("one alone holds %d", held(accounts[0]))
		}
		if free := size - m.Used(); free < size/int64(2*i+2)-int64(i+1)*memoryPiece {
			t.Errorf("%d greedy ones leave %d", i+1, free)
		}
	}
	if accounts[0].Take(memoryPiece) || !accounts[0].Crowded() {
		t.Error("one over its share got more while others hold some")
	}
	late := new(Account)
	late.Init(m)
	if !late.Take(Floor) || late.Take(size) || !late.Take(16<<10) || m.Used() > size {
		t.Errorf("who comes last: holds %d, used %d of %d", held(late), m.Used(), size)
	}
	for _, a := range slices.Concat(accounts, []*Account{late}) {
		a.Give(a.used.Load())
		if held(a) != 0 {
			t.Errorf("one that has nothing holds %d", held(a))
		}
	}
	if m.Used() != 0 || m.holders != 0 {
		t.Errorf("in the end %d bytes are used by %d", m.Used(), m.holders)
	}
}

// What a stranger's calls take has a bound of its own.
func TestMemoryOfStranger(t *testing.T) {
	var a Account
	a.Init(NewMemory(1 << 20))
	a.Cap(100 << 10)
	if !a.Take(100<<10) || a.Take(1) {
		t.Errorf("a stranger has %d bytes of %d", a.used.Load(), a.cap.Load())
	}
	a.Cap(0)
	if !a.Take(1) {
		t.Error("one that is trusted gets no more than a stranger")
	}
}

// A tally counts in steps, never less than there is, and nothing for nothing.
func TestTally(t *testing.T) {
	var a Account
	a.Init(NewMemory(10 << 20))
	var x Tally
	for _, need := range []int64{1, tallyStep, tallyStep + 1, 20 * tallyStep, 5 * tallyStep,
		4 * tallyStep, 0} {
		if !x.Take(&a, need) {
			t.Fatalf("no room for %d", need)
		}
		x.Shrink(&a, need)
		if x.covered < need || x.covered > need+2*tallyStep || a.used.Load() != x.covered {
			t.Errorf("of %d are counted %d, in the account %d", need, x.covered, a.used.Load())
		}
	}
	if x.Take(&a, 20<<20) || x.covered != 0 {
		t.Errorf("a tally got %d of 10 MiB", x.covered)
	}
	if x.Force(&a, 20<<20); x.covered < 20<<20 || !a.Crowded() {
		t.Errorf("what is there already counts %d", x.covered)
	}
	if x.Force(&a, 0); a.used.Load() != 0 || a.m.Used() != 0 {
		t.Errorf("in the end %d bytes are used", a.m.Used())
	}
}
