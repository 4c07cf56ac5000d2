package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"perspective/pb"
	"perspective/pb/distrib"
)

// A rehearsal is the life of a board's process that was taken over: it serves
// nothing and makes attacks as it is told. It has the rights of every other life.
type rehearsal struct {
	handover *distrib.Handover
	wire     *spoiledWire
	conn     *pb.Conn // to the front
}

// rehearse obeys until it has given up the link by the last attack of its own, and then
// waits to be killed: an order that comes now is for the next life. It also
// returns when ctx ends.
func rehearse(ctx context.Context, h *distrib.Handover, o *orders) error {
	if err := h.Confine(); err != nil {
		return err
	}
	if err := h.Ready(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, o.interrupt)()
	r := &rehearsal{handover: h}
	for {
		next, err := o.wait()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if next.Attack == nil {
			return fmt.Errorf("pb: demo: a rehearsal was told to %q", next.Do)
		}
		if err := o.answer(r.make(ctx, next.Attack)); err != nil {
			return err
		}
		if next.Attack.Name == answerOther {
			<-ctx.Done()
			return nil
		}
	}
}

func (r *rehearsal) make(ctx context.Context, a *attack) outcome {
	if o, known := a.attackFiles(); known {
		return o
	}
	if a.Name == signalFront {
		return a.signal()
	}
	if err := r.takeLink(ctx); err != nil {
		return refused(err)
	}
	if a.Name == claimRoot {
		return r.claim(ctx)
	}
	return r.answerUnasked(ctx)
}

// signal asks the kernel whether this process may signal the front: signal 0 is
// checked like every other and does nothing.
func (a *attack) signal() outcome {
	err := unix.Kill(a.FrontPID, 0)
	if err == nil && unix.Tgkill(os.Getpid(), a.FrontPID, 0) == nil {
		// a thread, in a process namespace
		err = errors.New("in this process's own list that number is itself")
	}
	if err == nil {
		return succeeded
	}
	return refused(fmt.Errorf("kill: %w", err))
}

// takeLink takes the link to the front, which a board hands to a Mount.
func (r *rehearsal) takeLink(ctx context.Context) error {
	if r.conn != nil {
		return nil
	}
	link, err := r.handover.Link(ctx)
	if err != nil {
		return err
	}
	r.wire = &spoiledWire{Conn: link.Conn}
	r.conn, err = new(pb.Node).Attach(ctx, r.wire, pb.Dialer)
	return err
}

// anything is an object to announce.
type anything struct{ pb.Referenceable }

// claim says to the front that it is the site, and calls what could give it a
// prefix.
func (r *rehearsal) claim(ctx context.Context) outcome {
	var first error
	for _, try := range []struct {
		method string
		args   []any
	}{
		{"Ready", []any{"/", &anything{}, ""}},
		{"Ready", []any{"site", &anything{}, ""}},
		{"Ready", []any{"front", &anything{}, ""}},
		{"Handle", []any{"/", "board"}},
		{"Mount", []any{"/", &anything{}}},
		{"Attach", []any{"site"}},
	} {
		_, err := pb.Do[any](ctx, r.conn.Root(), try.method, try.args...)
		if err == nil {
			return succeeded
		}
		if first == nil {
			first = errors.Unwrap(err)
		}
	}
	return refused(fmt.Errorf("the front says: %w", first))
}

// cutLimit is how long the front may take to see that a rule was broken.
const cutLimit = 5 * time.Second

// answerUnasked sends an answer to a question that was not put to this process,
// but perhaps to another.
func (r *rehearsal) answerUnasked(ctx context.Context) outcome {
	for q := byte(1); q < 100; q++ { // one of them may be under way on another's link
		// A frame of yamux on the call stream, with a message [2, q, "…"].
		message := append([]byte{0x93, 2, q, 0xa0 | 9}, "the board"...)
		//nolint:gosec // 17
		frame := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0, 0, 0, 0, 1},
			uint32(4+len(message)))
		//nolint:gosec // 13
		frame = binary.BigEndian.AppendUint32(frame, uint32(len(message)))
		frame = append(frame, message...)
		if r.wire.inject(frame) != nil {
			break // it is cut already
		}
	}
	ctx, cancel := context.WithTimeout(ctx, cutLimit)
	defer cancel()
	select {
	case <-r.conn.Done():
		return refused(fmt.Errorf("the link was cut: %w", r.conn.Err()))
	case <-ctx.Done():
		return succeeded // nobody minded
	}
}

// A spoiledWire is a connection into which forged frames can be put.
type spoiledWire struct {
	net.Conn

	mu sync.Mutex
}

func (w *spoiledWire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Conn.Write(b)
}

// inject writes whole frames between others.
func (w *spoiledWire) inject(frames []byte) error {
	_, err := w.Write(frames)
	return err
}
