//go:build unix

package broker_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perspective/broker"
)

// relay joins two sockets: what is written to one comes out of the other as change has it, which
// gets all that was read in the one direction, in order, and where it is to go.
func relay(t *testing.T, change func(there bool, p []byte, to net.Conn) error) (c, s net.Conn) {
	t.Helper()
	c, c2 := tcp(t)
	s2, s := tcp(t)
	var wg sync.WaitGroup
	pass := func(there bool, from, to net.Conn) {
		buf := make([]byte, 8<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 && change(there, buf[:n], to) != nil {
				err = io.ErrClosedPipe
			}
			if err == nil {
				continue
			}
			if errors.Is(err, io.EOF) {
				_ = to.(*net.TCPConn).CloseWrite()
				return
			}
			_ = c2.Close()
			_ = s2.Close()
			return
		}
	}
	wg.Go(func() { pass(true, c2, s2) }) // they end with the sockets
	wg.Go(func() { pass(false, s2, c2) })
	t.Cleanup(func() {
		_ = c2.Close()
		_ = s2.Close()
		wg.Wait()
	})
	return c, s
}

// overRelay is overMemory through a relay.
func overRelay(t *testing.T, change func(there bool, p []byte, to net.Conn) error) (c, s net.Conn) {
	t.Helper()
	c, s = relay(t, change)
	return shaken(t, broker.UnderTLS(c), broker.UnderTLS(s))
}

