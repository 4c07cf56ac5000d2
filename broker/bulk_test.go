package broker_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"perspective/broker"
	"perspective/broker/link"
	"perspective/jelly"
)

// noise is n bytes that differ from those of other seeds.
func noise(seed, n int) []byte {
	p := make([]byte, n)
	var c [32]byte
	binary.BigEndian.PutUint64(c[:], uint64(seed))
	_, _ = rand.NewChaCha8(c).Read(p)
	return p
}

// spoiler echoes its arguments and spoils them when the answer is given: they
// are the method's own.
func spoiler(concurrent bool) *methods {
	return &methods{concurrent: concurrent,
		m: map[string]method{"echo": func(in *broker.Incoming, args []any) {
			in.Return(value(args))
			for _, a := range args {
				if p, ok := a.([]byte); ok {
					clear(p)
				}
			}
		}}}
}

// echoSpoiled sends args, spoils them when Ask returns, and compares what comes back.
func echoSpoiled(ctx context.Context, b *broker.Broker, flags uint64, args ...[]byte) error {
	q := ask()
	var want [][]byte
	for _, a := range args {
		want = append(want, bytes.Clone(a))
		q.args = append(q.args, a)
	}
	if err := b.Ask(ctx,
		&broker.Header{Export: 1, Method: "echo", Flags: flags, Call: &q.call}, q); err != nil {
		return err
	}
	for _, a := range args {
		clear(a)
	}
	<-q.done
	if q.err != nil {
		return q.err
	}
	got, _ := q.result.([]any)
	if len(got) != len(want) {
		return fmt.Errorf("%d results of %d", len(got), len(want))
	}
	for i := range want {
		if p, ok := got[i].([]byte); !ok || !bytes.Equal(p, want[i]) {
			return fmt.Errorf("bytes %d of %d, %d long, came back changed", i,
				len(want), len(want[i]))
		}
	}
	return nil
}

// TestBulkSizes: payloads of sizes about every threshold cross both ways
// unchanged, whatever becomes of the memory that they were sent from.
func TestBulkSizes(t *testing.T) {
	var sizes []int
	for _, n := range []int{4 << 10, 6 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 64<<10 + 6<<10,
		2*64<<10 + 6<<10, 256 << 10, 512 << 10, 1 << 20} {
		for _, d := range []int{-60, -25, -18, -1, 0, 1, 18, 40} {
			sizes = append(sizes, n+d)
		}
	}
	sizes = append(sizes, 2<<20+1, 4<<20-100)
	if raceEnabled || testing.Short() { // every fifth: each length, and each distance from one
		some := sizes[:0]
		for i := 0; i < len(sizes); i += 5 {
			some = append(some, sizes[i])
		}
		sizes = some
	}
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		cb, sb := pair(t, c, s, broker.Config{Root: spoiler(false)},
			broker.Config{Root: spoiler(false)})
		<-cb.Greeted()
		<-sb.Greeted()
		for i, n := range sizes {
			flags := broker.FlagFinal * uint64(i%4/3^1) // an answer that is kept now and then
			for _, b := range []*broker.Broker{cb, sb} {
				if err := echoSpoiled(t.Context(), b, flags, noise(i, n)); err != nil {
					t.Fatalf("%d bytes: %v", n, err)
				}
			}
		}
		for i, args := range [][]int{{9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000},
			{10, 70_000, 10, 70_000, 10}, {70_000, 0, 20_000, 300_000, 5}, {60_000, 5600}} {
			var ps [][]byte
			for _, n := range args {
				ps = append(ps, noise(i, n))
			}
			if err := echoSpoiled(t.Context(), cb, broker.FlagFinal, ps...); err != nil {
				t.Errorf("%v bytes: %v", args, err)
			}
		}
		settled(t, cb, sb)
	})
}

