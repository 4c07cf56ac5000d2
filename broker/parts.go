package broker

import (
	"perspective/jelly"
)

// parts puts together the messages that come in pieces. A CALL's place in the
// order is that of its first piece: it is queued then, and runs when it is whole.
// Only the reader uses it.
type parts struct {
	b     *Broker
	byN   map[uint32]*assembly
	bytes int
}

type assembly struct {
	data []byte
	kind byte
	q    uint32
	call *Incoming // a CALL that holds its place
	size int
	over bool // too large, or refused already: the rest is thrown away
}

// partsBudget bounds what all unfinished messages take together: one long
// message comes at a time, of the others only the first piece.
func (b *Broker) partsBudget() int {
	limit := b.messageLimit() // small until the peer has logged in
	return 2*limit + min(b.limits.CallBytes, 16*limit)
}

// part takes in a PART, type and q read already.
func (p *parts) part(d *jelly.Decoder) error {
	n, err := decodeID(d)
	if err != nil {
		return err
	}
	last, err := d.DecodeBool()
	if err != nil {
		return err
	}
	piece, err := d.DecodeName()
	if err != nil {
		return err
	}
	a := p.byN[n]
	if a == nil {
		if a, err = p.first(n, piece); err != nil {
			return err
		}
	}
	a.size += len(piece)
	if !a.over && len(a.data)+len(piece) > p.b.messageLimit() {
		p.bytes -= len(a.data)
		a.data, a.over = nil, true
	}
	if !a.over {
		a.data = append(a.data, piece...)
		p.bytes += len(piece)
		if p.bytes > p.b.partsBudget() {
			return violation("unfinished messages of %d bytes", p.bytes)
		}
	}
	if !last {
		return nil
	}
	delete(p.byN, n)
	p.bytes -= len(a.data)
	switch {
	case a.call != nil && a.call.answered.Load(): // it was refused when it began
		if a.q == 0 {
			p.b.creditOneway(a.size)
		}
		return nil
	case a.over:
		return p.b.refuseAssembly(a)
	}
	return p.b.whole(a.data, a.call)
}

// first begins a message. Its first piece contains all that stands before the
// arguments.
func (p *parts) first(n uint32, piece []byte) (*assembly, error) {
	if n := len(p.byN); n >= 2*p.b.limits.Calls+p.b.questions.asked() {
		return nil, violation("%d unfinished messages", n)
	}
	kind, q, err := peekHead(piece)
	if err != nil {
		return nil, err
	}
	a := &assembly{kind: kind, q: q}
	switch kind {
	case msgReturn:
		if !p.b.questions.isAsked(q) {
			return nil, violation("RETURN for question %d, which is not asked", q)
		}
	case msgCall:
		d := new(jelly.Decoder)
		d.Reset(nil, nil, piece, nil)
		count, err := d.DecodeArrayLen()
		if err != nil {
			return nil, violation("a long CALL's first piece is too short")
		}
		_, _ = d.DecodeUint()
		_, _ = d.DecodeUint()
		in := &Incoming{b: p.b, q: q, assembling: true, long: true}
		if err := p.b.place(in, d, count, len(piece)); err != nil {
			return nil, err
		}
		a.call = in
		if in.answered.Load() {
			a.over = true
		} else if err := p.b.queueUp(in); err != nil {
			return nil, err
		}
	default:
		return nil, violation("message of type %d in pieces", kind)
	}
	if p.byN == nil {
		p.byN = make(map[uint32]*assembly)
	}
	p.byN[n] = a
	return a, nil
}
