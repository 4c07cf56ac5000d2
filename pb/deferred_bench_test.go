package pb

import (
	"context"
	"testing"
)

var deferredSink *Deferred[int]

func BenchmarkDeferred(b *testing.B) {
	ctx := context.Background()
	b.Run("Succeed and Wait", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			deferredSink = Succeed(1)
			_, _ = deferredSink.Wait(ctx)
		}
	})
	b.Run("fire and Wait", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			deferredSink = &Deferred[int]{}
			deferredSink.fire(1, nil)
			_, _ = deferredSink.Wait(ctx)
		}
	})
	b.Run("fire and Wait across goroutines", func(b *testing.B) {
		b.ReportAllocs()
		asked := make(chan *Deferred[int], 1)
		go func() { // ends when asked is closed
			for d := range asked {
				d.fire(1, nil)
			}
		}()
		for b.Loop() {
			d := &Deferred[int]{}
			asked <- d
			_, _ = d.Wait(ctx)
		}
		close(asked)
	})
	b.Run("Then, fire, Wait", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d := &Deferred[int]{}
			child := Then(d, deferredSame)
			d.fire(1, nil)
			_, _ = child.Wait(ctx)
		}
	})
	b.Run("chain of 16", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d := &Deferred[int]{}
			last := d
			for range 16 {
				last = last.AddCallback(deferredSame)
			}
			d.fire(1, nil)
			_, _ = last.Wait(ctx)
		}
	})
	b.Run("Gather of 16", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var ds [16]*Deferred[int]
			for i := range ds {
				ds[i] = &Deferred[int]{}
			}
			all := Gather(ds[:]...)
			for _, d := range ds {
				d.fire(1, nil)
			}
			_, _ = all.Wait(ctx)
		}
	})
	b.Run("Go", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = Go(ctx, func(context.Context) (int, error) { return 1, nil }).Wait(ctx)
		}
	})
}
