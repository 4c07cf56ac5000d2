package lazyctx_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perspective/internal/lazyctx"
)

// lazy is a context made of an End.
type lazy struct {
	context.Context

	end  lazyctx.End
	arms atomic.Int32
	stop atomic.Int32
}

func (c *lazy) arm() func() bool {
	c.arms.Add(1)
	return func() bool { c.stop.Add(1); return true }
}

func (c *lazy) Done() <-chan struct{} {
	done, _ := c.end.Done(c.arm)
	return done
}

func (c *lazy) Err() error                     { return c.end.Err() }
func (c *lazy) AfterFunc(f func()) func() bool { return c.end.AfterFunc(f, c.arm) }

func newLazy() *lazy { return &lazy{Context: context.Background()} }

func TestNobodyAsks(t *testing.T) {
	var e lazyctx.End
	if err := e.Err(); err != nil || e.Cause() != nil || e.Watched() {
		t.Errorf("before the end: %v, %v, watched %v", err, e.Cause(), e.Watched())
	}
	boom := errors.New("boom")
	if !e.Finish(&lazyctx.Reason{Err: context.Canceled, Cause: boom}) ||
		e.Finish(lazyctx.DeadlineExceeded) {
		t.Error("the first reason does not count, or the second does")
	}
	if !errors.Is(e.Err(), context.Canceled) || !errors.Is(e.Cause(), boom) || e.Watched() {
		t.Errorf("after the end: %v, %v, watched %v", e.Err(), e.Cause(), e.Watched())
	}
	if n := testing.AllocsPerRun(100, func() {
		var e lazyctx.End
		e.Finish(lazyctx.Canceled)
	}); n > 1 { // the End itself
		t.Errorf("%v allocations, want those of the End alone", n)
	}
}

func TestDone(t *testing.T) {
	c := newLazy()
	done, first := c.end.Done(c.arm)
	again, second := c.end.Done(c.arm)
	if !first || second || done != again {
		t.Errorf("first %v, then %v; one channel: %v", first, second, done == again)
	}
	select {
	case <-done:
		t.Error("closed before the end")
	default:
	}
	c.end.Finish(lazyctx.DeadlineExceeded)
	<-done
	if !errors.Is(c.Err(), context.DeadlineExceeded) || c.arms.Load() != 1 || c.stop.Load() != 1 {
		t.Errorf("Err() = %v, armed %d times, disarmed %d", c.Err(), c.arms.Load(), c.stop.Load())
	}
	late := newLazy()
	late.end.Finish(lazyctx.Canceled)
	<-late.Done()
	if late.arms.Load() != 0 {
		t.Error("armed after the end")
	}
}

func TestArmLater(t *testing.T) {
	c := newLazy()
	done, _ := c.end.Done(nil)
	c.end.Arm(c.arm)
	c.end.Arm(c.arm)
	c.end.Finish(lazyctx.Canceled)
	c.end.Arm(c.arm)
	<-done
	if c.arms.Load() != 1 || c.stop.Load() != 1 {
		t.Errorf("armed %d times, disarmed %d", c.arms.Load(), c.stop.Load())
	}
}

// TestChildren has contexts of package context follow one, which starts no goroutine.
func TestChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLazy()
		child, cancel := context.WithTimeout(c, time.Hour)
		defer cancel()
		gone, forget := context.WithCancel(c)
		forget()
		c.end.Finish(lazyctx.DeadlineExceeded)
		if err := child.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the child's Err() = %v at once", err)
		}
		if err := gone.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("that of the one that was cancelled = %v", err)
		}
		late, cancelLate := context.WithCancel(c)
		defer cancelLate()
		<-late.Done()
	})
}

func TestOnEnd(t *testing.T) {
	var e lazyctx.End
	called := 0
	if _, ok := e.OnEnd(func() { called++ }, nil); !ok {
		t.Error("ended?")
	}
	stop, _ := e.OnEnd(func() { called += 10 }, nil)
	if !stop() || stop() {
		t.Error("stop() does not tell whether f was still to be called")
	}
	e.Finish(lazyctx.Canceled)
	if stop, ok := e.OnEnd(func() { called += 100 }, nil); ok || stop() || called != 1 {
		t.Errorf("after the end: %v, and %d", ok, called)
	}
}

func TestRelease(t *testing.T) {
	c := newLazy()
	done := c.Done()
	c.AfterFunc(func() { t.Error("called although released") })
	c.end.Release()
	if c.end.Finish(lazyctx.Canceled) || c.Err() != nil || c.stop.Load() != 1 {
		t.Errorf("a released one ends: %v; disarmed %d times", c.Err(), c.stop.Load())
	}
	select {
	case <-done:
		t.Error("closed although released")
	default:
	}
}

// TestWatchersMeetTheEnd: a watcher that registers while the context ends is told.
func TestWatchersMeetTheEnd(t *testing.T) {
	for range 2000 {
		c := newLazy()
		var all sync.WaitGroup
		var told sync.WaitGroup
		told.Add(1)
		all.Go(func() { <-c.Done() })
		all.Go(func() { c.AfterFunc(told.Done) })
		all.Go(func() { c.end.Finish(lazyctx.Canceled) })
		all.Wait()
		told.Wait()
		if c.arms.Load() != c.stop.Load() {
			t.Fatalf("armed %d times, disarmed %d", c.arms.Load(), c.stop.Load())
		}
	}
}
