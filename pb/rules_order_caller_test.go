package pb_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"perspective/pb"
)

// caller calls one object over one connection, without waiting for each answer.
type caller struct {
	h      *house // of the object
	id     int    // of the lane
	lane   *lane
	object int
	conn   *pb.Conn
	on     *pb.RemoteReference
	hand   helper
	rng    *rand.Rand

	made [2]int // calls, by route
	// calls on promises which were made before what is called now
	kept int
	open *pb.Deferred[*pb.RemoteReference] // a promise of the object; nil: none is open
	done figures
}

func newCaller(t *testing.T, h *house, conn *pb.Conn, object int) *caller {
	t.Helper()
	on, err := pb.Do[*pb.RemoteReference](t.Context(), conn.Root(), "give", object)
	if err != nil {
		t.Fatal(err)
	}
	k := &caller{h: h, object: object, conn: conn, on: on}
	k.id, k.lane = h.addLane(object)
	return k
}

// inFlight is how many calls a caller does not wait for. Behind few of them the
// object's queue is often empty, as the reader wants it.
var inFlight = [...]int{200, 30, 4}

// run makes share calls and sees each of them end.
func (k *caller) run(share int) {
	ctx := context.Background()
	ends := make(chan func(), inFlight[(k.id+k.id/len(k.h.objects))%len(inFlight)])
	over := make(chan struct{})
	go func() { // ends when the last call has
		defer close(over)
		for end := range ends {
			end()
		}
	}()
	for range share {
		k.promises(ctx)
		ends <- k.call(ctx)
	}
	k.settle(ctx)
	for last := false; !last; { // behind this one every other has begun
		last = !givenUp(k.made[direct])
		ends <- k.calm(ctx, k.next(direct), k.on)
	}
	close(ends)
	<-over
	k.done.made = k.made[direct] + k.made[promised]
	k.done.onPromise = k.made[promised]
}

// promises asks for a promise of the object now and then, and waits for it later.
func (k *caller) promises(ctx context.Context) {
	switch r := k.rng.IntN(100); {
	case k.open == nil && r < 5:
		method := "give"
		if r < 3 {
			method = "giveLater"
		}
		k.open = pb.Call[*pb.RemoteReference](ctx, k.conn.Root(), method, k.object)
	case r < 3:
		k.settle(ctx)
	}
}

// settle waits for the open promise: what is called from now on comes behind
// the calls on it.
func (k *caller) settle(ctx context.Context) {
	if k.open == nil {
		return
	}
	on, err := k.open.Wait(ctx)
	if err != nil || on != k.on {
		k.h.complainf("the promise was kept with %v, %v, want %v", on, err, k.on)
	}
	k.open, k.kept = nil, k.made[promised]
}

// next gives the next call's place.
func (k *caller) next(route int) place {
	p := place{lane: k.id, route: route, n: k.made[route], other: k.kept}
	if route == promised {
		p.other = k.made[direct]
	}
	k.made[route]++
	return p
}

// call makes one call of any kind. What it returns waits for the call's end.
func (k *caller) call(ctx context.Context) (end func()) {
	var on pb.Target = k.on
	route := direct
	if k.open != nil && k.rng.IntN(2) == 0 {
		on, route = k.open, promised
	}
	p := k.next(route)
	r := k.rng.IntN(1000)
	switch {
	case givenUp(p.n):
		return k.giveUp(ctx, p, on)
	case r < 100 && route == direct:
		return k.oneway(ctx, p)
	case r < 500:
		return k.calm(ctx, p, on)
	case r < 960:
		return k.do(ctx, p, on, "")
	case r < 964:
		return k.do(ctx, p, on, "spins")
	case r < 965:
		return k.do(ctx, p, on, "blocks")
	case r < 970:
		return k.do(ctx, p, on, "yields")
	case r < 974:
		return k.do(ctx, p, on, "panics")
	case r < 975:
		return k.do(ctx, p, on, "exits")
	case r < 979:
		return k.notes(ctx, p, on)
	case r < 991:
		return k.nested(ctx, p, on, [...]string{"", "echo", "bounce"}[r%3])
	case r < 993:
		return k.long(ctx, p, on)
	case r < 994:
		return k.fetch(ctx, p, on)
	case r < 997:
		return k.number(p, pb.Call[int](ctx, on, "later", p.ints()))
	}
	n := pb.Call[int](ctx, k.conn.Root(), "numberLater", p.n)
	return k.number(p, pb.Call[int](ctx, on, "with", p.ints(), n))
}

