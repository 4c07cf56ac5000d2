package broker_test

import (
	"fmt"
	"slices"

	"perspective/broker"
	"perspective/broker/message"
)

// The rules that two sessions must hold, over plain data: no goroutine, no lock, no byte. Each
// method of a model is one step of a program, and says by what it changes all that must have
// happened when nothing moves any more.
type model struct {
	sides [2]*modelSide
	calls []*modelCall
	begun []*modelCall // in this step
	// actors counts what puts messages beside each other in this step: with several of them their
	// order is chance.
	actors int
}

// A thing is an object of a side's. It is the real object too: see model_play_test.go.
type thing struct {
	side, index int
	concurrent  bool
	play        *play

	// below: the model's
	turn  *modelCall
	queue []*modelCall
}

func (o *thing) String() string { return fmt.Sprintf("%c%d", 'A'+o.side, o.index) }

type modelSide struct {
	n       int
	things  []*thing             // the first is the root
	waiting []modelMessage       // not handed
	line    []modelMessage       // on its way to this side
	lent    map[uint64]*modelOut // exports
	next    uint64
	held    map[uint64]uint64 // handles not released: how often their object came
	known   []uint64          // every id that there was a handle for
	freed   map[uint64]bool   // of these, the ones whose handle was released

	asked, oneway, unanswered             int // what Stats tells
	kept, inside                          int // so, too
	away, peerAway, ponged, drains, ended bool
	reason                                string
}

// A modelOut is an object in the peer's hands.
type modelOut struct {
	thing *thing
	sent  uint64
}

// A modelMessage is one on a wire; with kind 0 it is the preface, or the end.
type modelMessage struct {
	kind   message.Kind
	call   *modelCall
	id, n  uint64
	answer modelAnswer
	end    bool
}

func (m modelMessage) String() string {
	switch m.kind {
	case message.Call, message.Finish:
		return fmt.Sprintf("%v %d", m.kind, m.call.n)
	case message.Return:
		return fmt.Sprintf("RETURN %d %v", m.call.n, m.answer)
	case message.Release:
		return fmt.Sprintf("RELEASE %d %d", m.id, m.n)
	case message.Credit, message.Ping, message.Pong:
		return fmt.Sprintf("%v %d", m.kind, m.n)
	case 0:
		return map[bool]string{true: "end", false: "preface"}[m.end]
	default:
		return m.kind.String()
	}
}

// A modelAnswer is what a call was answered with: an object of the callee's, one of the caller's,
// an error, or else a number.
type modelAnswer struct {
	lends, home uint64
	failed      string
	refused     bool // before the method began
	value       int
}

func (a modelAnswer) String() string {
	switch {
	case a.refused:
		return "refused " + a.failed
	case a.failed != "":
		return "failed " + a.failed
	case a.lends != 0:
		return fmt.Sprintf("lends %d", a.lends)
	case a.home != 0:
		return fmt.Sprintf("home %d", a.home)
	}
	return fmt.Sprintf("value %d", a.value)
}

// A modelArg is an object among the arguments: one of the caller's, or the callee's by its number.
type modelArg struct {
	mine  *thing
	yours uint64
}

func (a modelArg) String() string {
	if a.mine != nil {
		return a.mine.String()
	}
	return fmt.Sprintf("home %d", a.yours)
}

// A modelCall is a call in all its states, on both sides.
type modelCall struct {
	// what is asked; it does not change
	n, from int
	under   *modelCall // whose method asks it
	on      *modelCall // whose answer it is made on
	id      uint64     // or the export
	method  string
	flags   uint64
	args    []modelArg
	impure  bool
	slow    bool // its encoding waits for the step encode

	// the caller's side
	encoding, asked, handed, returned, finish bool
	askErr                                    string
	pins                                      int
	times                                     int
	outcome                                   broker.Outcome
	result                                    string // of Finish: a value or an error

	// the callee's side
	mentions                                               []uint64 // of the caller's objects
	to                                                     *thing
	arrived, cancelled, inside, begins, turnless, answered bool
	kept                                                   bool
	refusal                                                string
	waiters                                                []*modelCall
	answer                                                 modelAnswer
}

func (c *modelCall) is(flag uint64) bool { return c.flags&flag != 0 }

// over reports that the call's number may be used again.
func (c *modelCall) over() bool {
	return c.returned && (c.is(broker.FlagFinal) || c.finish && c.pins == 0)
}

