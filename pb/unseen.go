package pb

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"perspective/internal/guard"
	"perspective/internal/lines"
)

// maxUnseen is how many failures that nobody looked at wait for the node's next sweep. Of more the
// log has the number.
const maxUnseen = 256

// An unseen error stands in a Deferred for the error that it failed with, where the logger of its
// node is enabled at Debug and nothing was added to the Deferred. It never leaves this package:
// look gives the error. The Deferred alone has it, so the collector takes both together, and then
// the node learns of what nobody looked at.
type unseen struct {
	err  error
	note *unseenNote
}

// An unseenNote is what the log will say of an unseen error. It refers to nothing that could hold
// the Deferred: not to the error, whose fields are a program's.
type unseenNote struct {
	log        *unseenLog
	looked     atomic.Bool // or collected
	call, peer string      // empty if it is not the error of a call
	text       string
}

// Error is for completeness: no caller gets an unseen error.
func (u *unseen) Error() string { return u.err.Error() }

// look returns the error that d failed with, or nil, and counts it as seen. Only after d has fired.
func (d *Deferred[T]) look() error {
	u, ok := d.err.(*unseen) //nolint:errorlint // it is never wrapped
	if !ok {
		return d.err
	}
	if !u.note.looked.Load() && u.note.looked.CompareAndSwap(false, true) {
		u.note.log.live.Add(-1)
	}
	return u.err
}

// handOn says that the failure of d, which may have fired, is handed on: to a child, or to the call
// that d is the target or an argument of.
func (d *Deferred[T]) handOn() {
	if d.state.Or(isHandedOn)&isFired != 0 {
		_ = d.look() // the dependent has it now
	}
}

// watched returns err as it stands in d, which is about to fail with it.
func (d *Deferred[T]) watched(err error) error {
	if d.src == nil || d.state.Load()&isHandedOn != 0 {
		return err
	}
	return d.src.origin().watch(err)
}

// origin is the node whose calls d is made from; nil if there is none.
func (d *Deferred[T]) origin() *unseenLog {
	d.mu.Lock()
	src := d.src
	d.mu.Unlock()
	if src == nil {
		return nil
	}
	return src.origin()
}

// forget lets go of what d, a derived Deferred, was made from, and remembers whose calls it came
// from. Only for the goroutine whose claim returned true.
func (d *Deferred[T]) forget(err error) {
	var from source
	if !givenUp(err) { // or a cancelled chain would be walked once for each of its Deferreds
		if l := d.src.origin(); l != nil {
			from = l
		}
	}
	d.mu.Lock()
	d.src = from
	d.mu.Unlock()
}

// givenUp reports whether err is what Cancel leaves: its caller wants no result.
func givenUp(err error) bool {
	//nolint:errorlint // an error that was sent is another matter
	if c, ok := err.(*callError); ok && c.outcome != Executed {
		err = c.err
	}
	return err == ErrCancelled //nolint:errorlint // not what wraps it, such as a ctx's end
}

// An unseenLog is a Node's part in this. It is the source of a derived Deferred that has fired,
// whose chain is gone. The zero value watches nothing.
type unseenLog struct {
	// on is the node, if its logger is enabled at Debug as of the last connection or sweep.
	on atomic.Pointer[Node]
	// live is how many failures are neither looked at nor collected.
	live atomic.Int64

	mu   sync.Mutex
	lost []*unseenNote // what the collector took
	over int           // what found no room in lost
}

func (*unseenLog) cancelCall(error) {}

func (l *unseenLog) origin() *unseenLog { return l }

// watch returns err, watched if that is wanted. l may be nil.
func (l *unseenLog) watch(err error) error {
	if l == nil {
		return err
	}
	node := l.on.Load()
	if node == nil || givenUp(err) {
		return err
	}
	if _, watched := err.(*unseen); watched { //nolint:errorlint // it is never wrapped
		return err
	}
	n := &unseenNote{log: l, text: cut(guard.Text(err), lines.MaxValue)}
	//nolint:errorlint // the call itself, none that its method made
	if c, ok := err.(*callError); ok {
		n.call, n.peer = c.method, c.peer
	}
	u := &unseen{err: err, note: n}
	runtime.AddCleanup(u, l.collected, n)
	if l.live.Add(1) == 1 {
		node.keepSweeping()
	}
	return u
}

// collected is the collector's word that the Deferred of n is gone.
func (l *unseenLog) collected(n *unseenNote) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.looked.Swap(true) {
		return
	}
	if len(l.lost) < maxUnseen {
		l.lost = append(l.lost, n)
	} else {
		l.over++
	}
	l.live.Add(-1) // last: a goroutine that sees none finds it in lost
}

// pending says whether there is, or may come, something to tell.
func (l *unseenLog) pending() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live.Load() > 0 || len(l.lost) > 0
}

// watchUnseen asks the logger whether failures that nobody looks at are wanted.
func (n *Node) watchUnseen() {
	var on *Node
	if n.logger().Enabled(context.Background(), slog.LevelDebug) {
		on = n
	}
	n.unseen.on.Store(on)
}

// tellUnseen logs what the collector took since the last time.
func (n *Node) tellUnseen() {
	l := &n.unseen
	l.mu.Lock()
	lost, over := l.lost, l.over
	l.lost, l.over = nil, 0
	l.mu.Unlock()
	const what = "a Deferred failed and nobody looked at it"
	for _, f := range lost {
		if f.call == "" { // the program's functions are told apart by what they say
			ctx := lines.Apart(context.Background(), slog.String("err", f.text))
			n.logger().DebugContext(ctx, what, "err", f.text)
			continue
		}
		ctx := lines.Apart(context.Background(), slog.String("call", f.call))
		n.logger().DebugContext(ctx, what, "peer", f.peer, "call", f.call, "err", f.text)
	}
	if over > 0 {
		n.logger().Debug("more Deferreds failed and nobody looked at them", "count", over)
	}
}
