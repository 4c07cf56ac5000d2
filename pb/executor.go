package pb

import (
	"slices"
	"sync/atomic"
)

// An Executor runs functions somewhere: on the loop of a user interface, at the
// end of an object's queue of calls, on a pool. Execute may return before f has
// run, must see to it that f is called exactly once, and may be called by many
// goroutines at once. The callbacks of one Deferred never overlap, even on an
// Executor that runs many functions at a time. If an Executor drops f, the
// children of that Deferred never fire.
type Executor interface {
	Execute(f func())
}

// ExecutorFunc makes an Executor of a function.
type ExecutorFunc func(f func())

// Execute calls e(f).
func (e ExecutorFunc) Execute(f func()) { e(f) }

// A refuser is an Executor that may drop what it was given, as an object's
// queue does when its connection ends. Exactly one of run and dropped is called;
// dropped makes the children fail with its error.
type refuser interface {
	executeOrDrop(run func(), dropped func(error))
}

// home is where callbacks run; a nil home is a goroutine of their own.
type home struct{ executor Executor }

// On returns a child that fires as d does and whose callbacks run on e, as do
// those of its children and theirs. A nil e brings them back to a goroutine of
// their own. All callbacks that a Deferred has when it fires are run by one
// call of Execute.
func (d *Deferred[T]) On(e Executor) *Deferred[T] {
	if e == nil {
		return d.relay(nil)
	}
	return d.relay(&home{executor: e})
}

// dependents is what hangs on a Deferred besides its waiters. It is guarded
// by the mu of the Deferred.
type dependents[T any] struct {
	home  *home             // never changes
	steps []callbackStep[T] // callbacks to run, in order
	hooks []firingHook      // to call on the goroutine that fires
	// live is how many dependents want the result: children that have not fired, Gathers, retains.
	live    int
	gone    int  // how many have left since forgetLocked last looked
	running bool // a goroutine runs steps, or is about to
	room    [1]callbackStep[T]
}

// A callbackStep is an added function that waits for its turn.
type callbackStep[T any] interface {
	run(d *Deferred[T], refused error) (next drainer)
	moot() bool // the step can be forgotten
}

// A firingHook is code of this package that runs on the goroutine that fires.
type firingHook interface {
	fired()
	moot() bool // the hook can be forgotten
}

// depsLocked returns deps, making it first if need be. The caller holds mu and
// has called watchLocked.
func (d *Deferred[T]) depsLocked() *dependents[T] {
	if d.deps == nil {
		d.deps = &dependents[T]{}
	}
	return d.deps
}

// home is where the callbacks of d run.
func (d *Deferred[T]) home() *home {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deps == nil {
		return nil
	}
	return d.deps.home
}

// hook has h called when d has fired, at once if it has already.
func (d *Deferred[T]) hook(h firingHook) {
	d.mu.Lock()
	fired := d.watchLocked()
	if !fired {
		deps := d.depsLocked()
		deps.hooks = append(deps.hooks, h)
	}
	d.mu.Unlock()
	if fired {
		h.fired()
	}
}

func (d *Deferred[T]) onDone(f func()) { d.hook(hookFunc(f)) }

// hookFunc is a function given to onDone.
type hookFunc func()

func (f hookFunc) fired()     { f() }
func (f hookFunc) moot() bool { return false }

func (deps *dependents[T]) add(s callbackStep[T]) {
	if deps.steps == nil {
		deps.steps = deps.room[:0]
	}
	deps.steps = append(deps.steps, s)
}

// takeRunLocked reports whether the caller has to run the steps.
func (deps *dependents[T]) takeRunLocked() bool {
	if deps.running || len(deps.steps) == 0 {
		return false
	}
	deps.running = true
	return true
}

// forgetLocked is called when a dependent has left. Now and then it drops what none needs any more,
// so that a Deferred that lives long and is asked often, with a timeout each time, does not grow.
func (deps *dependents[T]) forgetLocked() {
	deps.gone++
	if deps.gone < 16 || deps.gone < (len(deps.steps)+len(deps.hooks))/2 {
		return
	}
	deps.gone = 0
	deps.steps = slices.DeleteFunc(deps.steps, callbackStep[T].moot)
	deps.hooks = slices.DeleteFunc(deps.hooks, firingHook.moot)
}

// A drainer is a Deferred of any type that has fired and has steps to run.
type drainer interface {
	drainAll(refused error) (next drainer)
	start()
}

// drain runs the steps of r, and then those of the child that the last of them
// fired, and so on: a chain of callbacks needs one goroutine.
func drain(r drainer, refused error) {
	for r != nil {
		r = r.drainAll(refused)
	}
}

// start runs the steps of d on a goroutine of their own, or has the executor of d
// run them. Only after takeRunLocked has said so.
func (d *Deferred[T]) start() {
	h := d.home()
	if h == nil {
		// Ends when the steps of d, and of the children at the end of its
		// chain, have run.
		go drain(d, nil)
		return
	}
	// Ends when Execute has returned. Execute is the program's code: it must not hold up the
	// goroutine that fires, which may be the reader of a connection.
	go h.submit(d)
}

// submit gives the steps of r to the executor.
func (h *home) submit(r drainer) {
	var begun atomic.Bool
	once := func(refused error) {
		if begun.CompareAndSwap(false, true) {
			drain(r, refused)
		}
	}
	returned := false
	defer func() {
		if !returned { // an Executor that ends its goroutine has dropped what it did not begin
			once(newPanicError(recover()))
		}
	}()
	run := func() { once(nil) }
	if e, ok := h.executor.(refuser); ok {
		e.executeOrDrop(run, once)
	} else {
		h.executor.Execute(run)
	}
	returned = true
}

// drainAll runs the steps of d one after another until there are none. It returns
// the child that the last one fired, if that has steps; children fired
// before get a goroutine of their own, for a step of d must not wait for them.
func (d *Deferred[T]) drainAll(refused error) (next drainer) {
	finished := false
	defer func() {
		if !finished { // runtime.Goexit in a step: this goroutine ends here
			d.start()
		}
	}()
	for {
		d.mu.Lock()
		deps := d.deps
		if len(deps.steps) == 0 {
			deps.steps, deps.running, finished = nil, false, true
			d.mu.Unlock()
			return next
		}
		step := deps.steps[0]
		deps.steps[0] = nil
		deps.steps = deps.steps[1:]
		d.mu.Unlock()
		if next != nil {
			next.start()
		}
		next = step.run(d, refused)
	}
}
