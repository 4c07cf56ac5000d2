package pb_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"perspective/pb"
)

// vectorRoot is the object that the vectors of the wire's specification call.
type vectorRoot struct {
	pb.Referenceable
	n int // so that two are not one
}

func (*vectorRoot) RemoteEcho(_ context.Context, v any) (any, error) { return v, nil }

func (*vectorRoot) RemoteTell(ctx context.Context, s string) (string, error) {
	return "told", pb.Note(ctx, s)
}

func (*vectorRoot) RemoteLend(context.Context) (*vectorRoot, error) {
	return &vectorRoot{n: 2}, nil
}

func (*vectorRoot) RemoteAsk(ctx context.Context, r *pb.RemoteReference) (string, error) {
	defer r.Release()
	return pb.Do[string](ctx, r, "name")
}

func (*vectorRoot) RemoteRead(_ context.Context, r io.ReadCloser) (string, error) {
	all, err := io.ReadAll(r)
	return string(all), err
}

// A vector is one line of the transcript: the sender, the lane and the bytes.
type vector struct {
	dialer bool
	lane   byte // 'p': preface, 'm': message without its length, 's': data on stream 3
	bytes  []byte
	text   string
}

// vectors reads the transcript at the end of the specification.
func vectors(t *testing.T) (list []vector) {
	t.Helper()
	doc, err := os.ReadFile("../docs/wire-native.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(doc), "\n## 12. Vectors\n")
	if !ok {
		t.Fatal("docs/wire-native.md has no vectors")
	}
	for line := range strings.Lines(section) {
		line, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		if !ok {
			continue
		}
		who, rest := strings.TrimSpace(line[:2]), line[2:]
		digits, comment, _ := strings.Cut(rest, ";")
		b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if who == "" { // goes on
			v := &list[len(list)-1]
			v.bytes, v.text = append(v.bytes, b...), comment
			continue
		}
		list = append(list, vector{dialer: who[0] == 'D', lane: who[1], bytes: b, text: comment})
	}
	return list
}

// TestVectors plays the dialer's half of the transcript against a Node, which must answer with the
// other half, byte by byte; and once more with the Node as the dialer, for both sides call and
// answer alike. Then the byte stream, which is the peer's, has the first even number.
func TestVectors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		role   pb.Side
		flag   uint16 // on the peer's first frame
		stream uint32
	}{{"acceptor", pb.Acceptor, 1, 3}, {"dialer", pb.Dialer, 2, 2}} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := net.Pipe()
			node := &pb.Node{Root: &vectorRoot{n: 1}}
			defer node.Close()                      //nolint:errcheck // it says nothing
			go node.Attach(t.Context(), s, tt.role) //nolint:errcheck // the test sees what comes
			w := &vectorWire{t: t, conn: c}
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			opened := false
			for _, v := range vectors(t) {
				v.number(tt.stream)
				if !v.dialer {
					if got := w.next(v.lane); !bytes.Equal(got, v.bytes) {
						t.Fatalf("%s\n got % x\nwant % x", v.text, got, v.bytes)
					}
					continue
				}
				switch v.lane {
				case 'p':
					w.write(v.bytes, vectorFrame(1, tt.flag, 1, nil))
				case 'm':
					w.write(vectorFrame(0, 0, 1,
						binary.BigEndian.AppendUint32(nil, uint32(len(v.bytes))), v.bytes))
				case 's':
					flags := uint16(0)
					if !opened {
						flags, opened = 1, true
					}
					w.write(vectorFrame(0, flags, tt.stream, v.bytes))
				}
			}
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("behind the ABORT: %v, want the end", err)
			}
		})
	}
}

// number has a message that mentions the stream 3 mention the stream n.
func (v *vector) number(n uint32) {
	mentions := bytes.Contains(v.bytes, []byte{0xd4, 5, 3}) ||
		bytes.Equal(v.bytes, []byte{0x93, 9, 0, 3})
	if v.lane == 'm' && mentions {
		v.bytes[len(v.bytes)-1] = byte(n)
	}
}

