package broker_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"perspective/broker"
	"perspective/broker/memwire"
	"perspective/broker/message"
	"perspective/jelly"
)

// inMemory is two brokers on a wire that the test steps. Each has the other's preface. Room is that
// of the server's end.
func inMemory(t *testing.T, server broker.Config, room int) (
	b [2]*broker.Broker, w [2]*memwire.Wire,
) {
	w[0], w[1] = memwire.New()
	w[1].Room = room
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
		b, w := inMemory(t, broker.Config{Root: echo()}, 0)
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

// TestMemoryRoom: while more than Room waits no call begins, and answers wait for Leave.
func TestMemoryRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := echo()
		o.concurrent = true
		b, w := inMemory(t, broker.Config{Root: o}, 1)
		qs := []*question{ask(0), ask(1), ask(2)}
		for _, q := range qs {
			q.to(t, b[0], "echo")
		}
		w[0].Leave()
		for w[1].Step() {
			synctest.Wait()
		}
		if n := b[1].Stats().Unanswered; n != 2 {
			t.Errorf("%d calls wait behind the first answer, want 2", n)
		}
		for _, want := range []int{1, 1, 1, 0} {
			if n := len(w[1].Messages()); n != want {
				t.Errorf("%d answers wait, want %d", n, want)
			}
			w[1].Leave()
			synctest.Wait()
		}
		for w[0].Step() {
		}
		for _, q := range qs {
			if v, err := q.wait(t); v == nil || err != nil {
				t.Errorf("answer %v, %v", v, err)
			}
		}
		end(b)
	})
}

func end(b [2]*broker.Broker) {
	for _, b := range b {
		_ = b.Close()
		b.Wait()
	}
}

// TestMemoryAbort: the last words of an end whose peer breaks a rule reach the peer by themselves,
// before the end.
func TestMemoryAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := inMemory(t, broker.Config{Root: echo()}, 0)
		credit := message.Small(message.Credit, 0, 1, 1) // for a oneway call that nobody made
		if err := w[0].Send(credit); err != nil {
			t.Fatal(err)
		}
		w[0].Leave()
		w[1].Step()
		<-b[1].Done()
		if w[0].Step(); b[0].Err() == nil {
			t.Fatal("no ABORT came")
		}
		want, _ := errors.AsType[*broker.ProtocolError](b[1].Err())
		got, _ := errors.AsType[*broker.AbortError](b[0].Err())
		if want == nil || got == nil || got.Reason != want.Reason {
			t.Errorf("the ends have ended with %v and %v", b[0].Err(), b[1].Err())
		}
		end(b)
	})
}
