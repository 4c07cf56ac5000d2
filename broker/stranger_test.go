package broker_test

import (
	"strings"
	"testing"

	"perspective/broker"
)

// A peer that has not logged in may have so many calls unanswered, so many bytes of them, no
// byte streams, and is not believed that it calls while it handles a call.
func TestStranger(t *testing.T) {
	overloaded := func(failure string) bool { return strings.Contains(failure, "overloaded") }
	start := func(t *testing.T, s broker.Stranger) (*wire, *broker.Broker, *gate) {
		c, conn := tcp(t)
		deadline(t, c)
		g := newGate(true)
		w, b := against(t, c, conn, broker.Config{Root: g, Stranger: &s})
		return w.greet(), b, g
	}
	t.Run("calls", func(t *testing.T) {
		w, b, g := start(t, broker.Stranger{})
		for q := 1; q <= 17; q++ {
			// as if from depth 3
			w.say(messageOf(t, 1, q, broker.FlagFinal, 1, "hold", 0, 3, nil, nil, []any{}))
		}
		if _, failure := w.returned(17); !overloaded(failure) {
			t.Errorf("a stranger's 17th call: %q", failure)
		}
		b.Trust()
		w.say(callOf(t, 18, broker.FlagFinal, "echo", 7))
		if v, failure := w.returned(18); num(v) != 7 {
			t.Errorf("the 17th of one that is trusted: %v, %q", v, failure)
		}
		close(g.open)
		w.returned(16)
	})
	t.Run("bytes", func(t *testing.T) {
		w, _, g := start(t, broker.Stranger{CallBytes: 8 << 10})
		w.say(callOf(t, 1, broker.FlagFinal, "hold", make([]byte, 7<<10)),
			callOf(t, 2, broker.FlagFinal, "hold", make([]byte, 2<<10)))
		if _, failure := w.returned(2); !overloaded(failure) {
			t.Errorf("over Stranger.CallBytes: %q", failure)
		}
		close(g.open)
		w.returned(1)
	})
	t.Run("streams", func(t *testing.T) {
		w, b, _ := start(t, broker.Stranger{})
		w.write(frameOf(frameWindow, 1, 3, 0))
		w.say(callOf(t, 1, broker.FlagFinal, "echo", 7))
		w.returned(1)
		if n := b.Stats().Streams; n != 0 {
			t.Errorf("a stranger has %d streams", n)
		}
		b.Trust()
		w.write(frameOf(frameWindow, 1, 5, 0))
		w.say(callOf(t, 2, broker.FlagFinal, "echo", 7))
		w.returned(2)
		if n := b.Stats().Streams; n != 1 {
			t.Errorf("one that is trusted has %d streams, want 1", n)
		}
	})
}