// number sees that a call is answered with its own number.
func (k *caller) number(p place, d *pb.Deferred[int]) func() {
	return func() {
		if n, err := d.Wait(context.Background()); n != p.n || err != nil {
			k.h.complainf("call %v was answered with %d, %v", p, n, err)
		}
	}
}

func (k *caller) calm(ctx context.Context, p place, on pb.Target) func() {
	return k.number(p, pb.Call[int](ctx, on, "calm", p.ints()))
}

func (k *caller) do(ctx context.Context, p place, on pb.Target, temper string) func() {
	d := pb.Call[int](ctx, on, "do", p.ints(), temper)
	if temper != "panics" && temper != "exits" {
		return k.number(p, d)
	}
	k.done.failed++
	return func() {
		if _, err := d.Wait(context.Background()); err == nil || pb.OutcomeOf(err) != pb.Executed {
			k.h.complainf("call %v, which fails: %v", p, err)
		}
	}
}

func (k *caller) notes(ctx context.Context, p place, on pb.Target) func() {
	var got []any
	end := k.do(pb.WithNotes(ctx, func(v any) { got = append(got, v) }), p, on, "notes")
	return func() {
		end()
		if want := []any{int64(0), int64(1), int64(2)}; !slices.Equal(got, want) {
			k.h.complainf("call %v sent the notes %v before its answer, want %v", p, got, want)
		}
	}
}

func (k *caller) nested(ctx context.Context, p place, on pb.Target, temper string) func() {
	if temper != "" {
		k.done.nested++
	}
	return k.number(p, pb.Call[int](ctx, on, "ask", p.ints(), temper, &k.hand))
}

// bulk is more than goes in one message, and tells whose it is.
func (k *caller) bulk(p place) []byte {
	return bytes.Repeat([]byte{byte(p.n)}, 66<<10+k.rng.IntN(200<<10))
}

func (k *caller) long(ctx context.Context, p place, on pb.Target) func() {
	k.done.long++
	return k.number(p, pb.Call[int](ctx, on, "long", p.ints(), k.bulk(p)))
}

func (k *caller) fetch(ctx context.Context, p place, on pb.Target) func() {
	k.done.long++
	size := 66<<10 + k.rng.IntN(200<<10)
	d := pb.Call[[]byte](ctx, on, "fetch", p.ints(), size)
	return func() {
		b, err := d.Wait(context.Background())
		if err != nil || len(b) != size || b[0] != byte(p.n) || b[size-1] != byte(p.n) {
			k.h.complainf("call %v was answered with %d bytes of %d, or those of another: %v", p,
				len(b), size, err)
		}
	}
}

// giveUp makes a call and cancels it. It may have been too late for that.
func (k *caller) giveUp(ctx context.Context, p place, on pb.Target) func() {
	k.done.givenUp++
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var d *pb.Deferred[int]
	if k.rng.IntN(4) == 0 {
		d = pb.Call[int](ctx, on, "long", p.ints(), k.bulk(p))
	} else {
		d = pb.Call[int](ctx, on, "calm", p.ints())
	}
	return func() {
		if n, err := d.Wait(context.Background()); !errors.Is(err, context.Canceled) &&
			(err != nil || n != p.n) {
			k.h.complainf("call %v, which was given up, was answered with %d, %v", p, n, err)
		}
	}
}

func (k *caller) oneway(ctx context.Context, p place) func() {
	k.done.oneway++
	var err error
	switch r := k.rng.IntN(200); {
	case r == 0:
		k.done.long++
		err = k.on.Send(ctx, "long", p.ints(), k.bulk(p))
	case r < 100:
		err = k.on.Send(ctx, "calm", p.ints())
	case r < 106:
		err = k.on.Send(ctx, "do", p.ints(),
			[...]string{"spins", "blocks", "yields", "panics", "exits", ""}[r%6])
	default:
		err = k.on.Send(ctx, "do", p.ints(), "")
	}
	if err != nil {
		k.h.complainf("oneway call %v: %v", p, err)
	}
	return func() {}
}
