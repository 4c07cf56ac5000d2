package broker_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"perspective/broker"

	"github.com/hashicorp/yamux"
	"github.com/vmihailenco/msgpack/v5"
)

// TestPlainYamux is a peer made of a yamux and a msgpack library and nothing
// of this package.
func TestPlainYamux(t *testing.T) {
	c, s := tcp(t)
	_, sb := against(t, c, s, broker.Config{Root: echo()})
	if _, err := c.Write(prefaceOf(t, map[string]any{
		"version":  1,
		"features": []string{},
		"limits":   map[string]any{"message": 1 << 20},
	})); err != nil {
		t.Fatal(err)
	}
	var head [6]byte
	if _, err := io.ReadFull(c, head[:]); err != nil || string(head[:4]) != "PB\x01\n" {
		t.Fatalf("preface %q, %v", head, err)
	}
	preface := make([]byte, binary.BigEndian.Uint16(head[4:]))
	if _, err := io.ReadFull(c, preface); err != nil {
		t.Fatal(err)
	}
	var said struct {
		Version int            `msgpack:"version"`
		Limits  map[string]int `msgpack:"limits"`
	}
	if err := msgpack.Unmarshal(preface, &said); err != nil || said.Version != 1 ||
		said.Limits["message"] != 4<<20 {
		t.Fatalf("preface %+v, %v", said, err)
	}
	config := yamux.DefaultConfig()
	config.StreamOpenTimeout = 50 * time.Millisecond
	config.LogOutput = io.Discard
	session, err := yamux.Client(c, config)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close() //nolint:errcheck // the test is over
	calls, err := session.OpenStream()
	if err != nil || calls.StreamID() != 1 {
		t.Fatalf("stream %d, %v", calls.StreamID(), err)
	}
	t.Run("single bytes", func(t *testing.T) {
		for _, x := range callOf(t, 1, broker.FlagFinal, "echo", "byte by byte") {
			if _, err := calls.Write([]byte{x}); err != nil {
				t.Fatal(err)
			}
		}
		if got := plainAnswer(t, calls, 1); got != "byte by byte" {
			t.Errorf("answer %v", got)
		}
	})
	t.Run("pings", func(t *testing.T) {
		for range 10 {
			if _, err := session.Ping(); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("600 KiB in parts", func(t *testing.T) {
		want := bytes.Repeat([]byte("0123456789"), 60<<10)
		whole := callOf(t, 2, broker.FlagFinal, "echo", want)[4:]
		for at := 0; at < len(whole); at += 30_000 {
			end := min(at+30_000, len(whole))
			if _, err := calls.Write(
				messageOf(t, 5, 0, 1, end == len(whole), whole[at:end])); err != nil {
				t.Fatal(err)
			}
		}
		if got, _ := plainAnswer(t, calls, 2).([]byte); !bytes.Equal(got, want) {
			t.Errorf("answer of %d bytes, want %d", len(got), len(want))
		}
	})
	t.Run("alive after StreamOpenTimeout", func(t *testing.T) {
		timer := time.NewTimer(3 * config.StreamOpenTimeout)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-session.CloseChan():
			t.Fatal("the session ended")
		}
		if _, err := calls.Write(callOf(t, 3, broker.FlagFinal, "echo", "alive")); err != nil {
			t.Fatal(err)
		}
		if got := plainAnswer(t, calls, 3); got != "alive" {
			t.Errorf("answer %v", got)
		}
	})
	t.Run("byte stream", func(t *testing.T) {
		st, err := session.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Write([]byte("\xc4\x05hello\xc4\x01!\xc0")); err != nil {
			t.Fatal(err)
		}
		if _, err := session.Ping(); err != nil { // the opening has been read now
			t.Fatal(err)
		}
		mine, err := sb.ClaimStream(uint64(st.StreamID()))
		if err != nil {
			t.Fatal(err)
		}
		if p, err := io.ReadAll(mine); string(p) != "hello!" || err != nil {
			t.Errorf("ReadAll = %q, %v", p, err)
		}
		if err := mine.Close(); err != nil {
			t.Error(err)
		}
		_ = st.Close()
		if p, _ := io.ReadAll(st); string(p) != "\xc0" {
			t.Errorf("the plain side read %q, want an end mark", p)
		}
	})
}

// plainAnswer reads up to the RETURN of question q, parts put together.
func plainAnswer(t *testing.T, r io.Reader, q int) any {
	t.Helper()
	var parts []byte
	for {
		var l [4]byte
		if _, err := io.ReadFull(r, l[:]); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, binary.BigEndian.Uint32(l[:]))
		if _, err := io.ReadFull(r, p); err != nil {
			t.Fatal(err)
		}
		var m []any
		if err := msgpack.Unmarshal(p, &m); err != nil {
			t.Fatal(err)
		}
		if num(m[0]) == 5 {
			parts = append(parts, m[4].([]byte)...)
			if !m[3].(bool) {
				continue
			}
			m = nil
			if err := msgpack.Unmarshal(parts, &m); err != nil {
				t.Fatal(err)
			}
		}
		if num(m[0]) == 2 && num(m[1]) == int64(q) && len(m) == 3 {
			return m[2]
		}
	}
}
