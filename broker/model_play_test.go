package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"perspective/broker"
	"perspective/broker/memwire"
	"perspective/broker/message"
	"perspective/jelly"
)

// A play is two real sessions over a wire in memory, and the model beside them. Only the test's
// goroutine changes it, but for what is under mu.
type play struct {
	model  *model
	b      [2]*broker.Broker
	w      [2]*memwire.Wire
	texts  [2]int                   // how many messages that wait were looked at
	asking [2]map[uint32]*modelCall // by the number of the question
	calls  []*playCall              // by modelCall.n
	all    []*broker.Handle         // so that the collector takes none
	wg     sync.WaitGroup           // of Asks and Shutdowns
	quit   chan struct{}            // closed when a fault is found: nobody waits any more

	mu      sync.Mutex
	handles [2]map[uint64]*broker.Handle // the last for each object
	begun   []int
	faults  []string
}

// A playCall is a call as it is made and answered. What is below mu is under play.mu.
type playCall struct {
	*modelCall // what is asked, alone

	play   *play
	call   broker.Call
	encode chan struct{} // closed by the step encode
	orders chan order    // to the method

	in      *broker.Incoming
	ended   bool // Ask has returned
	err     error
	times   int
	outcome broker.Outcome
	result  string
	value   string // until Finish
}

// An order is what a method that waits does next.
type order struct {
	answer  func(*broker.Incoming) // nil: nothing
	yields  bool
	returns bool
}

func newPlay(t *testing.T) *play {
	p := &play{quit: make(chan struct{})}
	p.model = newModel(p)
	p.w[0], p.w[1] = memwire.New()
	for n := range p.b {
		p.asking[n] = make(map[uint32]*modelCall)
		p.handles[n] = make(map[uint64]*broker.Handle)
		b, err := broker.NewOver(p.w[n], broker.Config{
			Dialer: n == 0, Errors: plainErrors{}, Root: p.model.sides[n].things[0],
			Limits: broker.Limits{Keepalive: -1},
		})
		if err != nil {
			t.Fatal(err)
		}
		p.b[n] = b
	}
	return p
}

// faultf takes down what is wrong.
func (p *play) faultf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// Discipline and Method make a thing an object of the real sessions.
func (o *thing) Discipline() broker.Discipline {
	if o.concurrent {
		return broker.Concurrent
	}
	return broker.Queued
}

func (o *thing) Method(name []byte) (broker.Method, error) {
	m := playMethod{o, string(name)}
	if m.name == "hold" {
		return m, nil
	}
	t := new(broker.Timing)
	t.SetQuick() // it runs on the reader
	return timedMethod{m, t}, nil
}

type playMethod struct {
	o    *thing
	name string
}

type timedMethod struct {
	playMethod
	t *broker.Timing
}

func (m timedMethod) Timing() *broker.Timing { return m.t }

// Invoke reads the arguments, takes down that it begins, and does what it is ordered to.
func (m playMethod) Invoke(in *broker.Incoming) {
	p := m.o.play
	n, refs, err := readArgs(in.Args())
	if err != nil {
		p.faultf("arguments: %v", err)
		in.Refuse(err)
		return
	}
	for _, r := range refs {
		if r.Kind != jelly.RefYours {
			continue
		}
		if _, ok := in.Broker().Exported(r.ID); !ok {
			p.faultf("argument %d has come home and is not there", r.ID)
			in.Refuse(broker.ErrNoSuchObject)
			return
		}
	}
	for _, r := range refs {
		if r.Kind == jelly.RefExport {
			p.hold(m.o.side, in.Broker(), r.ID)
		}
	}
	if !in.Begin() {
		return
	}
	p.mu.Lock()
	c := p.calls[n]
	c.in = in
	p.begun = append(p.begun, n)
	if o, _ := in.Key().(*thing); o != m.o {
		p.faults = append(p.faults, fmt.Sprintf("call %d: key %v, want %v", n, o, m.o))
	}
	p.mu.Unlock()
	switch m.name {
	case "quick":
		in.Return(value(n))
		return
	case "yields":
		in.EndTurn()
	}
	c.obey()
}

// obey does what comes until the method returns.
func (c *playCall) obey() {
	for {
		select {
		case o := <-c.orders:
			if o.yields {
				c.in.EndTurn()
			}
			if o.answer != nil {
				o.answer(c.in)
			}
			if o.returns {
				return
			}
		case <-c.play.quit:
			return
		}
	}
}

func readArgs(d *jelly.Decoder) (n int, refs []jelly.Ref, err error) {
	k, err := d.DecodeArrayLen()
	if err != nil {
		return 0, nil, err
	}
	v, err := d.DecodeInt()
	for range k - 1 {
		r, rerr := d.DecodeRef()
		refs, err = append(refs, r), errors.Join(err, rerr)
	}
	return int(v), refs, err
}

