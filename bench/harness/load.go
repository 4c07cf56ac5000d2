package harness

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Load is a number of callers that each make one call after the other.
type Load struct {
	// Callers is how many there are; zero means one, whose calls are timed one by one.
	Callers int `json:"callers,omitempty"`
	// Payload is how many bytes each call carries each way, beside a number and a name.
	Payload int `json:"payload,omitempty"`
	// Pause is how long the handler takes, in microseconds; zero: it answers at once. Such calls go
	// to a Sibling where there is one.
	Pause int64 `json:"pause_us,omitempty"`
	// Millis is how long the load lasts, unless Calls says how many calls it has.
	Millis int `json:"millis,omitempty"`
	Calls  int `json:"calls,omitempty"`
	// Beside runs for as long as this load does, over the same connection, on a Sibling where there
	// is one; nil: nothing does.
	Beside *Load `json:"beside,omitempty"`
}

// errChanged is what a caller gets whose answer is not what it sent.
var errChanged = errors.New("harness: an echo came back changed")

// run makes the calls of a load on the newest client.
func (c *caller) run(q *request) (*reply, error) {
	cl, err := c.newest()
	if err != nil {
		return nil, err
	}
	sibling := cl
	if s, ok := cl.(Sibling); ok && (q.Load.Pause > 0 || q.Load.Beside != nil) {
		if sibling, err = s.Sibling(context.Background()); err != nil {
			return nil, err
		}
	}
	if q.Load.Pause > 0 {
		cl = sibling
	}
	background := func() error { return nil }
	if q.Load.Beside != nil {
		background = beside(sibling, q.Load.Beside)
	}
	before, err := readStats(q.Settle)
	if err != nil {
		return nil, err
	}
	l := newLoading(q.Load)
	begin := time.Now()
	err = l.run(cl)
	took := time.Since(begin)
	if err := errors.Join(err, background()); err != nil {
		return nil, err
	}
	after, err := readStats(false)
	if err != nil {
		return nil, err
	}
	r := &reply{Calls: l.calls.Load(), Seconds: took.Seconds(), Stats: after.since(before)}
	r.P50, r.P99 = percentiles(l.times)
	return r, nil
}

// beside starts a load and waits until each of its callers has had an answer.
// What it returns ends the load and waits for that.
func beside(cl Client, load *Load) (stop func() error) {
	l := newLoading(load)
	l.endless = true
	l.begun.Add(max(load.Callers, 1))
	done := make(chan error, 1)
	go func() { done <- l.run(cl) }() // ends when l.stop is set
	l.begun.Wait()
	return func() error {
		l.stop.Store(true)
		return <-done
	}
}

// loading is a load under way.
type loading struct {
	Load
	endless bool
	stop    atomic.Bool
	begun   sync.WaitGroup // counts the callers of an endless load that have had no answer yet
	left    atomic.Int64   // of the calls, if they are counted
	calls   atomic.Int64
	times   []time.Duration // of a single caller's calls
}

func newLoading(load *Load) *loading {
	l := &loading{Load: *load}
	l.Callers = max(l.Callers, 1)
	l.left.Store(int64(l.Load.Calls))
	if l.Callers == 1 {
		l.times = make([]time.Duration, 0, 1<<16)
	}
	return l
}

// run returns when every caller has ended, with the first one's error.
func (l *loading) run(cl Client) error {
	if l.Load.Calls == 0 && !l.endless {
		t := time.AfterFunc(time.Duration(l.Millis)*time.Millisecond, func() { l.stop.Store(true) })
		defer t.Stop()
	}
	errs := make(chan error, l.Callers)
	for i := range l.Callers {
		go func() { errs <- l.caller(cl, i) }() // ends with the load
	}
	var first error
	for range l.Callers {
		if err := <-errs; err != nil && first == nil {
			first = err
			l.stop.Store(true)
		}
	}
	return first
}

// caller is one of them. It makes one call at least.
func (l *loading) caller(cl Client, i int) error {
	m := &Msg{Name: name16, Payload: payload(l.Payload)}
	var n int64
	defer func() {
		l.calls.Add(n)
		if n == 0 && l.endless {
			l.begun.Done()
		}
	}()
	for id := int64(i) << 32; ; id++ {
		if l.Load.Calls > 0 && l.left.Add(-1) < 0 {
			return nil
		}
		if m.ID = id; l.Pause > 0 {
			m.ID = -l.Pause
		}
		var begin time.Time
		if l.Callers == 1 {
			begin = time.Now()
		}
		r, err := cl.Echo(context.Background(), m)
		if err != nil {
			return err
		}
		if r.ID != m.ID || len(r.Payload) != l.Payload {
			return errChanged
		}
		if l.Callers == 1 && !l.endless {
			l.times = append(l.times, time.Since(begin))
		}
		if n++; n == 1 && l.endless {
			l.begun.Done()
		}
		if l.stop.Load() {
			return nil
		}
	}
}

// percentiles gives the median and the 99th percentile in microseconds.
func percentiles(times []time.Duration) (p50, p99 float64) {
	if len(times) == 0 {
		return 0, 0
	}
	slices.Sort(times)
	at := func(i int) float64 { return float64(times[i].Nanoseconds()) / 1e3 }
	return at(len(times) / 2), at(len(times) * 99 / 100)
}
