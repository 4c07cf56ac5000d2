package broker_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"perspective/broker"

	"github.com/vmihailenco/msgpack/v5"
)

// A wire is a peer written by hand: it says exactly what a test wants.
type wire struct {
	t      testing.TB
	mu     sync.Mutex // held while writing: windows are granted beside what a test says
	conn   net.Conn
	frames int             // of the call stream's data, read
	long   int             // messages said in pieces
	mute   bool            // nothing is said but by the test
	data   []byte          // of the call stream, read and not used
	seen   map[int64][]any // RETURNs that nobody asked for yet
}

const (
	frameData   = 0
	frameWindow = 1
	framePing   = 2
	frameGoAway = 3

	flagSYN = 1
	flagACK = 2
	flagFIN = 4
	flagRST = 8
)

func frameOf(kind byte, flags uint16, stream, length uint32, body ...byte) []byte {
	b := []byte{0, kind}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	b = binary.BigEndian.AppendUint32(b, length)
	return append(b, body...)
}

// prefaceOf is a preface whose map is m.
func prefaceOf(t testing.TB, m map[string]any) []byte {
	t.Helper()
	body, err := msgpack.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	b := []byte{'P', 'B', 1, '\n'}
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// messageOf is a message with its length.
func messageOf(t testing.TB, fields ...any) []byte {
	t.Helper()
	body, err := msgpack.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// callOf is a CALL of the root.
func callOf(t testing.TB, q int, flags uint64, method string, args ...any) []byte {
	if args == nil {
		args = []any{}
	}
	return messageOf(t, 1, q, flags, 1, method, args)
}

func inFrame(p []byte) []byte { return frameOf(frameData, 0, 1, uint32(len(p)), p...) }

// against starts a broker with a dialer written by hand; greeted says that the
// dialer has sent its preface and opened the call stream.
func against(t testing.TB, c, s net.Conn, config broker.Config) (*wire, *broker.Broker) {
	t.Helper()
	config.Errors = plainErrors{}
	b, err := broker.New(s, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = b.Close()
		b.Wait()
	})
	return &wire{t: t, conn: c}, b
}

// greet sends a preface and opens the call stream.
func (w *wire) greet() *wire {
	w.t.Helper()
	w.write(append(prefaceOf(w.t, map[string]any{"version": 1,
		"limits": map[string]any{"message": 4 << 20, "calls": 1024, "bytes": 8 << 20}}),
		frameOf(frameWindow, flagSYN, 1, 0)...))
	return w
}

// write gives up silently when the other side has closed: that is what some
// tests wait for.
func (w *wire) write(p ...[]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range p {
		_, _ = w.conn.Write(p)
	}
}

func (w *wire) say(messages ...[]byte) { w.write(inFrame(bytes.Join(messages, nil))) }

// hear reads the next message that is not a CREDIT or a PONG. It grants the
// window back at once. The error is the end of the connection.
func (w *wire) hear() ([]any, error) {
	for {
		for len(w.data) < 4 || len(w.data) < 4+int(binary.BigEndian.Uint32(w.data)) {
			if err := w.frame(); err != nil {
				return nil, err
			}
		}
		n := 4 + int(binary.BigEndian.Uint32(w.data))
		var m []any
		if err := msgpack.Unmarshal(w.data[4:n], &m); err != nil {
			return nil, err
		}
		w.data = w.data[n:]
		if k := num(m[0]); k != 8 && k != 11 {
			return m, nil
		}
	}
}

// heard is a message, and when it came.
type heard struct {
	message []any
	at      time.Time
}

// watch reads all that comes, and says nothing about it: it grants no window.
func (w *wire) watch() <-chan heard {
	came := make(chan heard, 100)
	w.mute = true
	go func() { // ends with the connection
		defer close(came)
		for {
			m, err := w.hear()
			if err != nil {
				return
			}
			came <- heard{m, time.Now()}
		}
	}()
	return came
}

// frame reads one, behind the preface.
func (w *wire) frame() error {
	var h [12]byte
	if _, err := io.ReadFull(w.conn, h[:4]); err != nil {
		return err
	}
	if h[0] == 'P' {
		var l [2]byte
		if _, err := io.ReadFull(w.conn, l[:]); err != nil {
			return err
		}
		_, err := io.CopyN(io.Discard, w.conn, int64(binary.BigEndian.Uint16(l[:])))
		return err
	}
	if _, err := io.ReadFull(w.conn, h[4:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(h[8:])
	if h[1] != frameData {
		return nil
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(w.conn, p); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(h[4:]) != 1 {
		return nil
	}
	w.frames++
	w.data = append(w.data, p...)
	if w.mute {
		return nil
	}
	go w.write(frameOf(frameWindow, 0, 1, n)) // ends when it is taken, or with the connection
	return nil
}

// aborted reads to the end and gives the reason of the ABORT, which must be the last message.
func (w *wire) aborted() string {
	w.t.Helper()
	for {
		m, err := w.hear()
		if err != nil {
			w.t.Fatalf("the connection ended without ABORT: %v", err)
		}
		if num(m[0]) == 13 {
			if m, err := w.hear(); err == nil {
				w.t.Errorf("%v comes behind the ABORT", m)
			}
			s, ok := m[2].(string)
			if !ok || len(m) != 3 || num(m[1]) != 0 || len(s) > 256 {
				w.t.Errorf("ABORT is %v", m)
			}
			return s
		}
	}
}

// returned reads the RETURN of question q.
func (w *wire) returned(q int) (value any, failure string) {
	w.t.Helper()
	for w.seen[int64(q)] == nil {
		m, err := w.hear()
		if err != nil {
			w.t.Fatalf("no RETURN: %v", err)
		}
		if num(m[0]) == 2 {
			if w.seen == nil {
				w.seen = make(map[int64][]any)
			}
			w.seen[num(m[1])] = m
		}
	}
	m := w.seen[int64(q)]
	delete(w.seen, int64(q))
	if len(m) > 3 {
		failure, _ = m[3].(string)
	}
	return m[2], failure
}

func num(v any) int64 {
	switch v := v.(type) {
	case int8:
		return int64(v)
	case uint8:
		return int64(v)
	case uint16:
		return int64(v)
	case int16:
		return int64(v)
	case uint32:
		return int64(v)
	case int32:
		return int64(v)
	case int64:
		return v
	case uint64:
		return int64(v)
	}
	return -1
}

// broken waits for the end, which must be a broken rule.
func broken(t *testing.T, b *broker.Broker) {
	t.Helper()
	<-b.Done()
	if _, ok := errors.AsType[*broker.ProtocolError](b.Err()); !ok {
		t.Errorf("the connection ended with %v, want a *ProtocolError", b.Err())
	}
}

// deadline keeps a test that waits for the other side from hanging.
func deadline(t *testing.T, conns ...net.Conn) {
	for _, c := range conns {
		_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
	}
}

func (w *wire) read(p []byte) error {
	_, err := io.ReadFull(w.conn, p)
	return err
}
