package broker_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"perspective/broker"
	"perspective/broker/memwire"
	"perspective/jelly"
)

// inMemory is two brokers on a wire that the test steps. Each has the other's preface.
func inMemory(t *testing.T, server broker.Config) (b [2]*broker.Broker, w [2]*memwire.Wire) {
	w[0], w[1] = memwire.New()
	for n, config := range []broker.Config{{Dialer: true}, server} {
		config.Errors, config.Limits.Keepalive = plainErrors{}, -1
		var err error
		if b[n], err = broker.NewOver(w[n], config); err != nil {
			t.Fatal(err)
		}
	}
	for _, end := range w {
		end.Step()
	}
	return b, w
}

// exchange moves all that waits, until nothing does.
func exchange(w [2]*memwire.Wire) {
	for moved := true; moved; {
		moved = false
		for n := range w {
			synctest.Wait()
			moved = w[n].Leave() || moved
			for w[1-n].Step() {
				moved = true
			}
		}
	}
}

// slowlyDecoded is a question whose result is decoded beside the reader, when it is told to be.
type slowlyDecoded struct {
	*question
	decode chan struct{}
}

func (q slowlyDecoded) DecodeResult(d *jelly.Decoder) error {
	<-q.decode
	return q.question.DecodeResult(d)
}

// TestShutdownAwaitsDecoding: an answer that has come and is being decoded is under way still, so
// the connection does not end under it. TestModel found that it did (seed 641, with -race).
func TestShutdownAwaitsDecoding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := inMemory(t, broker.Config{Root: echo()})
		q := slowlyDecoded{ask("x"), make(chan struct{})}
		q.impure = true
		h := &broker.Header{Export: 1, Method: "echo", Flags: broker.FlagFinal, Call: &q.call}
		if err := b[0].Ask(t.Context(), h, q); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := b[0].Shutdown(context.Background()); err != nil {
				t.Errorf("Shutdown = %v", err)
			}
		})
		exchange(w)
		select {
		case <-b[0].Done():
			t.Error("the connection ended while an answer was decoded")
		default:
		}
		close(q.decode)
		if v, err := q.wait(t); v != "x" || err != nil {
			t.Errorf("answer %v, %v", v, err)
		}
		exchange(w)
		wg.Wait()
		for _, b := range b {
			b.Wait()
		}
	})
}