func newModel(p *play) *model {
	m := new(model)
	for n := range m.sides {
		s := &modelSide{n: n, lent: make(map[uint64]*modelOut), next: 2,
			held: make(map[uint64]uint64), freed: make(map[uint64]bool)}
		for i := range 4 {
			s.things = append(s.things, &thing{side: n, index: i, concurrent: i == 3, play: p})
		}
		s.line = []modelMessage{{}}
		m.sides[n] = s
	}
	return m
}

// settled says what became of the ends when a step is over.
func (m *model) settled() {
	for range m.sides { // the end of one may be that of the other
		for _, s := range m.sides {
			if !s.away || s.ended {
				continue
			}
			if (s.ponged || s.peerAway) && s.unanswered == 0 && s.asked == 0 {
				s.drains = true
			}
			if s.drains && len(s.waiting) == 0 {
				m.end(s, broker.ErrClosed.Error())
			}
		}
	}
}

// put has a side say something.
func (m *model) put(s *modelSide, msg modelMessage) {
	if !s.ended {
		s.waiting = append(s.waiting, msg)
	}
}

// lend counts an object as sent once more.
func (s *modelSide) lend(o *thing) uint64 {
	for id, out := range s.lent {
		if out.thing == o {
			out.sent++
			return id
		}
	}
	id := s.next
	s.next++
	s.lent[id] = &modelOut{o, 1}
	return id
}

// unlend takes back n of the times that the object was sent.
func (s *modelSide) unlend(id, n uint64) {
	out := s.lent[id]
	if out == nil || out.sent < n {
		panic(fmt.Sprintf("the model releases %d %d times", id, n))
	}
	if out.sent -= n; out.sent == 0 {
		delete(s.lent, id)
	}
}

// find is the object with the number id.
func (s *modelSide) find(id uint64) *thing {
	if id == 1 {
		return s.things[0]
	}
	if out := s.lent[id]; out != nil {
		return out.thing
	}
	return nil
}

// drop gives back what a message mentions of which nothing is kept.
func (m *model) drop(s *modelSide, ids []uint64) {
	for len(ids) > 0 {
		n := 1
		for n < len(ids) && ids[n] == ids[0] {
			n++
		}
		m.put(s, modelMessage{kind: message.Release, id: ids[0], n: uint64(n)})
		ids = ids[n:]
	}
}

// keep counts what a message mentions that a method or a caller has.
func (s *modelSide) keep(ids []uint64) {
	for _, id := range ids {
		if !slices.Contains(s.known, id) {
			s.known = append(s.known, id)
		}
		delete(s.freed, id)
		s.held[id]++
	}
}

func (m *model) ask(c *modelCall) {
	s := m.sides[c.from]
	m.calls = append(m.calls, c)
	switch {
	case c.under != nil && (c.under.answered || c.under.cancelled || s.ended):
		c.askErr = "context canceled"
	case s.away || s.peerAway:
		c.askErr = broker.ErrGoingAway.Error()
	case c.on == nil && s.freed[c.id]:
		c.askErr = broker.ErrReleased.Error()
	case c.on != nil && s.ended:
		c.askErr = s.reason
	case c.on != nil && (!c.on.asked || c.on.returned):
		c.askErr = broker.ErrAnswered.Error()
	case c.on != nil && c.on.finish:
		c.askErr = broker.ErrCancelled.Error()
	default:
		if c.on != nil {
			c.on.pins++
		}
		if c.encoding = c.slow; !c.slow {
			m.encode(c)
		}
	}
}

// encode goes on with a call whose encoding waited, or did not.
func (m *model) encode(c *modelCall) {
	s := m.sides[c.from]
	c.encoding = false
	for _, a := range c.args {
		switch {
		case c.askErr != "":
		case a.mine == nil && s.freed[a.yours]:
			c.askErr = broker.ErrReleased.Error()
		case a.mine != nil && s.ended:
			c.askErr = s.reason
		case a.mine != nil:
			c.mentions = append(c.mentions, s.lend(a.mine))
		}
	}
	switch {
	case c.askErr != "":
	case s.ended:
		c.askErr = s.reason
	case s.away || s.peerAway:
		c.askErr = broker.ErrGoingAway.Error()
	}
	if c.askErr == "" {
		c.asked = true
		s.asked++
		if c.is(broker.FlagOneway) {
			s.oneway++
		}
		m.put(s, modelMessage{kind: message.Call, call: c})
	} else if !s.ended {
		for _, id := range c.mentions {
			s.unlend(id, 1)
		}
	}
	if c.on != nil {
		c.on.pins--
		m.finishIfDone(c.on)
	}
}