// TestExampleOnTheWire makes the call of the specification's example: what a Node that dials sends
// and reads are the bytes that stand there.
func TestExampleOnTheWire(t *testing.T) {
	sent, answer := exampleBytes(t)
	c, s := net.Pipe()
	node := &pb.Node{}
	defer node.Close() //nolint:errcheck // it says nothing
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	called := make(chan error, 1)
	go func() { // ends with the call
		conn, err := node.Attach(t.Context(), s, pb.Dialer)
		if err == nil {
			var v string
			if v, err = pb.Do[string](t.Context(), conn.Root(), "echo", "hi"); v != "hi" &&
				err == nil {
				err = errors.New("the answer is " + v)
			}
		}
		called <- err
	}()
	if n := 24 + int(binary.BigEndian.Uint32(sent[20:])); n != len(sent) {
		t.Fatalf("%d bytes are sent in the example, want %d", len(sent), n)
	}
	w := &vectorWire{t: t, conn: c}
	w.next('p')
	w.write([]byte("PB\x01\n\x00\x0a\x81\xa7version\x01"))
	if got := w.read(len(sent)); !bytes.Equal(got, sent) {
		t.Fatalf("the dialer sends\n% x, want\n% x", got, sent)
	}
	w.write(answer)
	if err := <-called; err != nil {
		t.Error(err)
	}
}

// exampleBytes are what the dialer of the specification's example sends behind its preface, and
// what it reads.
func exampleBytes(t *testing.T) (sent, answer []byte) {
	t.Helper()
	doc, err := os.ReadFile("../docs/wire-native.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(doc), "\n## 11. An example\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !ok {
		t.Fatal("docs/wire-native.md has no example")
	}
	into := &sent
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "and reads") {
			into = &answer
		}
		line, ok := strings.CutPrefix(line, "    ")
		if !ok || strings.HasPrefix(line, " ") { // what the bytes mean
			continue
		}
		b, err := hex.DecodeString(
			strings.Join(strings.Fields(exampleGap.ReplaceAllString(line, "")), ""))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		*into = append(*into, b...)
	}
	return sent, answer
}

// exampleGap is what stands behind the bytes of a line.
var exampleGap = regexp.MustCompile(`  +(yamux|a message|\[).*`)

func vectorFrame(kind byte, flags uint16, stream uint32, body ...[]byte) []byte {
	all := bytes.Join(body, nil)
	b := binary.BigEndian.AppendUint16([]byte{0, kind}, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	b = binary.BigEndian.AppendUint32(b, uint32(len(all)))
	return append(b, all...)
}

// vectorWire is a peer that has nothing but bytes.
type vectorWire struct {
	t        testing.TB
	conn     net.Conn
	preface  bool
	messages []byte // what came on the call stream
	stream   []byte // on stream 3
}

func (w *vectorWire) write(parts ...[]byte) {
	if _, err := w.conn.Write(bytes.Join(parts, nil)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *vectorWire) read(n int) []byte {
	w.t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(w.conn, p); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// next is the next preface, message or piece of stream 3.
func (w *vectorWire) next(lane byte) []byte {
	w.t.Helper()
	for {
		switch m := w.messages; {
		case lane == 'p' && !w.preface:
			w.preface = true
			head := w.read(6)
			return append(head, w.read(int(binary.BigEndian.Uint16(head[4:])))...)
		case lane == 'm' && len(m) >= 4 && len(m) >= 4+int(binary.BigEndian.Uint32(m)):
			n := 4 + int(binary.BigEndian.Uint32(m))
			w.messages = m[n:]
			return m[4:n]
		case lane == 's' && len(w.stream) > 0:
			p := w.stream
			w.stream = nil
			return p
		}
		head := w.read(12)
		if head[1] != 0 {
			continue // a window, an acknowledgement
		}
		body := w.read(int(binary.BigEndian.Uint32(head[8:])))
		if binary.BigEndian.Uint32(head[4:]) == 1 {
			w.messages = append(w.messages, body...)
		} else {
			w.stream = append(w.stream, body...)
		}
	}
}
