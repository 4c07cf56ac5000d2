package broker_test

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"perspective/broker"
	"perspective/jelly"
)

// gate is an object whose method "hold" does not return before open is closed.
type gate struct {
	*methods
	open    chan struct{}
	entered chan struct{}
}

func newGate(concurrent bool) *gate {
	g := &gate{methods: echo(), open: make(chan struct{}), entered: make(chan struct{}, 10_000)}
	g.concurrent = concurrent
	g.m["size"] = func(in *broker.Incoming, args []any) { in.Return(value(len(args[0].([]byte)))) }
	g.m["hold"] = func(in *broker.Incoming, _ []any) {
		g.entered <- struct{}{}
		<-g.open
		in.Return(value(true))
	}
	return g
}

// TestCallsEdge: Calls unanswered calls pass, one more is shed at once.
func TestCallsEdge(t *testing.T) {
	for _, n := range []int{1, 3} {
		c, s := tcp(t)
		deadline(t, c)
		g := newGate(true)
		w, b := against(t, c, s, broker.Config{Root: g, Limits: broker.Limits{Calls: n}})
		w.greet()
		for q := range n {
			w.say(callOf(t, q+1, broker.FlagFinal, "hold"))
			<-g.entered
		}
		w.say(callOf(t, 100, broker.FlagFinal, "hold"))
		if _, failure := w.returned(100); failure != broker.ErrOverloaded.Error() {
			t.Errorf("call %d of %d: %q, want ErrOverloaded", n+1, n, failure)
		}
		close(g.open)
		for q := range n {
			if v, failure := w.returned(q + 1); v != true {
				t.Errorf("call %d of %d: %v, %q", q+1, n, v, failure)
			}
		}
		if b.Err() != nil {
			t.Error(b.Err())
		}
	}
}

// TestCallBytesEdge: so many bytes of unanswered calls pass, one more does not,
// whether the call comes whole or in pieces.
func TestCallBytesEdge(t *testing.T) {
	first := callOf(t, 1, broker.FlagFinal, "hold")
	long := func(q, n int) []byte { return callOf(t, q, broker.FlagFinal, "size", make([]byte, n)) }
	for name, n := range map[string]int{"whole": 1000, "pieces": 200 << 10} {
		t.Run(name, func(t *testing.T) {
			limit := len(first) - 4 + len(long(2, n)) - 4
			for _, over := range []int{0, 1} {
				c, s := tcp(t)
				deadline(t, c)
				g := newGate(true)
				w, _ := against(t, c, s,
					broker.Config{Root: g, Limits: broker.Limits{CallBytes: limit}})
				w.greet().say(first)
				<-g.entered
				if p := long(2, n+over); n > 64<<10 {
					w.sayParts(p[4:])
				} else {
					w.say(p)
				}
				_, failure := w.returned(2)
				if refused := failure == broker.ErrOverloaded.Error(); refused != (over == 1) {
					t.Errorf("%d bytes over: %q", over, failure)
				}
				close(g.open)
			}
		})
	}
}

// sayParts sends a message in pieces.
func (w *wire) sayParts(p []byte) {
	w.long++
	for at := 0; at < len(p); at += 30_000 {
		end := min(at+30_000, len(p))
		w.say(messageOf(w.t, 5, 0, w.long, end == len(p), p[at:end]))
	}
}

// TestMessageEdge: a message of Limits.Message passes, one byte more is skipped
// and its call fails, and the connection lives.
func TestMessageEdge(t *testing.T) {
	for name, n := range map[string]int{"whole": 2000, "pieces": 300 << 10} {
		t.Run(name, func(t *testing.T) {
			call := func(q, n int) []byte {
				return callOf(t, q, broker.FlagFinal, "size", make([]byte, n))
			}
			c, s := tcp(t)
			deadline(t, c)
			w, b := against(t, c, s, broker.Config{Root: newGate(false),
				Limits: broker.Limits{Message: len(call(1, n)) - 4}})
			w.greet()
			for over, want := range []string{"", broker.ErrTooLarge.Error(), ""} {
				q := over + 1
				over %= 2
				p := call(q, n+over)
				if len(p) > 64<<10 {
					w.sayParts(p[4:])
				} else {
					w.say(p)
				}
				if _, failure := w.returned(q); failure != want {
					t.Errorf("%d bytes over: %q, want %q", over, failure, want)
				}
			}
			if b.Err() != nil {
				t.Error(b.Err())
			}
		})
	}
}