// finishIfDone says FINISH when nobody will call on the answer any more.
func (m *model) finishIfDone(c *modelCall) {
	if c.returned && c.pins == 0 && !c.finish && !c.is(broker.FlagFinal) && !m.sides[c.from].ended {
		c.finish = true
		m.put(m.sides[c.from], modelMessage{kind: message.Finish, call: c})
	}
}

func (m *model) cancel(c *modelCall) {
	if s := m.sides[c.from]; c.asked && !c.returned && !c.finish && !s.ended {
		c.finish = true
		m.put(s, modelMessage{kind: message.Finish, call: c})
	}
}

func (m *model) release(s *modelSide, id uint64) {
	n := s.held[id]
	delete(s.held, id)
	s.freed[id] = true
	if n > 0 {
		m.put(s, modelMessage{kind: message.Release, id: id, n: n})
	}
}

func (m *model) leave(s *modelSide) {
	other := m.sides[1-s.n]
	for _, msg := range s.waiting {
		if msg.kind == message.Call {
			msg.call.handed = true
		}
		if !other.ended {
			other.line = append(other.line, msg)
		}
	}
	s.waiting = nil
}

// step delivers what is first on the line to s.
func (m *model) step(s *modelSide) {
	msg := s.line[0]
	s.line = s.line[1:]
	c := msg.call
	switch msg.kind {
	case message.Call:
		m.arrive(s, c)
	case message.Return:
		m.returned(s, c, msg.answer)
	case message.Finish:
		if c.kept {
			c.kept = false
			s.kept--
		}
		c.cancelled = true
	case message.Release:
		s.unlend(msg.id, msg.n)
	case message.Credit:
		s.asked -= int(msg.n)
		s.oneway -= int(msg.n)
	case message.Ping:
		m.put(s, modelMessage{kind: message.Pong, n: msg.n})
	case message.Pong:
		s.ponged = true
	case message.GoAway:
		s.peerAway = true
	default:
		if msg.end {
			m.end(s, broker.ErrPeerClosed.Error())
		}
	}
}

// arrive takes in a call.
func (m *model) arrive(s *modelSide, c *modelCall) {
	c.arrived = true
	s.unanswered++
	refuse := func(reason error) {
		m.answer(s, c, modelAnswer{failed: reason.Error(), refused: true})
		m.drop(s, c.mentions)
	}
	switch {
	case s.away:
		refuse(broker.ErrGoingAway)
	case c.on == nil:
		if c.to = s.find(c.id); c.to == nil {
			refuse(broker.ErrNoSuchObject)
			return
		}
		m.start(s, c)
	case c.on.kept:
		m.resolve(s, c)
	case !c.on.answered:
		c.on.waiters = append(c.on.waiters, c)
	default:
		m.refuse(s, c, broker.ErrNoSuchObject.Error())
	}
}

// resolve starts a call on an answer that is there.
func (m *model) resolve(s *modelSide, c *modelCall) {
	switch a := c.on.answer; {
	case a.failed != "":
		c.refusal = a.failed
	case a.lends == 0 && a.home == 0:
		c.refusal = "broker: the answer is no object that can be called"
	case s.find(a.lends) == nil: // calls on the caller's own objects are passed on by nobody here
		c.refusal = broker.ErrNoSuchObject.Error()
	default:
		c.to = s.find(a.lends)
		m.start(s, c)
		return
	}
	m.run(s, c)
}

// start lets a call take its turn.
func (m *model) start(s *modelSide, c *modelCall) {
	if c.to.concurrent || c.is(broker.FlagUnordered) {
		m.run(s, c)
		return
	}
	c.to.queue = append(c.to.queue, c)
	m.advance(s, c.to)
}

// advance starts the calls of a queue one after another.
func (m *model) advance(s *modelSide, o *thing) {
	for o.turn == nil && len(o.queue) > 0 && !s.ended {
		c := o.queue[0]
		o.queue = o.queue[1:]
		o.turn = c
		if m.run(s, c); !c.inside || c.turnless {
			o.turn = nil
		}
	}
}

