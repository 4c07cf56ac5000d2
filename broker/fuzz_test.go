package broker_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"perspective/broker"
)

// feed gives a broker bytes to read, then the end, and throws away what it writes.
type feed struct {
	r    *bytes.Reader
	once sync.Once
	done chan struct{}
}

func (f *feed) Read(p []byte) (int, error) {
	if f.r.Len() > 0 {
		return f.r.Read(p)
	}
	return 0, io.EOF
}

func (f *feed) Write(p []byte) (int, error) {
	select {
	case <-f.done:
		return 0, net.ErrClosed
	default:
		return len(p), nil
	}
}

func (f *feed) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

// swallow runs a broker over the bytes p to its end, with everything empty then.
func swallow(t *testing.T, p []byte, dialer bool) {
	t.Helper()
	o := lender(echo())
	config := broker.Config{Dialer: dialer, Errors: plainErrors{}, Root: o, Limits: broker.Limits{
		Message: 1 << 20, CallBytes: 1 << 20, Streams: 4, StreamBytes: 1 << 20}}
	b, err := broker.New(&feed{r: bytes.NewReader(p), done: make(chan struct{})}, config)
	if err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(5*time.Minute, func() { panic("the connection does not end") }).Stop()
	if dialer {
		q := ask("x")
		if b.Ask(t.Context(), &broker.Header{Export: 1, Method: "echo", Call: &q.call}, q) == nil {
			defer func() { <-q.done }()
		}
	}
	<-b.Done()
	b.Wait()
	if st := b.Stats(); st.Asked+st.Unanswered+st.Kept+st.Exports+st.Imports+st.Streams+st.Handlers+
		st.Queued != 0 {
		t.Errorf("left behind: %+v", st)
	}
}

func opening(t testing.TB) []byte {
	return append(prefaceOf(t, map[string]any{"version": 1}),
		frameOf(frameWindow, flagSYN, 1, 0)...)
}

// FuzzMessages: what is in the messages does not matter. Each is given with one
// byte less or more of its length as it comes.
func FuzzMessages(f *testing.F) {
	open := opening(f)
	long := callOf(f, 9, 0, "echo", make([]byte, 3000))[4:]
	for _, m := range [][]byte{
		callOf(f, 1, 0, "echo", "x", 1, nil, 2.5, []any{1}, map[string]any{"a": 1}),
		callOf(f, 0, 1, "echo", "x"),
		append(callOf(f, 1, 0, "same"),
			messageOf(f, 1, 2, 4, []any{1, []any{}}, "echo", []any{1})...),
		append(callOf(f, 1, 0, "new"), messageOf(f, 3, 1)...),
		messageOf(f, 1, 1, 4, 1, "echo", 1000, 3, []byte("trace"), nil, []any{true}),
		append(messageOf(f, 5, 0, 1, false, long[:1000]),
			messageOf(f, 5, 0, 1, true, long[1000:])...),
		messageOf(f, 2, 1, "result"), messageOf(f, 2, 1, nil, "error"),
		messageOf(f, 2, 1, nil, "error", 1),
		messageOf(f, 4, 1, "note"), messageOf(f, 6, 0, 2, 1), messageOf(f, 7, 0, 2, nil),
		messageOf(f, 8, 0, 1, 10),
		messageOf(f, 9, 0, 3), messageOf(f, 10, 0, 1), messageOf(f, 11, 0, 1), messageOf(f, 12, 0),
		messageOf(f, 13, 0, "why"),
		{0, 0, 0, 5, 0xdd, 255, 255, 255, 255}, {255, 255, 255, 255},
	} {
		f.Add(m, false)
		f.Add(m, true)
	}
	f.Fuzz(func(t *testing.T, p []byte, dialer bool) {
		if len(p) > 200<<10 {
			return
		}
		head := open
		if dialer {
			head = open[:len(open)-12]
		}
		swallow(t, append(append([]byte(nil), head...), inFrame(p)...), dialer)
	})
}

// FuzzPreface: a dialer may send anything.
func FuzzPreface(f *testing.F) {
	f.Add(opening(f))
	f.Add(prefaceOf(f, map[string]any{
		"version":  1,
		"node":     "n",
		"features": []string{"a"},
		"limits":   map[string]any{"message": 1, "calls": -1},
		"other":    []int{1},
	}))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{'P', 'B', 1, '\n', 16, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		swallow(t, p, false)
		if len(p) < 4<<10 {
			body := binary.BigEndian.AppendUint16([]byte{'P', 'B', 1, '\n'}, uint16(len(p)))
			swallow(t, append(body, p...), true)
		}
	})
}

// FuzzFrames: frames of all kinds, in any order, byte streams among them.
func FuzzFrames(f *testing.F) {
	open := opening(f)
	syn := frameOf(frameWindow, flagSYN, 3, 0)
	for _, p := range [][]byte{
		inFrame(callOf(f, 1, 0, "echo", "x")),
		frameOf(framePing, flagSYN, 0, 7), frameOf(framePing, flagACK, 0, 7),
		frameOf(frameGoAway, 0, 0, 0),
		frameOf(frameWindow, 0, 1, 1000), frameOf(frameWindow, flagFIN, 1, 0),
		frameOf(frameWindow, flagRST, 1, 0),
		append(syn, frameOf(frameData, 0, 3, 4, 0xc4, 1, 'x', 0xc0)...),
		append(syn, frameOf(frameData, flagFIN, 3, 1, 0xc0)...),
		append(syn, frameOf(frameWindow, flagRST, 3, 0)...),
		append(syn, frameOf(frameWindow, 0, 3, 100)...),
		append(frameOf(frameData, flagSYN, 5, 2, 1, 2), syn...),
	} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < 64<<10 {
			swallow(t, append(append([]byte(nil), open...), p...), false)
		}
	})
}