// TestArgumentsEdge: Arguments pass, one more does not.
func TestArgumentsEdge(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		cb, _ := pair(t, c, s, broker.Config{},
			broker.Config{Root: echo(), Limits: broker.Limits{Arguments: 3}})
		if _, err := ask(1, 2, 3).to(t, cb, "echo").wait(t); err != nil {
			t.Error(err)
		}
		q := ask(1, 2, 3, 4).to(t, cb, "echo")
		if _, err := q.wait(t); err == nil || q.outcome != broker.NotExecuted {
			t.Errorf("4 of 3 arguments: %v, %v", err, q.outcome)
		}
	})
}

// TestHandlersEdge: no more methods run than Handlers allows; the others wait,
// and those nested run all the same.
func TestHandlersEdge(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		const limit, calls = 3, 10
		g := newGate(true)
		cb, sb := pair(t, c, s, broker.Config{},
			broker.Config{Root: g, Limits: broker.Limits{Handlers: limit}})
		var qs []*question
		for range calls {
			qs = append(qs, ask().to(t, cb, "hold"))
		}
		for range limit {
			<-g.entered
		}
		if err := cb.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := sb.Stats().Handlers; n != limit || len(g.entered) != 0 {
			t.Errorf("%d handlers run and %d more, want %d", n, len(g.entered), limit)
		}
		close(g.open)
		for _, q := range qs {
			if _, err := q.wait(t); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestNested: calls made while handling calls go both ways with one handler
// on each side, and end at CallDepth.
func TestNested(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		limits := broker.Limits{Handlers: 1, Calls: 32, CallDepth: 6}
		bounce := func() *methods {
			return &methods{concurrent: true,
				m: map[string]method{"bounce": func(in *broker.Incoming, args []any) {
					n := args[0].(int64)
					q := ask(n + 1)
					err := in.Broker().Ask(in.Context(),
						&broker.Header{Export: 1, Method: "bounce", Call: &q.call}, q)
					if err != nil {
						in.Return(value(n))
						return
					}
					<-q.done
					in.Return(value(q.result))
				}}}
		}
		cb, sb := pair(t, c, s, broker.Config{Root: bounce(), Limits: limits},
			broker.Config{Root: bounce(), Limits: limits})
		a, b := ask(0).to(t, cb, "bounce"), ask(0).to(t, sb, "bounce")
		for _, q := range []*question{a, b} {
			if got, err := q.wait(t); err != nil || got != int64(6) {
				t.Errorf("bounced to %v, %v, want 6", got, err)
			}
		}
	})
}

// TestQuestionsWait: a caller over the peer's budget waits, and one that is
// nested does not.
func TestQuestionsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := net.Pipe()
		g := newGate(true)
		cb, _ := pair(t, c, s, broker.Config{},
			broker.Config{Root: g, Limits: broker.Limits{Calls: 2}})
		<-cb.Greeted()
		a, b := ask().to(t, cb, "hold"), ask().to(t, cb, "hold")
		asked := make(chan *question)
		go func() { asked <- ask().to(t, cb, "hold") }() // ends when one of the others is answered
		synctest.Wait()
		select {
		case <-asked:
			t.Error("the third of two calls did not wait")
		default:
		}
		close(g.open)
		for _, q := range []*question{a, b, <-asked} {
			if _, err := q.wait(t); err != nil {
				t.Error(err)
			}
		}
	})
}

// held is a reference to an object of the peer's.
type held struct {
	broker.Handle
}

func (*held) JellyReference() {}

// refer writes a reference to obj.
func refer(b *broker.Broker, key any, obj broker.Object) func(*jelly.Encoder) error {
	return func(e *jelly.Encoder) error {
		id, err := b.Export(key, obj)
		if err != nil {
			return err
		}
		e.EncodeRef(jelly.Ref{Kind: jelly.RefExport, ID: id, Object: id})
		return nil
	}
}

