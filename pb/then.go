package pb

// Then returns a Deferred that fires with what f makes of the value of d. If d
// fails, f is not called and the new Deferred fails with the same error. It
// differs from [Deferred.AddCallback] only in that the type may change.
//
// If f panics, the new Deferred fails with a [*PanicError].
func Then[T, U any](d *Deferred[T], f func(T) (U, error)) *Deferred[U] {
	return addStep(d, &callback[T, U]{onValue: f})
}

// AddCallback has f called with the value of d. The child fires with what f
// returns, with a [*PanicError] if f panics, or with the error of d if d fails.
func (d *Deferred[T]) AddCallback(f func(T) (T, error)) *Deferred[T] {
	return addStep(d, &callback[T, T]{onValue: f})
}

// AddErrback has f called with the error of d if it fails. The child fires with
// what f returns, so f may put a value in the place of an error, or with the
// value of d if d did not fail.
func (d *Deferred[T]) AddErrback(f func(error) (T, error)) *Deferred[T] {
	return addStep(d, &callback[T, T]{onBoth: func(v T, err error) (T, error) {
		if err == nil {
			return v, nil
		}
		return f(err)
	}})
}

// AddBoth has f called with whatever d fires with; err is nil if it is a
// value. The child fires with what f returns. Once d fires, f is called exactly
// once even if the child was cancelled, which makes AddBoth the place to put
// things away; only an Executor that drops its work leaves it out.
func (d *Deferred[T]) AddBoth(f func(v T, err error) (T, error)) *Deferred[T] {
	return addStep(d, &callback[T, T]{onBoth: f, always: true})
}

// A callback is one added function together with the child it fires.
type callback[T, U any] struct {
	child   Deferred[U]
	onValue func(T) (U, error)        // an error passes it by
	onBoth  func(T, error) (U, error) // instead of onValue
	always  bool                      // to be called even if the child is cancelled
}

// addStep makes c.child a child of d and puts c at the end of d's list.
func addStep[T, U any](d *Deferred[T], c *callback[T, U]) *Deferred[U] {
	c.child.derive(d, d.home())
	d.handOn()
	d.mu.Lock()
	fired := d.watchLocked()
	deps := d.depsLocked()
	deps.add(c)
	run := false
	if fired {
		d.airLocked()
		run = deps.takeRunLocked()
	} else {
		deps.live++
	}
	d.mu.Unlock()
	if run {
		d.start()
	}
	return &c.child
}

// moot says that c need not run any more.
func (c *callback[T, U]) moot() bool {
	return !c.always && c.child.state.Load()&isFired != 0
}

// run calls the function with the result of d, or fires the child with refused
// if that is not nil. It returns the child if that has callbacks to run now.
func (c *callback[T, U]) run(d *Deferred[T], refused error) (next drainer) {
	if c.moot() {
		return nil
	}
	var value U
	err, returned := refused, false
	defer func() {
		if !returned {
			r := recover()
			if r == nil {
				// runtime.Goexit: this goroutine ends, so the child starts one.
				c.child.fire(value, newPanicError(nil))
				return
			}
			err = newPanicError(r)
		}
		c.onValue, c.onBoth = nil, nil
		if c.child.claim() {
			c.child.value = value
			if c.child.finish(err) {
				next = &c.child
			}
		}
	}()
	switch {
	case refused != nil:
	case c.onBoth != nil:
		value, err = c.onBoth(d.value, d.look())
	case d.err != nil:
		err = d.look()
	default:
		value, err = c.onValue(d.value)
	}
	returned = true
	return nil
}

// derive makes d, not shared yet, a Deferred made from up.
func (d *Deferred[T]) derive(up upstream, h *home) {
	d.state.Store(isDerived)
	d.src = up
	if h != nil {
		d.deps = &dependents[T]{home: h}
	}
}

// relay returns a child that fires as d does, on the goroutine that fires d: no
// user's code is between them.
func (d *Deferred[T]) relay(h *home) *Deferred[T] {
	r := &relayed[T]{from: d}
	r.child.derive(d, h)
	d.retain()
	d.hook(r)
	return &r.child
}

// relayed is a hook that passes the result on to a child.
type relayed[T any] struct {
	child Deferred[T]
	from  *Deferred[T]
}

func (r *relayed[T]) fired() {
	from := r.from
	r.from = nil
	r.child.fire(from.value, from.look())
}

func (r *relayed[T]) moot() bool { return r.child.state.Load()&isFired != 0 }