// TestBulkMany: large and small calls of many callers beside each other, both
// ways, some of them given up.
func TestBulkMany(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		config := broker.Config{Root: spoiler(true)}
		cb, sb := pair(t, c, s, config, config)
		<-cb.Greeted()
		<-sb.Greeted()
		rounds := 12
		if raceEnabled || testing.Short() {
			rounds = 3
		}
		var wg sync.WaitGroup
		for k := range 12 {
			b := []*broker.Broker{cb, sb}[k%2]
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(k), 1))
				for i := range rounds {
					n := []int{10, 12_000, 50_000, 64 << 10, 200_000, 700_000}[r.IntN(6)]
					if i%3 > 0 {
						if err := echoSpoiled(t.Context(), b, broker.FlagFinal, noise(k, n),
							noise(i, n/3)); err != nil {
							t.Errorf("%d bytes: %v", n, err)
						}
						continue
					}
					ctx, cancel := context.WithCancel(t.Context())
					wg.Go(cancel)
					if err := echoSpoiled(ctx, b, broker.FlagFinal, noise(k, n)); err != nil &&
						!errors.Is(err, context.Canceled) {
						t.Errorf("%d bytes, given up: %v", n, err)
					}
				}
			})
		}
		wg.Wait()
		settled(t, cb, sb)
	})
}

// TestBulkSlow: Ask does not wait for a peer that is slow, and the peer gets
// what the arguments were then. So with an answer.
func TestBulkSlow(t *testing.T) {
	const size = 3 << 20
	// read takes from the peer's side until the message of kind is whole, in
	// pieces, and compares the bytes in it.
	read := func(t *testing.T, w *wire, kind int64, want []byte) {
		t.Helper()
		var whole []byte
		for last := false; !last; {
			m, err := w.hear()
			if err != nil {
				t.Fatal(err)
			}
			if num(m[0]) != 5 {
				continue
			}
			whole = append(whole, m[4].([]byte)...)
			last = m[3].(bool)
		}
		if int64(whole[1]) != kind || !bytes.Contains(whole, want) {
			t.Error("the peer got something else")
		}
	}
	for _, given := range []string{"in time", "given up"} {
		t.Run("arguments, "+given, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := net.Pipe()
				b, err := broker.New(c, broker.Config{Dialer: true, Errors: plainErrors{}})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close() //nolint:errcheck // the test is over
				w := &wire{t: t, conn: s}
				w.write(prefaceOf(t, map[string]any{"version": 1,
					"limits": map[string]any{"message": 4 << 20, "calls": 10, "bytes": 8 << 20}}))
				if err := w.frame(); err != nil { // the preface; from here on nothing is read
					t.Fatal(err)
				}
				<-b.Greeted()
				p := noise(1, size)
				want := bytes.Clone(p)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if given == "given up" {
					go cancel() // ends at once
				}
				q := ask(p)
				if err := b.Ask(ctx, &broker.Header{
					Export: 1,
					Method: "echo",
					Flags:  broker.FlagFinal,
					Call:   &q.call,
				}, q); err != nil {
					if given == "given up" && errors.Is(err, context.Canceled) {
						return
					}
					t.Fatal(err)
				}
				clear(p)
				read(t, w, 1, want)
			})
		})
	}
	t.Run("answer", func(t *testing.T) {
		c, s := tcp(t)
		deadline(t, c)
		p := noise(2, size)
		want := bytes.Clone(p)
		spoiled := make(chan struct{})
		o := &methods{m: map[string]method{"get": func(in *broker.Incoming, _ []any) {
			in.Return(value(p))
			clear(p)
			close(spoiled)
		}}}
		w, _ := against(t, c, s, broker.Config{Root: o})
		w.greet()
		w.say(callOf(t, 1, broker.FlagFinal, "get"))
		<-spoiled // nothing is read before
		read(t, w, 2, want)
	})
}

