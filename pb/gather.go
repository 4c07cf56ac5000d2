package pb

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// A Result is how one Deferred came out: Err is nil if it fired with Value.
type Result[T any] struct {
	Value T
	Err   error
}

// Gather returns a Deferred for the values of all ds, in the order given. The first error of any of
// them fails it, and the others are then cancelled, each unless it has another dependent (see
// [Deferred.Cancel]). Of no Deferreds it is an empty slice. A nil *Deferred counts as one that
// failed with an error that says so, here and in First and List.
func Gather[T any](ds ...*Deferred[T]) *Deferred[[]T] {
	return gather(ds, func(g *gathering[T, []T], d *Deferred[T], last bool) {
		if d != nil && d.err != nil {
			g.fail(d.look())
			return
		}
		if !last {
			return
		}
		values := make([]T, len(g.inputs))
		for i, in := range g.inputs {
			if in.err != nil {
				return // the goroutine that fired it is failing g
			}
			values[i] = in.value
		}
		g.out.fire(values, nil)
	})
}

// First returns a Deferred that fires with the first value any of ds fires with,
// and then cancels the others, each unless it has another dependent (see
// [Deferred.Cancel]). If all fail it fails with their errors joined, in the order
// given. Of no Deferreds it fails at once.
func First[T any](ds ...*Deferred[T]) *Deferred[T] {
	return gather(ds, func(g *gathering[T, T], d *Deferred[T], last bool) {
		if d != nil && d.err == nil {
			g.succeed(d.value)
			return
		}
		if !last {
			return
		}
		errs := make([]error, len(g.inputs))
		for i, in := range g.inputs {
			if in.err == nil {
				return // the goroutine that fired it is firing g
			}
			errs[i] = in.look()
		}
		if len(errs) == 0 {
			errs = []error{errNoInputs}
		}
		var zero T
		g.out.fire(zero, errors.Join(errs...))
	})
}

// List returns a Deferred for how each of ds came out, in the order given. It
// fires when all have fired and never fails, unless it is cancelled.
func List[T any](ds ...*Deferred[T]) *Deferred[[]Result[T]] {
	return gather(ds, func(g *gathering[T, []Result[T]], _ *Deferred[T], last bool) {
		if !last {
			return
		}
		results := make([]Result[T], len(g.inputs))
		for i, in := range g.inputs {
			results[i] = Result[T]{Value: in.value, Err: in.look()}
		}
		g.out.fire(results, nil)
	})
}

// A gathering is the upstream of a Deferred made from many.
type gathering[T, R any] struct {
	out    Deferred[R]
	inputs []*Deferred[T]
	left   atomic.Int64 // inputs that have not fired

	// note is called when the input d has fired, on the goroutine that fired
	// it; last says that all have now. Of no inputs it is called once, with nil.
	note func(g *gathering[T, R], d *Deferred[T], last bool)
}

func gather[T, R any](
	ds []*Deferred[T], note func(*gathering[T, R], *Deferred[T], bool),
) *Deferred[R] {
	g := &gathering[T, R]{inputs: append([]*Deferred[T](nil), ds...), note: note}
	for i, d := range g.inputs {
		if d == nil {
			g.inputs[i] = Fail[T](fmt.Errorf("pb: input %d is a nil *Deferred", i+1))
		}
	}
	g.out.derive(g, nil)
	g.left.Store(int64(len(ds)))
	if len(ds) == 0 {
		note(g, nil, true)
		return &g.out
	}
	// All are retained before the first hook may run, for that one may already
	// let go of all.
	for _, d := range g.inputs {
		d.retain()
	}
	for _, d := range g.inputs {
		d.hook(gatherHook[T, R]{g, d})
	}
	return &g.out
}

// gatherHook tells a gathering that one of its inputs has fired.
type gatherHook[T, R any] struct {
	g *gathering[T, R]
	d *Deferred[T]
}

func (h gatherHook[T, R]) fired() {
	last := h.g.left.Add(-1) == 0
	if !h.moot() {
		h.g.note(h.g, h.d, last)
	}
}

func (h gatherHook[T, R]) moot() bool { return h.g.out.state.Load()&isFired != 0 }

// succeed fires the result before all inputs have fired.
func (g *gathering[T, R]) succeed(v R) { g.conclude(v, nil) }

// fail makes the result fail before all inputs have fired.
func (g *gathering[T, R]) fail(err error) {
	var zero R
	g.conclude(zero, err)
}

func (g *gathering[T, R]) conclude(v R, err error) {
	if g.out.fire(v, err) && g.left.Load() > 0 {
		// Ends when each input has been told. Cancellers are a user's code and
		// must not run on the goroutine that fired the input.
		go g.cancelCall(ErrCancelled)
	}
}

// cancelCall is called at most once, by the goroutine that fired the result.
func (g *gathering[T, R]) cancelCall(cause error) {
	for _, d := range g.inputs {
		d.cancelCall(cause)
	}
}

// origin is that of the first input that has one.
func (g *gathering[T, R]) origin() *unseenLog {
	for _, d := range g.inputs {
		if l := d.origin(); l != nil {
			return l
		}
	}
	return nil
}

func (g *gathering[T, R]) leave() {
	for _, d := range g.inputs {
		d.leave()
	}
}
