package pb_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"perspective/pb"
	"perspective/pb/adapt"
)

// house is a root that gives objects of all tempers.
type house struct {
	pb.Referenceable
	pb.Concurrent
	t              *testing.T
	objects        []any
	tempers        []*tempers // of the objects
	lanes          []*lane    // complete before the first call
	looked, inline atomic.Int64
	complaints     atomic.Int64
}

// The objects differ in how they are called; what they do is the same.
type (
	moody struct {
		pb.Referenceable
		tempers
	}
	adaptedMoody struct {
		pb.Referenceable
		tempers
	}
	soleMoody struct {
		pb.Referenceable
		pb.Serial
		tempers
	}
)

func init() {
	adapt.Methods(
		adapt.Func1("RemoteCalm", (*adaptedMoody).RemoteCalm),
		adapt.Func2("RemoteDo", (*adaptedMoody).RemoteDo),
		adapt.Func3("RemoteAsk", (*adaptedMoody).RemoteAsk),
		adapt.Func2("RemoteLong", (*adaptedMoody).RemoteLong),
		adapt.Func2("RemoteFetch", (*adaptedMoody).RemoteFetch),
		adapt.Func2("RemoteWith", (*adaptedMoody).RemoteWith),
		adapt.Func1("RemoteLater", (*adaptedMoody).RemoteLater),
		adapt.Proc0("RemoteTouch", (*adaptedMoody).RemoteTouch),
	)
}

func newHouse(t *testing.T) *house {
	h := &house{t: t}
	plain, adapted, sole := &moody{}, &adaptedMoody{}, &soleMoody{}
	h.objects = []any{plain, adapted, sole}
	h.tempers = []*tempers{&plain.tempers, &adapted.tempers, &sole.tempers}
	for i, w := range h.tempers {
		w.house, w.self, w.sole = h, h.objects[i], h.objects[i] == any(sole)
	}
	return h
}

// addLane makes room for what one caller's calls to an object do.
func (h *house) addLane(object int) (int, *lane) {
	l := &lane{on: h.tempers[object]}
	h.lanes = append(h.lanes, l)
	return len(h.lanes) - 1, l
}

// complainf fails the test, a few times.
func (h *house) complainf(format string, args ...any) {
	if h.complaints.Add(1) <= 10 {
		h.t.Errorf(format, args...)
	}
}

func (h *house) RemoteGive(_ context.Context, object int) (any, error) {
	return h.objects[object], nil
}

func (h *house) RemoteGiveLater(_ context.Context, object int) (any, error) {
	pause(time.Millisecond)
	return h.objects[object], nil
}

func (h *house) RemoteNumberLater(_ context.Context, n int) (int, error) {
	pause(time.Millisecond)
	return n, nil
}

// pause blocks for a while, in a way that nobody sees.
func pause(d time.Duration) {
	over := make(chan struct{})
	time.AfterFunc(d, func() { close(over) })
	<-over
}

// lane is what the object knows of one caller over one connection. order and
// left need no lock, for the turn is one: the race detector sees where it is not.
type lane struct {
	on     *tempers
	order  order
	left   int
	inTurn atomic.Bool
}

// tempers is an object whose methods do everything that a method may.
type tempers struct {
	house *house
	self  any
	sole  bool         // a Serial
	total int          // calls to a Serial that began, which needs no lock either
	alone atomic.Int32 // methods of a Serial that run
}

// begin is the first thing that a method does.
func (w *tempers) begin(at []int) (*lane, place) {
	p := place{at[0], at[1], at[2], at[3]}
	l := w.house.lanes[p.lane]
	l.left++
	if err := l.order.begin(p); err != nil {
		w.house.complainf("lane %d: %v", p.lane, err)
	}
	if l.on != w || l.inTurn.Swap(true) {
		w.house.complainf("lane %d: call %d on route %d begins in the turn of another",
			p.lane, p.n, p.route)
	}
	w.enter()
	return l, p
}

// enter is told when a method of a Serial runs, or runs again.
func (w *tempers) enter() {
	if !w.sole {
		return
	}
	w.total++
	if w.alone.Add(1) != 1 {
		w.house.complainf("two methods of a Serial run at once")
	}
}

