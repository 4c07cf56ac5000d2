package broker_test

import (
	"testing"

	"perspective/broker"
)

// TestHonestUseIsNotAFlood: what takes its turn with the peer may be done as
// often as that goes.
func TestHonestUseIsNotAFlood(t *testing.T) {
	c, s := tcp(t)
	got := make(chan broker.Stream, 1)
	cb, _ := pair(t, c, s, broker.Config{},
		broker.Config{Root: claimer(got), Limits: broker.Limits{Control: 10}})
	for range 200 {
		if err := cb.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		a, b := streamPair(t, cb, got)
		if err := a.CloseWrite(nil); err != nil {
			t.Fatal(err)
		}
		_, _ = b.Read(make([]byte, 1))
		_ = b.Close()
		_ = a.Close()
	}
	if err := cb.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}
