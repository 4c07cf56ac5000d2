package pb

import "reflect"

// How a Deferred fires.
//
// value and err need no lock:
//
//  1. The one goroutine whose claim returned true writes them.
//  2. Its settle sets isFired. Nothing writes them afterwards.
//  3. Any other goroutine reads them only after it has seen isFired.

// claim wins the right to write the result: only one caller ever gets true. It must then call
// settle, soon, for a Cancel or a timeout loses from here on and the waiters keep waiting.
func (d *Deferred[T]) claim() bool {
	for {
		old := d.state.Load()
		if old&(isDecoding|isFired) != 0 {
			return false
		}
		if d.state.CompareAndSwap(old, old|isDecoding) {
			return true
		}
	}
}

// slot is where the value goes. Only for the goroutine whose claim returned
// true, until its settle.
func (d *Deferred[T]) slot() *T { return &d.value }

// settle fires d with what stands in the slot, or with err. It wakes the waiters, runs the
// functions given to onDone here, and starts callbacks on their own goroutine.
func (d *Deferred[T]) settle(err error) {
	if d.finish(err) {
		d.start()
	}
}

// fire is claim, store and settle in one. It reports whether d fired with this.
func (d *Deferred[T]) fire(v T, err error) bool {
	if !d.claim() {
		return false
	}
	d.value = v
	d.settle(err)
	return true
}

// fireByHand is fire for those outside: a derived Deferred fired by hand does
// not need what it was made from any more, but does not cancel it either.
func (d *Deferred[T]) fireByHand(v T, err error) bool {
	if !d.claim() {
		return false
	}
	d.state.Or(isByHand)
	if up := d.upstream(); up != nil {
		up.leave() // before settle, which may cancel others that count with it
	}
	d.value = v
	d.settle(err)
	return true
}

// finish is settle without starting the callbacks. It reports whether there are
// some, which the caller then has to run.
func (d *Deferred[T]) finish(err error) (run bool) {
	switch s := d.state.Load(); {
	case s&isDerived != 0:
		d.forget(err)
	case s&isHolding != 0:
		d.src.(holder).letGo(err)
	}
	if err != nil {
		var zero T
		d.value, d.err = zero, d.watched(err)
	}
	s := d.state.Or(isFired)
	if s&isHandedOn != 0 {
		_ = d.look() // handOn may have come after watched
	}
	if s&isWatched == 0 {
		return false // no dependent was added; a later one sees isFired
	}
	d.mu.Lock()
	d.airLocked()
	var hooks []firingHook
	if d.deps != nil {
		hooks, d.deps.hooks = d.deps.hooks, nil
		run = d.deps.takeRunLocked()
	}
	d.mu.Unlock()
	for _, h := range hooks {
		h.fired()
	}
	return run
}

// watchLocked makes sure that firing will look for wake and deps, and reports
// whether d has fired already. The caller holds mu.
func (d *Deferred[T]) watchLocked() (fired bool) {
	return d.state.Or(isWatched)&isFired != 0
}

// wakeLocked returns the channel, making it first if need be.
func (d *Deferred[T]) wakeLocked() chan struct{} {
	if d.wake == nil {
		d.wake = make(chan struct{})
	}
	return d.wake
}

// airLocked closes the channel, once, after d has fired. The first goroutine that comes past with
// the lock does it, so that no callback runs before.
func (d *Deferred[T]) airLocked() {
	if d.wake != nil && d.state.Load()&isAwake == 0 {
		d.state.Or(isAwake)
		close(d.wake)
	}
}

// ---- promise

func (d *Deferred[T]) settled() (any, error, bool) { //nolint:revive // as Result
	v, err, ok := d.Result()
	return v, err, ok
}

func (d *Deferred[T]) valueType() reflect.Type { return reflect.TypeFor[T]() }

func (d *Deferred[T]) source() source {
	if d.state.Load()&isDerived != 0 {
		return nil
	}
	return d.src
}

// upstream is the source of a derived Deferred. Only for the goroutine whose
// claim returned true, before its settle.
func (d *Deferred[T]) upstream() upstream {
	if d.state.Load()&isDerived == 0 {
		return nil
	}
	return d.src.(upstream)
}
