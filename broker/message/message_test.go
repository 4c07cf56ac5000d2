package message_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"perspective/broker/message"
	"perspective/jelly"

	"github.com/vmihailenco/msgpack/v5"
)

// The bytes of each kind, as docs/wire-native.md has them.
func TestMessages(t *testing.T) {
	text := func(e *jelly.Encoder) { e.EncodeString("x") }
	encoded := func(f func(*jelly.Encoder)) []byte {
		e := new(jelly.Encoder)
		f(e)
		b := append([]byte(nil), e.Buffer()...)
		message.PutLength(b, len(b))
		return b
	}
	call := func(h message.CallHead, q uint32) []byte {
		b := encoded(func(e *jelly.Encoder) {
			message.EncodeCall(e, &h, "m")
			e.EncodeArrayLen(0)
		})
		message.SetQ(b, q)
		return b
	}
	tests := []struct {
		name, want string
		got        []byte
	}{
		{"CALL", "0000000c 96 01 ce00000007 04 01 a16d 90",
			call(message.CallHead{Flags: message.FlagFinal, Export: 1}, 7)},
		{
			"CALL of an answer, with all that may be left out",
			"00000018 9a 01 ce01020304 00 92 05 91 a170 a16d cd2710 02 c40174 c0 90",
			call(message.CallHead{
				Answer:   5,
				Path:     []string{"p"},
				Deadline: 10 * time.Millisecond,
				Depth:    2,
				Trace:    []byte("t"),
			}, 0x01020304),
		},
		{"RETURN", "00000009 93 02 ce00000007 a178",
			encoded(func(e *jelly.Encoder) { message.BeginReturn(e, 7); text(e) })},
		{"RETURN of an error", "0000000a 94 02 ce00000007 c0 a178",
			encoded(func(e *jelly.Encoder) { message.EncodeFailure(e, 7, true, text) })},
		{"RETURN of a refusal", "0000000b 95 02 ce00000007 c0 a178 01",
			encoded(func(e *jelly.Encoder) { message.EncodeFailure(e, 7, false, text) })},
		{"NOTE", "00000009 93 04 ce00000007 a178",
			encoded(func(e *jelly.Encoder) { message.BeginNote(e, 7); text(e) })},
		{"PART", "00000010 95 05 00 ce00000100 c3 c600000002",
			message.AppendPartHead(nil, 256, true, 2)},
		{"FINISH", "00000003 92 03 07", sealed(message.Small(message.Finish, 7))},
		{"RELEASE", "00000009 94 06 00 ce00000100 01",
			sealed(message.Small(message.Release, 0, 256, 1))},
		{"PING", "0000000c 93 0a 00 cf0000000100000000",
			sealed(message.Small(message.Ping, 0, 1<<32))},
		{"GOAWAY", "00000003 92 0c 00", sealed(message.Small(message.GoAway, 0))},
		{"ABORT", "0000000c 93 0d ce00000000 a461efbfbd",
			encoded(func(e *jelly.Encoder) { message.EncodeAbort(e, "a\x00") })},
	}
	for _, tt := range tests {
		want, err := hex.DecodeString(strings.ReplaceAll(tt.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != string(tt.got) {
			t.Errorf("%s: % x, want % x", tt.name, tt.got, want)
		}
	}
}

func sealed(b []byte) []byte {
	message.PutLength(b, len(b))
	return b
}

func TestPartHead(t *testing.T) {
	for _, n := range []uint32{1, 127, 128, 255, 256, 65535, 65536, 1<<32 - 1} {
		for _, last := range []bool{false, true} {
			p := message.AppendPartHead(nil, n, last, 50_000)
			got, gotLast, head, size := message.PartHead(append(p[4:], make([]byte, 10)...))
			if got != n || gotLast != last || head != len(p)-4 || size != 50_000 ||
				int(binary.BigEndian.Uint32(p)) != head+size {
				t.Errorf("PartHead(%d, %v) = %d, %v, %d, %d", n, last, got, gotLast, head, size)
			}
			m, err := msgpack.Marshal([]any{5, 0, n, last, make([]byte, 50_000)})
			if err != nil {
				t.Fatal(err)
			}
			got, gotLast, head, size = message.PartHead(m)
			if got != n || gotLast != last || head+size != len(m) || size != 50_000 {
				t.Errorf("as another library writes it: PartHead(%d, %v) = %d, %v, %d, %d", n, last,
					got, gotLast, head, size)
			}
		}
	}
}

// Whatever comes is read or is a broken rule that names the message.
func FuzzDecode(f *testing.F) {
	e := new(jelly.Encoder)
	message.EncodeCall(e, &message.CallHead{
		Answer:   5,
		Path:     []string{"p"},
		Deadline: 1,
		Depth:    2,
		Trace:    []byte("t"),
		Token:    []byte("u"),
	}, "m")
	e.EncodeArrayLen(0)
	f.Add(append([]byte(nil), e.Buffer()[message.LengthSize:]...))
	for k := message.Finish; k <= message.Abort; k++ {
		f.Add(message.Small(k, 0, 1, 2)[message.LengthSize:])
	}
	f.Add(append(message.AppendPartHead(nil, 1, false, 2), 1, 2)[message.LengthSize:])
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := jelly.Scan(raw, new(jelly.Limits)); err != nil {
			return
		}
		d := new(jelly.Decoder)
		d.Reset(nil, nil, raw, nil)
		h, err := message.DecodeHead(d)
		if err == nil {
			err = decodeRest(d, h)
		}
		if err == nil {
			return
		}
		p, ok := errors.AsType[*message.ProtocolError](err)
		if !ok {
			t.Fatalf("%v is a %T, want a *ProtocolError", err, err)
		}
		if !strings.HasPrefix(p.Reason, h.Kind.String()) {
			t.Errorf("%q does not name the message, %v", p.Reason, h.Kind)
		}
	})
}

func decodeRest(d *jelly.Decoder, h message.Head) (err error) {
	switch h.Kind {
	case message.Call:
		c := new(message.CallHead)
		if err = message.DecodeCall(d, h.Elements, c); err == nil {
			err = c.CheckFlags(h.Q)
		}
	case message.Return:
		var failed bool
		if failed, err = message.CheckReturn(h.Elements); failed {
			_, _, err = message.DecodeFailure(d, h.Elements,
				func(d *jelly.Decoder) error { return d.Skip() })
		}
	case message.Note:
		err = message.CheckNote(h.Elements)
	case message.Part:
		_, _, _, err = message.DecodePart(d, h)
	case message.Resolve:
		_, err = message.DecodeResolve(d, h)
	case message.Abort:
		message.DecodeAbort(d)
	default:
		_, err = message.DecodeSmall(d, h)
	}
	return err
}
