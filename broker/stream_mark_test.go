package broker_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"perspective/broker"
)

// TestBehindEndMark: what comes behind an end mark breaks a rule as soon as the mark was read;
// where nobody reads so far it is dropped.
func TestBehindEndMark(t *testing.T) {
	chunk := []byte{0xc4, 5, 'b', 'y', 't', 'e', 's'}
	// the error's text, as plainErrors has it
	failed := append([]byte{0x91, 0xc4, 5, 0xa4}, "half"...)
	opened := func(p ...[]byte) []byte {
		all := bytes.Join(p, nil)
		return frameOf(frameData, flagSYN, 3, uint32(len(all)), all...)
	}
	more := func(flags uint16, p ...byte) []byte {
		return frameOf(frameData, flags, 3, uint32(len(p)), p...)
	}
	tests := []struct {
		name   string
		first  []byte // before the CALL
		behind []byte // after its RETURN, which comes when the method has read
		read   int    // bytes that the method reads; -1: to the end
		reason string // "": the connection lives
	}{
		{"a chunk in one frame", opened(chunk, []byte{0xc0}, chunk), nil, -1,
			"stream 3: want nothing behind the end mark, got 7 bytes"},
		{"a second mark in one frame", opened(chunk, []byte{0xc0, 0xc0}), nil, -1,
			"stream 3: want nothing behind the end mark, got 1 bytes"},
		{"behind an error", opened(chunk, failed, chunk), nil, -1,
			"stream 3: want nothing behind the end mark, got 7 bytes"},
		{"a long rest", opened(chunk, []byte{0xc0}, make([]byte, 5000)), nil, -1,
			"stream 3: want nothing behind the end mark, got 5000 bytes"},
		{"a chunk in the next", opened(chunk, []byte{0xc0}), more(0, chunk...), -1,
			"stream 3: want nothing behind the end mark, got 7 bytes"},
		{"a mark in the next", opened([]byte{0xc0}), more(flagFIN, 0xc0), -1,
			"stream 3: want nothing behind the end mark, got 1 bytes"},
		{"nothing, and FIN", opened(chunk, []byte{0xc0}), more(flagFIN), -1, ""},
		{"where nobody reads", opened(chunk, []byte{0xc0}, chunk), more(0, chunk...), 2, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, s := tcp(t)
			deadline(t, c)
			o := echo()
			o.m["read"] = func(in *broker.Incoming, args []any) {
				st, err := in.Broker().ClaimStream(uint64(num(args[0])))
				if err != nil {
					in.Fail(err)
					return
				}
				if tt.read < 0 {
					_, err = io.Copy(io.Discard, st)
				} else {
					_, err = io.ReadFull(st, make([]byte, tt.read))
				}
				_ = st.CloseRead()
				in.Return(value(true))
				if tt.reason != "" && tt.behind == nil && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("Read ends with %v", err)
				}
			}
			w, b := against(t, c, s, broker.Config{Root: o})
			w.greet()
			w.write(tt.first)
			w.say(callOf(t, 1, broker.FlagFinal, "read", 3))
			if tt.behind != nil {
				w.returned(1)
				w.write(tt.behind)
			}
			if tt.reason == "" {
				if tt.behind == nil {
					w.returned(1)
				}
				w.say(callOf(t, 2, broker.FlagFinal, "echo", "alive"))
				if v, _ := w.returned(2); v != "alive" || b.Err() != nil {
					t.Errorf("%v, %v", v, b.Err())
				}
				return
			}
			if got := w.aborted(); got != tt.reason {
				t.Errorf("reason %q, want %q", got, tt.reason)
			}
			_ = c.Close()
			broken(t, b)
		})
	}
}

// TestEndMarkOnce: an end mark that a deadline kept back is sent once, and nothing behind it.
func TestEndMarkOnce(t *testing.T) {
	c, s := tcp(t)
	deadline(t, c, s)
	got := make(chan broker.Stream, 1)
	cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: claimer(got)})
	a, b := streamPair(t, cb, got)
	// with the heads of their chunks as much as the peer takes unread
	window := make([]byte, 16*(16<<10-3))
	if _, err := a.Write(window); err != nil {
		t.Fatal(err)
	}
	_ = a.SetWriteDeadline(time.Unix(1, 0))
	for range 2 {
		if err := a.CloseWrite(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("CloseWrite = %v, want a deadline", err)
		}
	}
	_ = a.SetWriteDeadline(time.Time{})
	if n, err := a.Write([]byte("more")); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write behind the end = %d, %v", n, err)
	}
	closed := make(chan error)
	go func() { closed <- a.CloseWrite(nil) }() // ends when the other side reads
	if p, err := io.ReadAll(b); !bytes.Equal(p, window) || err != nil {
		t.Errorf("ReadAll = %d bytes, %v", len(p), err)
	}
	if err := <-closed; err != nil {
		t.Errorf("CloseWrite = %v", err)
	}
	_, _ = a.Close(), b.Close()
	noStreams(t, cb, sb)
	if err := errors.Join(cb.Err(), sb.Err()); err != nil {
		t.Error(err)
	}
}
