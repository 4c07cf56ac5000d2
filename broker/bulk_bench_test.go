package broker_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"perspective/broker"
)

// BenchmarkBulk echoes large payloads over a TCP connection within the process.
func BenchmarkBulk(b *testing.B) {
	for _, tt := range []struct{ size, callers int }{{16 << 10, 8}, {64 << 10, 8}, {1 << 20, 4}} {
		b.Run(fmt.Sprintf("%dKiB-%d", tt.size>>10, tt.callers), func(b *testing.B) {
			c, s := tcp(b)
			cb, _ := pair(b, c, s, broker.Config{}, broker.Config{Root: echo()})
			<-cb.Greeted()
			payload := make([]byte, tt.size)
			b.SetBytes(int64(tt.size))
			b.ReportAllocs()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range tt.callers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						q := ask(payload)
						h := &broker.Header{
							Export: 1,
							Method: "echo",
							Flags:  broker.FlagFinal,
							Call:   &q.call,
						}
						if err := cb.Ask(b.Context(), h, q); err != nil {
							b.Error(err)
							return
						}
						if _, err := q.wait(b); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