// run begins a call, unless it must be refused.
func (m *model) run(s *modelSide, c *modelCall) {
	m.actors++
	switch {
	case c.cancelled:
		m.refuse(s, c, "context canceled")
		return
	case c.refusal != "":
		m.refuse(s, c, c.refusal)
		return
	}
	c.begins, c.inside = true, true
	s.inside++
	s.keep(c.mentions)
	m.begun = append(m.begun, c)
	switch c.method {
	case "quick":
		m.answer(s, c, modelAnswer{value: c.n})
		c.inside = false
		s.inside--
	case "yields":
		c.turnless = true
	}
}

// refuse answers a call whose arguments were kept for it.
func (m *model) refuse(s *modelSide, c *modelCall, reason string) {
	m.drop(s, c.mentions)
	m.answer(s, c, modelAnswer{failed: reason, refused: true})
}

// answer settles a call: first those that wait for it enter their queues.
func (m *model) answer(s *modelSide, c *modelCall, a modelAnswer) {
	c.answered, c.answer = true, a
	if s.ended {
		return
	}
	s.unanswered--
	if c.is(broker.FlagOneway) {
		m.put(s, modelMessage{kind: message.Credit, n: 1})
		return
	}
	msg := modelMessage{kind: message.Return, call: c, answer: a}
	at := len(s.waiting)
	for len(c.waiters) > 0 {
		w := c.waiters[0]
		c.waiters = c.waiters[1:]
		m.resolve(s, w)
	}
	if c.kept = !c.is(broker.FlagFinal) && !c.cancelled; c.kept {
		s.kept++
	}
	s.waiting = slices.Insert(s.waiting, at, msg)
}

// methodAnswers has the method of c answer with what kind says.
func (m *model) methodAnswers(c *modelCall, kind string, o *thing, home uint64) {
	s := m.sides[1-c.from]
	m.actors++
	var a modelAnswer
	switch {
	case c.is(broker.FlagOneway):
	case kind == "object" && !s.ended:
		a.lends = s.lend(o)
	case kind == "home":
		a.home = home
	case kind == "error":
		a.failed = errTest.Error()
	default:
		a.value = c.n
	}
	m.answer(s, c, a)
}

// methodReturns ends the method of c.
func (m *model) methodReturns(c *modelCall) {
	s := m.sides[1-c.from]
	c.inside = false
	s.inside--
	m.passTurn(s, c)
}

func (m *model) passTurn(s *modelSide, c *modelCall) {
	c.turnless = true
	if c.to.turn == c {
		c.to.turn = nil
		m.advance(s, c.to)
	}
}

// returned finishes a question.
func (m *model) returned(s *modelSide, c *modelCall, a modelAnswer) {
	c.returned = true
	s.asked--
	m.finishIfDone(c)
	c.times, c.outcome, c.result = 1, broker.Executed, a.String()
	switch {
	case a.refused:
		c.outcome, c.result = broker.NotExecuted, a.failed
	case a.failed != "":
		c.result = a.failed
	case a.lends != 0:
		s.keep([]uint64{a.lends})
	case a.home != 0 && s.find(a.home) == nil:
		c.result = broker.ErrNoSuchObject.Error()
	case a.home != 0:
		c.result = s.find(a.home).String()
	}
}

func (m *model) shutdown(s *modelSide) {
	s.away = true
	m.put(s, modelMessage{kind: message.GoAway})
	m.put(s, modelMessage{kind: message.Ping, n: 1})
}

// end ends one side for a reason; the other learns of it behind what is on the line to it.
func (m *model) end(s *modelSide, reason string) {
	if s.ended {
		return
	}
	s.ended, s.reason = true, reason
	s.waiting, s.line, s.lent, s.held = nil, nil, nil, nil
	s.asked, s.oneway, s.unanswered, s.kept = 0, 0, 0, 0
	for _, c := range m.calls {
		if c.from != s.n {
			c.kept = false
			continue
		}
		if !c.asked || c.returned || c.is(broker.FlagOneway) {
			continue
		}
		c.times, c.outcome, c.result = 1, broker.NotExecuted, reason
		if c.handed {
			c.outcome = broker.MaybeExecuted
		}
	}
	for _, o := range s.things {
		o.queue = nil
	}
	if other := m.sides[1-s.n]; !other.ended {
		other.line = append(other.line, modelMessage{end: true})
	}
}

func (m *model) cut() {
	for _, s := range m.sides {
		m.end(s, broker.ErrPeerClosed.Error()+": the wire was cut")
	}
}