// TestSealedInPieces: records may be cut anywhere.
func TestSealedInPieces(t *testing.T) {
	forth, back := rand.New(rand.NewPCG(1, 1)), rand.New(rand.NewPCG(2, 2))
	c, s := overRelay(t, func(there bool, p []byte, to net.Conn) error {
		r := back
		if there {
			r = forth
		}
		for len(p) > 0 {
			k := min(len(p), []int{1, 2, 3, 5, 7, 21, 90, 4000}[r.IntN(8)])
			if _, err := to.Write(p[:k]); err != nil {
				return err
			}
			p = p[k:]
		}
		return nil
	})
	both := broker.Config{Root: spoiler(false)}
	cb, sb := pair(t, c, s, both, both)
	var wg sync.WaitGroup
	for k, b := range []*broker.Broker{cb, sb, cb} {
		wg.Go(func() {
			for i, n := range []int{1, 100, 5000, 20_000, 70_000, 300_000, 10} {
				if err := echoSpoiled(t.Context(), b, broker.FlagFinal, noise(k+i, n)); err != nil {
					t.Errorf("%d bytes: %v", n, err)
				}
				if err := b.Sync(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := cb.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-sb.Done()
	if !errors.Is(sb.Err(), broker.ErrPeerClosed) {
		t.Error(sb.Err())
	}
}

// TestSealedCut: a connection that is cut at any byte of its ciphertext ends on both sides, and is
// nobody's broken rule.
func TestSealedCut(t *testing.T) {
	step := 1
	switch {
	case testing.Short():
		step = 23
	case raceEnabled:
		step = 7
	}
	for _, cutThere := range []bool{true, false} {
		for cut := 0; cut < 500; cut += step {
			var left atomic.Int64
			left.Store(1 << 40)
			c, s := overRelay(t, func(there bool, p []byte, to net.Conn) error {
				k := int64(len(p))
				if there == cutThere {
					if k = min(k, left.Load()); left.Add(-int64(len(p))) < 0 {
						_, _ = to.Write(p[:k])
						return io.ErrClosedPipe
					}
				}
				_, err := to.Write(p)
				return err
			})
			left.Store(int64(cut))
			both := broker.Config{Root: echo()}
			cb, sb := pair(t, c, s, both, both)
			for i := range 20 {
				q := ask(i)
				if cb.Ask(t.Context(),
					&broker.Header{Export: 1, Method: "echo", Call: &q.call}, q) != nil {
					break
				}
				if v, err := q.wait(t); err == nil && v != int64(i) {
					t.Fatalf("%v instead of %v", v, i)
				}
			}
			<-cb.Done()
			<-sb.Done()
			for _, b := range []*broker.Broker{cb, sb} {
				if _, ok := errors.AsType[*broker.ProtocolError](b.Err()); ok {
					t.Fatalf("cut after %d bytes: %v", cut, b.Err())
				}
			}
		}
	}
}

// TestSealedChanged: a record that is not the peer's ends the connection, and the peer is told by
// TLS's alert.
func TestSealedChanged(t *testing.T) {
	c, s := tcp(t)
	tc, ts := shaken(t, c, broker.UnderTLS(s))
	deadline(t, c)
	w, b := against(t, tc, ts, broker.Config{Root: echo()})
	w.mute = true
	w.greet()
	w.say(callOf(t, 1, broker.FlagFinal, "echo", 1))
	w.returned(1)
	_, _ = c.Write(append([]byte{23, 3, 3, 0, 30}, make([]byte, 30)...))
	if _, err := io.Copy(io.Discard, tc); err == nil ||
		!strings.Contains(err.Error(), "remote error: tls: bad record MAC") {
		t.Error("the peer is told: ", err)
	}
	<-b.Done()
	if !errors.Is(b.Err(), broker.ErrPeerClosed) ||
		!strings.Contains(b.Err().Error(), "bad record MAC") {
		t.Error(b.Err())
	}
}

// TestSealedStall: a record that was begun must go on.
func TestSealedStall(t *testing.T) {
	for _, size := range []int{1, 4, 5, 6, 30} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			c, s := tcp(t)
			tc, ts := shaken(t, c, broker.UnderTLS(s))
			deadline(t, c)
			w, b := against(t, tc, ts, broker.Config{Root: echo(),
				Limits: broker.Limits{FrameStall: 20 * time.Millisecond, Keepalive: -1}})
			w.greet()
			for q := range 3 { // quiet in between, which is no stall
				w.say(callOf(t, q+1, broker.FlagFinal, "echo", q))
				if v, failure := w.returned(q + 1); num(v) != int64(q) {
					t.Fatal(v, failure)
				}
				<-time.NewTimer(30 * time.Millisecond).C
			}
			head := []byte{23, 3, 3, 1, 0}
			_, _ = c.Write(append(head, make([]byte, 100)...)[:size])
			_, _ = io.Copy(io.Discard, tc) // to the end, and then the broker need not wait for it
			_ = c.Close()
			broken(t, b)
			if !strings.Contains(b.Err().Error(), "stood still") {
				t.Error(b.Err())
			}
		})
	}
}

// TestSealedUnread: a peer that takes nothing is a slow reader.
func TestSealedUnread(t *testing.T) {
	for name, size := range map[string]int{"long": 3 << 20, "short": 60 << 10} {
		t.Run(name, func(t *testing.T) {
			c, s := overMemory(t)
			o := &methods{
				concurrent: true,
				m: map[string]method{
					"get": func(in *broker.Incoming, _ []any) {
						in.Return(value(make([]byte, size)))
					},
				},
			}
			w, b := against(t, c, s,
				broker.Config{Root: o, Limits: broker.Limits{WriteStall: 100 * time.Millisecond}})
			w.greet()
			w.write(frameOf(frameWindow, 0, 1, 1<<30))
			for q := range 400 {
				w.say(callOf(t, q+1, broker.FlagFinal, "get"))
			}
			<-b.Done()
			if !errors.Is(b.Err(), broker.ErrSlowReader) {
				t.Error(b.Err())
			}
		})
	}
}

// TestSealedEnd: the peer hears why a connection ends, and TLS's own end behind it.
func TestSealedEnd(t *testing.T) {
	end := func(t *testing.T, w *wire) {
		t.Helper()
		// without close_notify it would be another than io.EOF
		if _, err := io.Copy(io.Discard, w.conn); err != nil {
			t.Errorf("at the end: %v", err)
		}
	}
	begin := func(t *testing.T) (*wire, *broker.Broker) {
		t.Helper()
		c, s := overMemory(t)
		deadline(t, c)
		w, b := against(t, c, s, broker.Config{Root: echo()})
		w.greet()
		w.mute = true // what lies unread in a socket that is closed would take away what was sent
		w.say(callOf(t, 1, broker.FlagFinal, "echo", 1))
		w.returned(1)
		return w, b
	}
	t.Run("abort", func(t *testing.T) {
		w, _ := begin(t)
		w.say(messageOf(t, 99, 0), make([]byte, 50_000)) // what comes behind it lies unread
		for last := false; !last; {
			m, err := w.hear()
			if err != nil {
				t.Fatal("no ABORT: ", err)
			}
			last = num(m[0]) == 13
		}
		end(t, w)
	})
	t.Run("shutdown", func(t *testing.T) {
		w, b := begin(t)
		ended := make(chan error, 1)
		go func() { ended <- b.Shutdown(t.Context()) }() // ends when the peer has answered
		for said := false; ; {
			m, err := w.hear()
			if err != nil {
				break
			}
			if num(m[0]) == 10 && !said {
				said = true
				w.say(messageOf(t, 11, 0, m[2]))
			}
		}
		end(t, w)
		_ = w.conn.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Run("close", func(t *testing.T) {
		w, b := begin(t)
		_ = b.Close()
		end(t, w)
	})
	t.Run("the peer's close_notify", func(t *testing.T) {
		w, b := begin(t)
		w.say(messageOf(t, 13, 0, "so it is")) // in one read with what follows, perhaps
		_ = w.conn.(*tls.Conn).CloseWrite()
		<-b.Done()
		if _, ok := errors.AsType[*broker.AbortError](b.Err()); !ok {
			t.Error(b.Err())
		}
	})
}

// lateConn keeps back what is written from its second write on, until let go.
type lateConn struct {
	net.Conn
	writes int
	held   []byte
	let    bool
}

func (c *lateConn) Write(p []byte) (int, error) {
	if c.writes++; c.writes < 2 {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	if c.let {
		_, err := c.Conn.Write(c.held)
		c.held = nil
		return len(p), err
	}
	return len(p), nil
}

// TestSealedFirstFlight: what the handshake has read too far is not lost.
func TestSealedFirstFlight(t *testing.T) {
	client, server := tlsConfigs(t)
	c, s := tcp(t)
	deadline(t, c, s)
	late := &lateConn{Conn: c}
	tc, ts := tls.Client(late, client), tls.Server(broker.UnderTLS(s), server)
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { err = ts.HandshakeContext(t.Context()) })
	if err := tc.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, conn: tc}
	hello := prefaceOf(t, map[string]any{"version": 1})
	late.let = true
	w.write(bytes.Join([][]byte{hello, frameOf(frameWindow, flagSYN, 1, 0),
		inFrame(callOf(t, 1, broker.FlagFinal, "echo", 7))}, nil))
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(ts, broker.Config{Errors: plainErrors{}, Root: echo()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close() //nolint:errcheck // the test is over
	if v, failure := w.returned(1); num(v) != 7 {
		t.Error(v, failure)
	}
}

// TestUnderTLSUnused: where the broker cannot take the socket it reads and writes.
func TestUnderTLSUnused(t *testing.T) {
	client, server := tlsConfigs(t)
	client.MinVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	server.MinVersion = tls.VersionTLS12
	for name, hands := range map[string]bool{"TLS 1.2": true, "before the handshake": false} {
		t.Run(name, func(t *testing.T) {
			c, s := tcp(t)
			tc, ts := tls.Client(broker.UnderTLS(c), client), tls.Server(broker.UnderTLS(s), server)
			if hands {
				var wg sync.WaitGroup
				wg.Go(func() { _ = ts.HandshakeContext(t.Context()) })
				if err := tc.HandshakeContext(t.Context()); err != nil {
					t.Fatal(err)
				}
				wg.Wait()
			}
			cb, _ := pair(t, tc, ts, broker.Config{}, broker.Config{Root: spoiler(false)})
			for _, n := range []int{1, 200_000} {
				if err := echoSpoiled(t.Context(), cb, broker.FlagFinal, noise(n, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	c, _ := net.Pipe()
	if broker.UnderTLS(c) != c {
		t.Error("a pipe is not returned as it is")
	}
}

// TestSealedTiny: many small messages both ways at once.
func TestSealedTiny(t *testing.T) {
	c, s := overMemory(t)
	both := broker.Config{Root: echo()}
	cb, sb := pair(t, c, s, both, both)
	var wg sync.WaitGroup
	for k := range 8 {
		b := []*broker.Broker{cb, sb}[k%2]
		wg.Go(func() {
			for i := range int64(2500) {
				q := ask(i)
				if err := q.alone(t.Context(), b, "echo"); err != nil {
					t.Error(err)
					return
				}
				if v, err := q.wait(t); v != i || err != nil {
					t.Errorf("%v, %v instead of %d", v, err, i)
					return
				}
			}
		})
	}
	wg.Wait()
}

// rekeyer speaks TLS 1.3 as a client that changes its keys, which crypto/tls never does by itself.
// What it reads is crypto/tls' business, what it writes is made here.
type rekeyer struct {
	net.Conn           // the socket
	tls      *tls.Conn // over it
	mu       sync.Mutex
	secret   []byte
	seq      uint64
}

// rekeying makes the handshake; the other end is for a broker.
func rekeying(t *testing.T, c, s net.Conn) (*rekeyer, net.Conn) {
	t.Helper()
	client, server := tlsConfigs(t)
	var log bytes.Buffer
	client.KeyLogWriter = &log
	r := &rekeyer{Conn: c, tls: tls.Client(c, client)}
	ts := tls.Server(broker.UnderTLS(s), server)
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { err = ts.HandshakeContext(t.Context()) })
	cerr := r.tls.HandshakeContext(t.Context())
	wg.Wait()
	if err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
	if suite := r.tls.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skip("another cipher suite: ", tls.CipherSuiteName(suite))
	}
	for line := range strings.Lines(log.String()) {
		if f := strings.Fields(line); f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			if r.secret, err = hex.DecodeString(f[2]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r, ts
}

func (r *rekeyer) Read(p []byte) (int, error) { return r.tls.Read(p) }

// Write writes one record of application data.
func (r *rekeyer) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.Conn.Write(r.record(23, p))
	return len(p), err
}

// rekey writes n KeyUpdates in records of their own. The peer is to change its keys too if both
// says so.
func (r *rekeyer) rekey(n int, both bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []byte
	for range n {
		message := []byte{24, 0, 0, 1, 0}
		if both {
			message[4] = 1
		}
		all = append(all, r.record(22, message)...)
		r.secret, r.seq = r.expand("traffic upd", 32), 0
	}
	_, _ = r.Conn.Write(all)
}

// record is RFC 8446, section 5.2. Needs mu.
func (r *rekeyer) record(kind byte, p []byte) []byte {
	block, err := aes.NewCipher(r.expand("key", 16))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	nonce := r.expand("iv", 12)
	for i, b := range binary.BigEndian.AppendUint64(nil, r.seq) {
		nonce[4+i] ^= b
	}
	r.seq++
	head := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(p)+1+aead.Overhead()))
	return aead.Seal(head, nonce, append(bytes.Clone(p), kind), head)
}

// expand is HKDF-Expand-Label of RFC 8446, section 7.1.
func (r *rekeyer) expand(label string, size int) []byte {
	label = "tls13 " + label
	info := append([]byte{0, byte(size), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, r.secret, string(append(info, 0)), size)
	if err != nil {
		panic(err)
	}
	return out
}

// TestKeyUpdates: a peer may change its keys, and ask for others, while both sides send.
func TestKeyUpdates(t *testing.T) {
	c, s := tcp(t)
	r, conn := rekeying(t, c, s)
	deadline(t, c)
	w, b := against(t, r, conn, broker.Config{Root: spoiler(true)})
	w.greet()
	const calls = 200
	// crypto/tls takes no more than 16 KeyUpdates without data between
	room := make(chan struct{}, 8)
	go func() { // ends when all is taken, or with the connection
		for q := range calls {
			room <- struct{}{}
			r.rekey(q%3, q%2 == 0)
			w.say(callOf(t, q+1, broker.FlagFinal, "echo", noise(q, q*50)))
		}
	}()
	for q := range calls {
		v, failure := w.returned(q + 1)
		if p, _ := v.([]any); len(p) != 1 || !bytes.Equal(p[0].([]byte), noise(q, q*50)) {
			t.Fatal(q, failure, b.Err())
		}
		<-room
	}
}

// TestKeyUpdateIsAnswered: the answer leaves though nothing else does.
func TestKeyUpdateIsAnswered(t *testing.T) {
	c, s := tcp(t)
	r, conn := rekeying(t, c, s)
	deadline(t, c)
	w, _ := against(t, r, conn, broker.Config{Root: echo(), Limits: broker.Limits{Keepalive: -1}})
	w.greet()
	w.say(callOf(t, 1, broker.FlagFinal, "echo", 1))
	w.returned(1)
	r.rekey(1, true)
	var answer [5 + 5 + 1 + 16]byte // head, KeyUpdate, type, tag
	if _, err := io.ReadFull(c, answer[:]); err != nil || answer[0] != 23 ||
		answer[4] != byte(len(answer)-5) {
		t.Error(answer, err)
	}
}

// TestKeyUpdatesUnread: answers to KeyUpdates that the peer does not take end the connection when
// they are over Limits.Queued.
func TestKeyUpdatesUnread(t *testing.T) {
	// Not over TCP: one that makes its window smaller than it was does not take acknowledgments any
	// more.
	c, s := sockets(t, "unix", filepath.Join(t.TempDir(), "s"))
	_ = s.(*net.UnixConn).SetWriteBuffer(4 << 10)
	r, conn := rekeying(t, c, s)
	deadline(t, c)
	w, b := against(t, r, conn, broker.Config{Root: echo(), Limits: broker.Limits{
		Queued: 50_000, Keepalive: -1, WriteStall: 1000 * time.Hour, FrameStall: 1000 * time.Hour}})
	w.greet()
	w.write(frameOf(frameData, 0, 1, 60_004), binary.BigEndian.AppendUint32(nil, 60_000))
	for i := 0; b.Err() == nil && i < 60_000; i++ {
		r.rekey(16, true)
		w.write([]byte{0}) // crypto/tls wants something between
	}
	_ = c.Close() // what did not end the connection by now fails below
	<-b.Done()
	if !errors.Is(b.Err(), broker.ErrSlowReader) {
		t.Error(b.Err())
	}
}

// TestSealedIdle: a connection over TLS that does nothing holds no buffer of the broker's.
// crypto/tls keeps the memory of one record and what belongs to the handshake.
func TestSealedIdle(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own memory counts")
	}
	if testing.Short() {
		t.Skip("makes 300 connections to measure what they hold")
	}
	const n, most = 50, 36 << 10
	heap := func() int {
		var m runtime.MemStats
		for range 3 { // pools are emptied by the second
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	each := func(conns func(testing.TB) (net.Conn, net.Conn), sizes ...int) int {
		before := heap()
		for range n {
			c, s := conns(t)
			cb, sb := pair(t, c, s, broker.Config{Root: spoiler(false)},
				broker.Config{Root: spoiler(false)})
			for _, size := range sizes {
				if err := echoSpoiled(t.Context(), cb, broker.FlagFinal,
					noise(1, size)); err != nil {
					t.Fatal(err)
				}
			}
			if err := sb.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return (heap() - before) / (2 * n)
	}
	for _, sizes := range [][]int{{100}, {100, 100_000}} {
		plain, sealed := each(tcp, sizes...), each(overMemory, sizes...)
		t.Logf("after calls of %d bytes: %d bytes an end over TCP, %d over TLS, %d where TLS is "+
			"read and written", sizes, plain, sealed, each(overTLS, sizes...))
		if sealed-plain > most {
			t.Errorf("%d bytes more than over TCP, want at most %d", sealed-plain, most)
		}
	}
}
