package pb_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"weak"

	"perspective/pb"
)

// A Deferred that has fired, and is still held, keeps nothing alive that could
// have cancelled it or that made its result.
func TestFiredDeferredLetsGo(t *testing.T) {
	type heavy struct{ bytes [1 << 16]byte }
	canceller := func(h *heavy) *pb.Deferred[int] {
		return pb.NewDeferred(func(*pb.Deferred[int], error) { h.bytes[0]++ })
	}
	function := func(h *heavy) *pb.Deferred[int] {
		return pb.Go(t.Context(), func(context.Context) (int, error) {
			h.bytes[0]++
			return 1, nil
		})
	}
	type carry struct{}
	cases := map[string]func(h *heavy) *pb.Deferred[int]{
		"Callback": func(h *heavy) *pb.Deferred[int] {
			d := canceller(h)
			d.Callback(1)
			return d
		},
		"Errback": func(h *heavy) *pb.Deferred[int] {
			d := canceller(h)
			d.Errback(errors.New("no"))
			return d
		},
		"Cancel": func(h *heavy) *pb.Deferred[int] {
			d := canceller(h)
			d.Cancel()
			return d
		},
		"Go": function,
		"Go that is cancelled": func(h *heavy) *pb.Deferred[int] {
			d := pb.Go(t.Context(), func(ctx context.Context) (int, error) {
				<-ctx.Done()
				h.bytes[0]++
				return 0, ctx.Err()
			})
			d.Cancel()
			return d
		},
		"Go's context": func(h *heavy) *pb.Deferred[int] {
			ctx := context.WithValue(t.Context(), carry{}, h)
			return pb.Go(ctx, func(context.Context) (int, error) { return 1, nil })
		},
	}
	for name, begin := range cases {
		t.Run(name, func(t *testing.T) {
			h := &heavy{}
			held := weak.Make(h)
			d := begin(h)
			h = nil //nolint:ineffassign,wastedassign // the collector looks
			<-d.Done()
			// a goroutine that fired it may not have ended yet
			for n := 0; held.Value() != nil; n++ {
				if n == 200 {
					t.Fatal("it is kept")
				}
				runtime.GC()
				runtime.Gosched()
			}
			runtime.KeepAlive(d)
		})
	}
}