// leave is told when a method is about to lose its turn. What it writes last no
// one may see before.
func (w *tempers) leave(l *lane) {
	if w.sole {
		w.alone.Add(-1)
		w.total++
	}
	l.inTurn.Store(false)
	l.left++
}

func (w *tempers) RemoteCalm(_ context.Context, at []int) (int, error) {
	l, p := w.begin(at)
	defer w.leave(l)
	if p.n%32 == 0 {
		w.house.looked.Add(1)
		if onReader() {
			w.house.inline.Add(1)
		}
	}
	return p.n, nil
}

// onReader reports whether the caller runs on a connection's reader.
func onReader() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		f, more := frames.Next()
		if f.Function == "perspective/broker/link.(*Link).read" {
			return true
		}
		if !more {
			return false
		}
	}
}

// RemoteDo is quick most of the time, so that the reader is in it when it is not.
func (w *tempers) RemoteDo(ctx context.Context, at []int, temper string) (int, error) {
	l, p := w.begin(at)
	switch temper {
	case "spins":
		d := time.Duration(1+p.n%5) * 50 * time.Microsecond
		if p.n%7 == 0 {
			d = 2 * time.Millisecond
		}
		for start := time.Now(); time.Since(start) < d; {
			if p.n%2 == 0 {
				runtime.Gosched()
			}
		}
	case "blocks":
		pause(time.Duration(1+p.n%3) * time.Millisecond)
	case "yields":
		w.leave(l)
		pb.Yield(ctx)
		pause(200 * time.Microsecond)
		return p.n, nil
	case "panics":
		w.leave(l)
		panic("as it does")
	case "exits":
		w.leave(l)
		runtime.Goexit()
	case "notes":
		for i := range 3 {
			if err := pb.Note(ctx, i); err != nil {
				w.house.complainf("note %d: %v", i, err)
			}
		}
	}
	w.leave(l)
	return p.n, nil
}

// RemoteAsk calls its caller back, which may in turn call this object.
func (w *tempers) RemoteAsk(
	ctx context.Context, at []int, temper string, back *pb.RemoteReference,
) (int, error) {
	l, p := w.begin(at)
	if temper == "" {
		w.leave(l)
		return p.n, nil
	}
	w.leave(l)
	n, err := pb.Do[int](ctx, back, temper, p.n, w.self)
	w.enter()
	defer w.leaveSole()
	return n, err
}

// leaveSole ends what enter began after a wait.
func (w *tempers) leaveSole() {
	if w.sole {
		w.alone.Add(-1)
		w.total++
	}
}

// RemoteTouch stands outside of the order.
func (w *tempers) RemoteTouch(context.Context) error { return nil }

func (w *tempers) RemoteLong(_ context.Context, at []int, bulk []byte) (int, error) {
	l, p := w.begin(at)
	defer w.leave(l)
	if b := byte(p.n); bulk[0] != b || bulk[len(bulk)-1] != b {
		w.house.complainf("lane %d: call %d got the bytes of another", p.lane, p.n)
	}
	return p.n, nil
}

func (w *tempers) RemoteFetch(_ context.Context, at []int, size int) ([]byte, error) {
	l, p := w.begin(at)
	defer w.leave(l)
	b := make([]byte, size)
	b[0], b[size-1] = byte(p.n), byte(p.n)
	return b, nil
}

// RemoteWith begins when the promise of n is kept.
func (w *tempers) RemoteWith(_ context.Context, at []int, n int) (int, error) {
	l, p := w.begin(at)
	defer w.leave(l)
	if n != p.n {
		w.house.complainf("lane %d: call %d was given %d", p.lane, p.n, n)
	}
	return p.n, nil
}

func (w *tempers) RemoteLater(_ context.Context, at []int) (*pb.Deferred[int], error) {
	l, p := w.begin(at)
	defer w.leave(l)
	later := pb.NewDeferred[int](nil)
	time.AfterFunc(300*time.Microsecond, func() { later.Callback(p.n) })
	return later, nil
}

// helper is what a caller is called back at.
type helper struct{ pb.Referenceable }

func (*helper) RemoteEcho(_ context.Context, n int, _ *pb.RemoteReference) (int, error) {
	return n, nil
}

func (*helper) RemoteBounce(ctx context.Context, n int, on *pb.RemoteReference) (int, error) {
	_, err := pb.Do[any](ctx, on, "touch")
	return n, err
}