// hold gets a handle for an object of the peer's.
func (p *play) hold(side int, b *broker.Broker, id uint64) {
	h, err := b.Import(id, func() *broker.Handle { return new(broker.Handle) })
	if err != nil {
		p.faultf("Import(%d) = %v", id, err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handles[side][id] = h
	p.all = append(p.all, h)
}

func (p *play) handle(side int, id uint64) *broker.Handle {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handles[side][id]
}

// EncodeArgs writes the call's number and the objects.
func (c *playCall) EncodeArgs(e *jelly.Encoder) error {
	if c.slow {
		select {
		case <-c.encode:
		case <-c.play.quit:
		}
	}
	e.EncodeArrayLen(1 + len(c.args))
	e.EncodeInt(int64(c.n))
	for _, a := range c.args {
		ref := jelly.Ref{Kind: jelly.RefYours, ID: a.yours}
		if a.mine != nil {
			id, err := c.play.b[c.from].Export(a.mine, a.mine)
			if err != nil {
				return err
			}
			ref = jelly.Ref{Kind: jelly.RefExport, ID: id}
		} else if c.play.handle(c.from, a.yours).Released() {
			return broker.ErrReleased
		}
		e.EncodeRef(ref)
	}
	return nil
}

// Pure is as the program has it.
func (c *playCall) Pure() bool { return !c.impure }

// DecodeResult reads a number, or an object.
func (c *playCall) DecodeResult(d *jelly.Decoder) error {
	if d.Peek() != jelly.KindRef {
		v, err := d.DecodeInt()
		c.value = fmt.Sprintf("value %d", v)
		return err
	}
	r, err := d.DecodeRef()
	if err != nil {
		return err
	}
	b := c.play.b[c.from]
	if r.Kind == jelly.RefExport {
		c.value = fmt.Sprintf("lends %d", r.ID)
		c.play.hold(c.from, b, r.ID)
		return nil
	}
	key, ok := b.Exported(r.ID)
	if !ok {
		return broker.ErrNoSuchObject
	}
	c.value = key.(*thing).String()
	return nil
}

// Finish takes down what became of the call.
func (c *playCall) Finish(o broker.Outcome, err error) {
	c.play.mu.Lock()
	defer c.play.mu.Unlock()
	c.times++
	c.outcome, c.result = o, c.value
	if err != nil {
		c.result = err.Error()
	}
}

// ask makes a call on a goroutine of its own, which may wait in EncodeArgs.
func (p *play) ask(spec *modelCall) {
	c := &playCall{modelCall: spec, play: p, encode: make(chan struct{}), orders: make(chan order)}
	p.mu.Lock()
	p.calls = append(p.calls, c)
	ctx := context.Background()
	if c.under != nil {
		ctx = p.calls[c.under.n].in.Context()
	}
	h := &broker.Header{Export: c.id, Method: c.method, Flags: c.flags, Call: &c.call}
	if c.on != nil {
		h.Answer = &p.calls[c.on.n].call
	} else if c.id != 1 {
		h.Handle = p.handles[c.from][c.id]
	}
	p.mu.Unlock()
	if c.is(broker.FlagOneway) {
		h.Call = nil
	}
	p.wg.Go(func() { // ends when the call is put, or refused
		err := p.b[c.from].Ask(ctx, h, c)
		p.mu.Lock()
		c.ended, c.err = true, err
		p.mu.Unlock()
	})
}

// answerWith is what a method does to answer.
func (p *play) answerWith(c *modelCall, kind string, o *thing, home uint64) func(*broker.Incoming) {
	return func(in *broker.Incoming) {
		switch kind {
		case "object":
			in.Return(func(e *jelly.Encoder) error {
				id, err := in.Broker().Export(o, o)
				if err == nil {
					e.EncodeRef(jelly.Ref{Kind: jelly.RefExport, ID: id})
				}
				return err
			})
		case "home":
			in.Return(func(e *jelly.Encoder) error {
				e.EncodeRef(jelly.Ref{Kind: jelly.RefYours, ID: home})
				return nil
			})
		case "error":
			in.Fail(errTest)
		default:
			in.Return(value(c.n))
		}
	}
}

// compare looks whether the real sessions are what the model says.
func (p *play) compare() {
	synctest.Wait()
	for n, s := range p.model.sides {
		p.compareMessages(n, s)
		got := p.b[n].Stats()
		want := broker.Stats{
			Sent: got.Sent, Received: got.Received, Asked: s.asked, Oneway: s.oneway,
			Unanswered: s.unanswered, Kept: s.kept, Exports: len(s.lent), Imports: len(s.held),
			Handlers: s.inside, Queued: got.Queued, Memory: got.Memory,
		}
		if got != want {
			p.faultf("%c: Stats = %+v, want %+v", 'A'+n, got, want)
		}
		if err := p.b[n].Err(); (err != nil) != s.ended || err != nil && err.Error() != s.reason {
			p.faultf("%c: Err = %v, want %q", 'A'+n, err, s.reason)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.compareBegun()
	for _, c := range p.calls {
		p.compareCall(c)
	}
}

func (p *play) compareCall(c *playCall) {
	m := c.modelCall
	wrong := func(format string, args ...any) {
		p.faults = append(p.faults, fmt.Sprintf("call %d: ", m.n)+fmt.Sprintf(format, args...))
	}
	switch {
	case c.ended == m.encoding:
		wrong("Ask has returned: %v, want %v", c.ended, !m.encoding)
	case c.ended && (c.err != nil || m.askErr != "") && fmt.Sprint(c.err) != m.askErr:
		wrong("Ask = %v, want %q", c.err, m.askErr)
	}
	if c.times != m.times {
		wrong("finished %d times, want %d", c.times, m.times)
	} else if m.times > 0 && (c.outcome != m.outcome || c.result != m.result) {
		wrong("%v: %s, want %v: %s", c.outcome, c.result, m.outcome, m.result)
	}
}

// compareBegun looks at the methods that began in this step. It needs mu.
func (p *play) compareBegun() {
	want := make([]int, 0, len(p.model.begun))
	for _, c := range p.model.begun {
		want = append(want, c.n)
	}
	got := p.begun
	p.begun = nil
	if g, w := p.turns(got), p.turns(want); g != w {
		p.faults = append(p.faults, fmt.Sprintf("began: %s, want %s", g, w))
	}
}

// turns tells for each object which calls began: those that take turns in their order, the others
// sorted. It needs mu.
func (p *play) turns(calls []int) string {
	type line struct {
		to    *thing
		turns bool
	}
	lines := make(map[line][]int)
	for _, n := range calls {
		c := p.calls[n].modelCall
		l := line{c.to, c.to != nil && !c.to.concurrent && !c.is(broker.FlagUnordered)}
		lines[l] = append(lines[l], n)
	}
	var all []string
	for l, ns := range lines {
		if !l.turns {
			slices.Sort(ns)
		}
		all = append(all, fmt.Sprintf("%v %v", l.to, ns))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// compareMessages looks at what a side said in this step. Where several goroutines said it at once
// the messages are put in the order that the model has them in, so that the same seed plays the
// same program.
func (p *play) compareMessages(n int, s *modelSide) {
	raw := p.w[n].Messages()
	if len(raw) < p.texts[n] {
		p.texts[n] = 0 // they have left
	}
	at := p.texts[n]
	want := make([]string, 0, 4)
	for _, msg := range s.waiting[min(at, len(s.waiting)):] {
		want = append(want, msg.String())
	}
	got := make([]string, 0, 4)
	for _, msg := range raw[at:] {
		got = append(got, p.text(n, msg))
	}
	p.texts[n] = len(raw)
	if slices.Equal(got, want) {
		return
	}
	if p.model.actors > 1 && len(got) == len(want) {
		arranged := true
		for i := range want {
			k := slices.Index(got[i:], want[i])
			if k < 0 {
				arranged = false
				break
			}
			got[i], got[i+k] = got[i+k], got[i]
			raw[at+i], raw[at+i+k] = raw[at+i+k], raw[at+i]
		}
		if arranged {
			return
		}
	}
	p.faultf("%c says %q, want %q", 'A'+n, got, want)
}

// text is a message as the model writes it.
func (p *play) text(side int, raw []byte) string {
	d := new(jelly.Decoder)
	d.Reset(nil, nil, raw, nil)
	h, err := message.DecodeHead(d)
	if err != nil {
		return err.Error()
	}
	number := func(of int) int {
		if c := p.asking[of][h.Q]; c != nil {
			return c.n
		}
		return -1
	}
	switch h.Kind {
	case message.Call:
		var head message.CallHead
		if err := message.DecodeCall(d, h.Elements, &head); err != nil {
			return err.Error()
		}
		n, _, _ := readArgs(d)
		if h.Q != 0 {
			if old := p.asking[side][h.Q]; old != nil && !old.over() {
				p.faultf("call %d has the number of call %d, which is not over", n, old.n)
			}
			p.asking[side][h.Q] = p.model.calls[n]
		}
		return fmt.Sprintf("CALL %d", n)
	case message.Return:
		return fmt.Sprintf("RETURN %d %s", number(1-side), answerText(d, h.Elements))
	case message.Finish:
		return fmt.Sprintf("FINISH %d", number(side))
	default:
	}
	v, err := message.DecodeSmall(d, h)
	switch {
	case err != nil:
		return err.Error()
	case h.Kind == message.Release:
		return fmt.Sprintf("RELEASE %d %d", v[0], v[1])
	case h.Kind == message.GoAway:
		return "GOAWAY"
	}
	return fmt.Sprintf("%v %d", h.Kind, v[0])
}

func answerText(d *jelly.Decoder, n int) string {
	if n > 3 {
		_ = d.DecodeNil()
		s, _ := d.DecodeString()
		return map[bool]string{true: "refused ", false: "failed "}[n == 5] + s
	}
	if d.Peek() != jelly.KindRef {
		v, _ := d.DecodeInt()
		return fmt.Sprintf("value %d", v)
	}
	r, _ := d.DecodeRef()
	if r.Kind == jelly.RefExport {
		return fmt.Sprintf("lends %d", r.ID)
	}
	return fmt.Sprintf("home %d", r.ID)
}
