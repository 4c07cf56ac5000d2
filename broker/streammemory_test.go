package broker_test

import (
	"runtime"
	"testing"
	"time"

	"perspective/broker"
)

// heldNow is the memory in use.
func heldNow() uint64 {
	runtime.GC()
	runtime.GC() // what pools gave up
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestStreamsThatAreOverHoldNothing: what came over a byte stream that was reset, or whose
// connection has ended, is let go of though the program keeps the stream: it does not count any
// more.
func TestStreamsThatAreOverHoldNothing(t *testing.T) {
	const streams, frames, size = 60, 15, 16 << 10
	for _, name := range []string{"reset", "connection ended"} {
		t.Run(name, func(t *testing.T) {
			c, s := tcp(t)
			deadline(t, c, s)
			w, b := against(t, c, s, broker.Config{Root: echo()})
			w.greet()
			q := 0
			settle := func() { // what was sent has come
				q++
				w.say(callOf(t, q, broker.FlagFinal, "echo", 1))
				w.returned(q)
			}
			settle()
			before := heldNow()
			kept := make([]broker.Stream, streams)
			body := make([]byte, size)
			for i := range kept {
				id := uint32(3 + 2*i)
				w.write(frameOf(frameWindow, flagSYN, id, 0))
				settle()
				in, err := b.ClaimStream(uint64(id))
				if err != nil {
					t.Fatal(err)
				}
				kept[i] = in
				for range frames {
					w.write(frameOf(frameData, 0, id, size, body...))
				}
				settle()
				if n := b.Stats().StreamBytes; n < frames*size {
					t.Fatalf("%d bytes came", n)
				}
				if name == "reset" {
					w.write(frameOf(frameWindow, flagRST, id, 0))
					settle()
				}
			}
			if name == "connection ended" {
				_ = b.Close()
				b.Wait()
			}
			// The session's receiver may be behind with what the reader has given it.
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			after := heldNow()
			for looks := 0; after > before+streams*frames*size/4 && looks < 200; looks++ {
				<-tick.C
				after = heldNow()
			}
			if after > before+streams*frames*size/4 {
				t.Errorf("%d MiB are in use by %d streams that are over",
					(after-before)>>20, streams)
			}
			for _, in := range kept {
				if _, err := in.Read(body); err == nil {
					t.Error("one of them is read")
				}
				_ = in.Close()
			}
		})
	}
}