// lender is a root that lends objects: "same" always the same one, "new"
// another each time.
func lender(obj *methods) *methods {
	o := echo()
	o.m["same"] = func(in *broker.Incoming, _ []any) { in.Return(refer(in.Broker(), obj, obj)) }
	o.m["new"] = func(in *broker.Incoming, _ []any) {
		x := &methods{m: obj.m}
		in.Return(refer(in.Broker(), x, x))
	}
	return o
}

// refQuestion takes a reference as its result.
type refQuestion struct {
	question
	b  *broker.Broker
	is *held
}

func (q *refQuestion) DecodeResult(d *jelly.Decoder) error {
	r, err := d.DecodeRef()
	if err != nil {
		return err
	}
	h, err := q.b.Import(r.ID, func() *broker.Handle {
		x := new(held)
		x.Owner = x
		return &x.Handle
	})
	if err == nil {
		q.is, _ = h.Owner.(*held)
	}
	return err
}

func askRef(t *testing.T, b *broker.Broker, name string) (*held, error) {
	t.Helper()
	q := &refQuestion{question: *ask(), b: b}
	if err := b.Ask(t.Context(), &broker.Header{
		Export: 1,
		Method: name,
		Flags:  broker.FlagFinal,
		Call:   &q.call,
	}, q); err != nil {
		t.Fatal(err)
	}
	<-q.done
	return q.is, q.err
}

func TestExportsEdge(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		cb, sb := pair(t, c, s, broker.Config{},
			broker.Config{Root: lender(echo()), Limits: broker.Limits{Exports: 2}})
		var all []*held
		for range 2 {
			h, err := askRef(t, cb, "new")
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, h)
		}
		if _, err := askRef(t, cb, "new"); !errors.Is(err, broker.ErrOverloaded) {
			t.Errorf("the third of two exports: %v", err)
		}
		for _, h := range all {
			cb.Release(&h.Handle)
		}
		if err := cb.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := sb.Stats(); st.Exports != 0 || cb.Stats().Imports != 0 {
			t.Errorf("after Release: %+v, %+v", st, cb.Stats())
		}
		if _, err := askRef(t, cb, "new"); err != nil {
			t.Errorf("after Release: %v", err)
		}
	})
}

func TestImportsEdge(t *testing.T) {
	c, s := tcp(t)
	cb, sb := pair(t, c, s, broker.Config{Limits: broker.Limits{Imports: 2}},
		broker.Config{Root: lender(echo())})
	var all []*held
	for range 2 {
		h, err := askRef(t, cb, "new")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	if _, err := askRef(t, cb, "new"); !errors.Is(err, broker.ErrTooManyImports) ||
		!errors.Is(err, broker.ErrOverloaded) ||
		errors.Is(err, broker.ErrTooManyExports) {
		t.Errorf("the third of two imports: %v", err)
	}
	if err := cb.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := sb.Stats().Exports; n != 2 {
		t.Errorf("%d exports, want 2: the third goes back", n)
	}
	for _, h := range all {
		cb.Release(&h.Handle)
	}
}

// TestAnswersEdge: so many answers are kept; one more is not, and calls on it
// are refused.
func TestAnswersEdge(t *testing.T) {
	tests := []struct {
		name   string
		limits broker.Limits
		value  []byte
	}{
		{"number", broker.Limits{Answers: 2}, nil},
		{"bytes", broker.Limits{AnswerBytes: 2 * 1003}, make([]byte, 1000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, s := tcp(t)
			deadline(t, c)
			w, b := against(t, c, s, broker.Config{Root: echo(), Limits: tt.limits})
			w.greet()
			on := func(q, answer int) string {
				w.say(messageOf(t, 1, q, broker.FlagFinal, []any{answer, []any{}}, "echo", []any{}))
				_, failure := w.returned(q)
				return failure
			}
			for q := 1; q <= 3; q++ {
				w.say(callOf(t, q, 0, "echo", tt.value))
				if _, failure := w.returned(q); failure != "" {
					t.Fatalf("call %d: %q", q, failure)
				}
			}
			for q := 1; q <= 2; q++ {
				if got := on(10+q, q); got == "" || got == broker.ErrOverloaded.Error() {
					t.Errorf("a call on kept answer %d: %q", q, got)
				}
			}
			if got := on(13, 3); got != broker.ErrOverloaded.Error() {
				t.Errorf("a call on an answer over the budget: %q", got)
			}
			w.say(messageOf(t, 3, 1), messageOf(t, 3, 2), messageOf(t, 3, 3),
				callOf(t, 20, broker.FlagFinal, "echo", 1))
			w.returned(20)
			if st := b.Stats(); st.Kept != 0 || st.Unanswered != 0 || b.Err() != nil {
				t.Errorf("after FINISH: %+v, %v", st, b.Err())
			}
		})
	}
}

// TestPaused: while much waits for the peer its calls are not started, and
// start again when it reads.
func TestPaused(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		o := &methods{concurrent: true,
			m: map[string]method{"big": func(in *broker.Incoming, _ []any) {
				in.Return(value(make([]byte, 300<<10)))
			}}}
		cb, sb := pair(t, c, s, broker.Config{},
			broker.Config{Root: o, Limits: broker.Limits{Handlers: 8}})
		<-cb.Greeted()
		calls := 60
		if testing.Short() {
			calls = 20
		}
		var qs []*question
		for range calls {
			qs = append(qs, ask().to(t, cb, "big"))
		}
		for _, q := range qs {
			if p, err := q.wait(t); err != nil || len(p.([]byte)) != 300<<10 {
				t.Fatal(err)
			}
		}
		if sb.Err() != nil {
			t.Error(sb.Err())
		}
	})
}

