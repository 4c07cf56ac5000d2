package link

import (
	"fmt"

	"perspective/broker/budget"
	"perspective/broker/message"
	"perspective/broker/wire"
	"perspective/jelly"
)

// parts puts together the messages that come in pieces. A CALL's place in the
// order is that of its first piece: it is queued then, and runs when it is whole.
// Only the reader uses it.
type parts struct {
	l       *Link
	byN     map[uint32]*assembly
	begun   uint32    // the number of the one that began last; 0: none did
	current *assembly // the one of which pieces behind the first come
	ahead   *assembly // the one that has memory for more than twice what came
	bytes   int
	calls   int          // of these, those of CALLs
	tally   budget.Tally // of calls
}

type assembly struct {
	n    uint32
	data []byte
	kind message.Kind
	q    uint32
	long wire.Long    // as the session knows it
	size int          // of what came, or is about to
	hint int          // what it will take, as its first piece tells; 0: not known
	over bool         // too large, or refused already: the rest is thrown away
	rest jelly.Finder // of what is thrown away
	full bool         // over because there was no room for it
}

// partsBudget bounds what all unfinished messages take together: one long
// message comes at a time, of the others only the first piece.
func (l *Link) partsBudget() int {
	limit := l.messageLimit()
	if s := l.strict.Load(); s != nil {
		return 2*limit + s.CallBytes
	}
	return 2*limit + min(l.limits.CallBytes, 16*limit)
}

// part takes in a PART.
func (p *parts) part(d *jelly.Decoder, h message.Head) error {
	n, last, piece, err := message.DecodePart(d, h)
	if err != nil {
		return err
	}
	a := p.byN[n]
	if a == nil {
		if a, err = p.first(n, piece); err != nil {
			return err
		}
	} else if err := p.goesOn(a); err != nil {
		return err
	}
	if err := p.expect(a, len(piece)); err != nil {
		return err
	}
	a.take(p.l, piece)
	if !last {
		return nil
	}
	return p.finish(a)
}

// goesOn looks at the order of the pieces behind the first: long messages come
// one after another.
func (p *parts) goesOn(a *assembly) error {
	if p.current != nil && p.current != a {
		return message.WrongValue(message.Part, 2, "n",
			fmt.Sprintf("%d, which has not ended", p.current.n), a.n)
	}
	p.current = a
	return nil
}

// expect makes room for the next piece of a, which is of size bytes and comes
// now.
func (p *parts) expect(a *assembly, size int) error {
	a.size += size
	limit := p.l.messageLimit()
	switch {
	case a.over:
		return nil
	case len(a.data)+size > limit:
		p.throw(a)
		return nil
	case a.kind == message.Call:
		if !p.tally.Take(p.l.account, int64(p.calls+size)*budget.Times) {
			a.full = true
			p.throw(a)
			return nil
		}
		p.calls += size
	}
	p.bytes += size
	if p.bytes > p.l.partsBudget() {
		return message.WrongValue(message.Part, 4, "bytes",
			fmt.Sprintf("unfinished messages of at most %d bytes", p.l.partsBudget()), p.bytes)
	}
	need := len(a.data) + size
	if need <= cap(a.data) {
		return nil
	}
	room := need
	if len(a.data) > 0 {
		room = max(need, min(p.grow(a, need), limit))
	}
	a.data = append(make([]byte, 0, room), a.data...)
	return nil
}

// throw has the rest of a thrown away, as what came of it.
func (p *parts) throw(a *assembly) {
	p.forget(a)
	p.l.session.Drop(&a.rest, a.data)
	a.data, a.over = nil, true
}

// forget uncounts what came of a.
func (p *parts) forget(a *assembly) {
	p.bytes -= len(a.data)
	if a.kind == message.Call {
		p.calls -= len(a.data)
		p.tally.Shrink(p.l.account, int64(p.calls)*budget.Times)
	}
}

// end lets go of what is unfinished.
func (p *parts) end() {
	p.byN, p.current, p.ahead, p.bytes, p.calls = nil, nil, nil, 0, 0
	p.tally.Shrink(p.l.account, 0)
}

// aheadTimes is how much more memory one long message gets than has come of it.
const aheadTimes = 16

// grow is how much memory a should have when it needs more: twice what came,
// and for one at a time, which for an honest peer is each, what its beginning
// says that it will be.
func (p *parts) grow(a *assembly, need int) int {
	if p.ahead == nil && a.hint > 0 {
		p.ahead = a
	}
	if p.ahead != a {
		return 2 * len(a.data)
	}
	return max(2*len(a.data), min(a.hint, aheadTimes*need))
}

// hintSlack is what may follow the long value that the hint is taken from.
const hintSlack = 1 << 10

// Hint is about how long a message will be that begins with p: up to the end of
// the string or the bytes that p ends in. 0 means that p does not tell.
func Hint(p []byte) int {
	if end := jelly.Reach(p); end > len(p)+hintSlack {
		return end + hintSlack
	}
	return 0
}

// finish acts on a message whose last piece has come.
func (p *parts) finish(a *assembly) error {
	delete(p.byN, a.n)
	if p.current == a {
		p.current = nil
	}
	p.forget(a)
	if p.ahead == a {
		p.ahead = nil
	}
	switch h := (message.Head{Kind: a.kind, Q: a.q}); {
	case a.over:
		return p.l.session.Over(h, a.size, a.long, a.full)
	case a.kind == message.Return:
		return p.l.deliver(a.data, true)
	}
	return p.l.session.Whole(p.l.in.dec, a.data, a.long)
}

// first begins a message. Its first piece contains all that stands before the
// arguments.
func (p *parts) first(n uint32, piece []byte) (*assembly, error) {
	if n != p.begun+1 { // after 2^32-1 comes 0
		return nil, message.WrongValue(message.Part, 2, "n",
			fmt.Sprintf("%d, or that of a message that has not ended", p.begun+1), n)
	}
	p.begun = n
	most := 2 * p.l.limits.Calls
	if s := p.l.strict.Load(); s != nil {
		most = 2 * s.Calls
	}
	if n := len(p.byN); n >= most+p.l.session.Asked() {
		return nil, message.Violation(
			"PART: element 2, n: want no more unfinished messages than calls, got %d", n+1)
	}
	d := new(jelly.Decoder)
	d.Reset(nil, nil, piece, nil)
	h, err := message.DecodeHead(d)
	if err != nil {
		return nil, message.FirstPiece(err)
	}
	if h.Kind != message.Call && h.Kind != message.Return {
		return nil, message.Violation("PART: want a CALL or a RETURN in pieces, got %v", h.Kind)
	}
	a := &assembly{n: n, kind: h.Kind, q: h.Q, hint: Hint(piece)}
	if a.long, a.over, err = p.l.session.Begin(d, h, len(piece)); err != nil {
		return nil, err
	}
	if p.byN == nil {
		p.byN = make(map[uint32]*assembly)
	}
	p.byN[n] = a
	return a, nil
}