// TestBulkEnd: the end of the connection gives the memory back in the middle
// of a write.
func TestBulkEnd(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		g := newGate(true)
		cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: g})
		<-cb.Greeted()
		var wg sync.WaitGroup
		for k := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					p := noise(k, 300_000)
					q := ask(p)
					if cb.Ask(t.Context(), &broker.Header{
						Export: 1,
						Method: "size",
						Flags:  broker.FlagFinal,
						Call:   &q.call,
					}, q) != nil {
						return
					}
					clear(p)
					<-q.done
					if i == 2 && k == 0 {
						go sb.Close() //nolint:errcheck // ends at once
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestCutAnywhere: a long call whose bytes come in drops, cut in every place
// where something begins, is put together all the same.
func TestCutAnywhere(t *testing.T) {
	want := noise(3, 150_000)
	call := callOf(t, 1, broker.FlagFinal, "echo", want)[4:]
	var stream []byte
	at, n := 0, 0
	for _, size := range []int{6 << 10, 40_000, 5000, 64<<10 - 18, 1 << 20} {
		size = min(size, len(call)-at)
		part := messageOf(t, 5, 0, 1, at+size == len(call), call[at:at+size])
		stream = append(stream, part...)
		stream = append(stream, callOf(t, 10+n, broker.FlagFinal, "echo", noise(n, 16_000*n))...)
		at += size
		n++
	}
	onSockets(t, func(t *testing.T, c, s net.Conn) {
		deadline(t, c)
		w, b := against(t, c, s, broker.Config{Root: echo()})
		w.greet()
		wrote := make(chan struct{})
		go func() { // ends when all is taken, or with the connection
			defer close(wrote)
			r := rand.New(rand.NewPCG(7, 7))
			for rest := stream; len(rest) > 0; {
				k := min(len(rest), []int{1, 2, 3, 7, 19, 900, 5000, 30_000}[r.IntN(8)])
				f := inFrame(rest[:k])
				cut := r.IntN(len(f))
				w.write(f[:cut], f[cut:])
				rest = rest[k:]
			}
		}()
		got := make(map[int64][]byte)
		parts := make(map[int64][]byte)
		for len(got) < n+1 {
			m, err := w.hear()
			if err != nil {
				t.Fatal(err, b.Err())
			}
			switch num(m[0]) {
			case 2:
				got[num(m[1])], _ = m[2].([]byte)
			case 5:
				k := num(m[2])
				parts[k] = append(parts[k], m[4].([]byte)...)
				if m[3].(bool) {
					d := new(jelly.Decoder)
					d.Reset(nil, nil, parts[k], nil)
					_, _ = d.DecodeArrayLen()
					_, _ = d.DecodeUint()
					q, _ := d.DecodeUint()
					got[int64(q)], _ = d.DecodeBytes()
				}
			}
		}
		<-wrote
		if !bytes.Equal(got[1], want) {
			t.Error("the long call came changed")
		}
		for i := range n {
			if !bytes.Equal(got[int64(10+i)], noise(i, 16_000*i)) {
				t.Errorf("call %d between came changed", i)
			}
		}
	})
}

// TestWindowGrows: a peer that uses the window gets more, a stranger does not.
func TestWindowGrows(t *testing.T) {
	for _, stranger := range []bool{false, true} {
		c, s := tcp(t)
		deadline(t, c)
		config := broker.Config{Root: echo()}
		if stranger {
			config.Stranger = new(broker.Stranger)
		}
		w, _ := against(t, c, s, config)
		w.greet()
		granted := make(chan int, 1)
		go func() { // ends with 300 KiB of grants, or the connection
			sum := 0
			for sum < 300<<10 {
				h, err := w.header()
				if err != nil {
					break
				}
				if h[1] == frameWindow {
					sum += int(binary.BigEndian.Uint32(h[8:]))
				}
			}
			granted <- sum
		}()
		sent := 0
		for q := 1; sent < 400<<10; q++ {
			p := callOf(t, q, broker.FlagFinal, "nothing", make([]byte, 5000))
			sent += len(p)
			w.say(p)
		}
		if n := <-granted; (n > sent) == stranger {
			t.Errorf("stranger %v: %d KiB sent, %d granted", stranger, sent>>10, n>>10)
		}
	}
}

// header reads a frame and drops what is in it.
func (w *wire) header() (h [12]byte, err error) {
	if err = w.read(h[:4]); err != nil {
		return h, err
	}
	if h[0] == 'P' {
		var l [2]byte
		if err = w.read(l[:]); err == nil {
			err = w.read(make([]byte, binary.BigEndian.Uint16(l[:])))
		}
		return h, err
	}
	if err = w.read(h[4:]); err == nil && h[1] == frameData {
		err = w.read(make([]byte, binary.BigEndian.Uint32(h[8:])))
	}
	return h, err
}

// TestClaimsAreNotMemory: what long messages say that they will be costs
// nothing before it comes.
func TestClaimsAreNotMemory(t *testing.T) {
	c, s := tcp(t)
	deadline(t, c)
	o := echo()
	o.concurrent = true // or all would wait for the first
	w, b := against(t, c, s, broker.Config{Root: o})
	w.greet()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const n = 500
	for k := range n {
		call := callOf(t, k+1, broker.FlagFinal, "echo", nil)
		head := append(bytes.Clone(call[4:len(call)-1]), 0xc6, 0, 0x3f, 0, 0) // nearly 4 MiB
		w.say(messageOf(t, 5, 0, k+1, false, append(head, make([]byte, 5100)...)))
	}
	w.say(messageOf(t, 5, 0, n, false, make([]byte, 5000)))
	w.say(callOf(t, n+1, broker.FlagFinal, "echo", "there"))
	if v, failure := w.returned(n + 1); v != "there" {
		t.Fatal(v, failure, b.Err())
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > 3*n*5000+1<<20 {
		t.Errorf("%d KiB are held for %d KiB", got>>10, n*5100>>10)
	}
}

func TestSizeHint(t *testing.T) {
	const n = 1 << 20
	big := make([]byte, n)
	name := []byte{0x81, 0xc7, 4, 6, 'n', 'a', 'm', 'e', 0x92, 7}
	tests := []struct {
		name string
		p    []byte
		want bool // about n
	}{
		{"bytes", callOf(t, 1, 0, "echo", big)[4:], true},
		{"string", callOf(t, 1, 0, "echo", string(big))[4:], true},
		{"behind small values", callOf(t, 70_000, 0, "echo", 1.5, -1000, "x", nil, true,
			[]any{1, "y"}, map[string]any{"k": uint64(1) << 50}, big)[4:], true},
		{"behind a name", append(append(name, 0xc6, 0, 16, 0, 0), big...), true},
		{"many small ones", callOf(t, 1, 0, "echo", make([]any, n)...)[4:], false},
		{"cut in a length", []byte{0x91, 0xc6, 0, 16}, false},
		{"no MessagePack", []byte{0xc1, 0xc6, 0, 16, 0, 0}, false},
		{"too long to be true", []byte{0x91, 0xc6, 0xff, 0xff, 0xff, 0xff}, false},
	}
	for _, tt := range tests {
		got := link.Hint(tt.p[:min(len(tt.p), 6<<10)])
		if tt.want != (got >= n && got < n+4<<10) || !tt.want && got != 0 {
			t.Errorf("%s: SizeHint = %d", tt.name, got)
		}
	}
}

// A large message that is cut between two frames, with a frame of a byte stream between them, which
// is as large as what is read directly into a message: its bytes are not the message's. TestTables
// found that.
func TestStreamFrameInMessage(t *testing.T) {
	check := func(t *testing.T, c, s net.Conn) {
		o := echo()
		o.m["sum"] = func(in *broker.Incoming, args []any) {
			body, _ := args[0].([]byte)
			in.Return(func(e *jelly.Encoder) error {
				e.EncodeUint(uint64(crc32.ChecksumIEEE(body)))
				return nil
			})
		}
		w, _ := against(t, c, s, broker.Config{Root: o})
		w.greet()
		body := make([]byte, 200_000)
		for i := range body {
			body[i] = byte(i % 251)
		}
		long := messageOf(t, 1, 2, 0, 1, "sum", []any{body})[4:]
		var pieces []byte
		for at := 0; at < len(long); at += 50_000 {
			end := min(at+50_000, len(long))
			pieces = append(pieces, messageOf(t, 5, 0, 1, end == len(long), long[at:end])...)
		}
		for i, message := range [][]byte{callOf(t, 1, 0, "sum", body[:50_000]), pieces} {
			half := len(message)/2 + 10_000
			w.write(inFrame(message[:half]))
			// Its head goes alone: the reader has nothing more of it.
			w.write(frameOf(frameData, flagSYN, uint32(3+2*i), 40_000),
				bytes.Repeat([]byte{0xaa}, 40_000))
			w.write(inFrame(message[half:]))
			m, err := w.hear()
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if want := uint64(crc32.ChecksumIEEE(body[:50_000+i*150_000])); len(m) != 3 ||
				num(m[2]) != int64(want) {
				t.Errorf("message %d: the answer is %.100v, want %d", i, m, want)
			}
		}
	}
	t.Run("pipe", func(t *testing.T) { // what was written has been read
		c, s := net.Pipe()
		check(t, c, s)
	})
	onSockets(t, check)
}