// TestCreditBalance: after calls of all kinds every credit is back.
func TestCreditBalance(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		o := echo()
		o.m["big"] = func(in *broker.Incoming, args []any) {
			in.Return(value(len(args[0].([]byte))))
		}
		limits := broker.Limits{Calls: 50, CallBytes: 1 << 20, Message: 512 << 10}
		cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: o, Limits: limits})
		<-cb.Greeted()
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for j := range 40 {
					q := ask(bytes.Repeat([]byte{1}, (i*40+j)*1200))
					h := &broker.Header{
						Export: 1,
						Method: []string{"big", "nothing", "fail", "echo"}[j%4],
						Call:   &q.call,
					}
					switch j % 3 {
					case 0:
						h.Flags, h.Call = broker.FlagOneway, nil
					case 1:
						h.Flags = broker.FlagFinal
					}
					if j == 9 {
						h.Export = 99
					}
					if err := cb.Ask(t.Context(), h, q); err != nil {
						t.Error(err)
						continue
					}
					if h.Call == nil {
						continue
					}
					if j%5 == 0 {
						cb.Cancel(&q.call)
					}
					<-q.done
					if q.times != 1 {
						t.Errorf("finished %d times", q.times)
					}
				}
			})
		}
		wg.Wait()
		settled(t, cb, sb)
	})
}

// settled waits until nothing is under way, and fails if that never comes.
func settled(t *testing.T, bs ...*broker.Broker) {
	t.Helper()
	for _, b := range bs {
		var st broker.Stats
		for range 10_000 {
			if err := b.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			if st = b.Stats(); st.Asked == 0 && st.Unanswered == 0 && st.Kept == 0 &&
				st.Handlers == 0 {
				break
			}
		}
		if st.Asked != 0 || st.Unanswered != 0 || st.Kept != 0 || st.Handlers != 0 {
			t.Errorf("not settled: %+v", st)
		}
	}
}

// TestDepthEdge: a call of CallDepth is taken, one deeper is not.
func TestDepthEdge(t *testing.T) {
	c, s := tcp(t)
	deadline(t, c)
	w, _ := against(t, c, s, broker.Config{Root: echo(), Limits: broker.Limits{CallDepth: 5}})
	w.greet()
	for depth, want := range map[int]string{5: "", 6: broker.ErrTooDeep.Error()} {
		w.say(messageOf(t, 1, depth, broker.FlagFinal, 1, "echo", 0, depth, nil, nil, []any{1}))
		if _, failure := w.returned(depth); failure != want {
			t.Errorf("depth %d: %q, want %q", depth, failure, want)
		}
	}
}
