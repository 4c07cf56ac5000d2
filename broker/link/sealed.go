//go:build unix

package link

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// TLS by memory.
//
// crypto/tls runs over memory, so that the broker reads and writes the descriptor
// itself and all that holds of a plain socket holds of TLS: replies are written without
// waiting, methods run on the reader, callers read, and an idle connection has no buffer.
//
//	reader:  descriptor ─▶ got ─▶ cipherConn.Read  ─▶ tls.Conn.Read ─▶ in.buf
//	writer:  out ─▶ tls.Conn.Write ─▶ cipherConn.Write ─▶ waits ─▶ left ─▶ descriptor
//
// The handshake runs over the socket as ever: a cipherConn hands everything on until a
// Broker takes the connection. From then on
//
//  1. Only the holder of the reader's role calls tls.Conn.Read. Where there is no more
//     ciphertext the read ends with errNotYet, which crypto/tls takes for an error that
//     passes: it keeps the part of a record that it has.
//  2. Only the writer of the link calls tls.Conn.Write and writes to the
//     descriptor. Nothing waits in tls.Conn.Write.
//  3. What crypto/tls writes while it reads (the answer to a KeyUpdate, an alert) goes to
//     waits too. The reader sees owes and has it flushed.
//  4. The end of the connection writes what is in waits, close_notify the last, unless
//     something is left: then the peer does not read. It waits for a writer that does not wait.

// UnderTLS gives what tls.Client or tls.Server is to get in the place of nc. A Broker that is
// given the tls.Conn after a handshake of TLS 1.3 uses the socket itself then, as it uses
// a plain one: methods run on the reader, callers read, writes are gathered. Anything but a TCP
// or unix socket is returned as it is, and over such a tls.Conn the Broker only reads and writes.
func UnderTLS(nc net.Conn) net.Conn {
	if descriptor(nc) == nil {
		return nc
	}
	return &cipherConn{Conn: nc}
}

// cipherConn is the socket that a tls.Conn sees.
type cipherConn struct {
	net.Conn

	sealed atomic.Pointer[sealed] // nil: it is the socket
	record record
}

// Read is called by crypto/tls.
func (c *cipherConn) Read(p []byte) (n int, err error) {
	if s := c.sealed.Load(); s != nil {
		n, err = s.give(p)
	} else {
		n, err = c.Conn.Read(p)
	}
	c.record.follow(p[:n])
	return n, err
}

// Write is called by crypto/tls, which holds its lock of what is sent.
func (c *cipherConn) Write(p []byte) (int, error) {
	if s := c.sealed.Load(); s != nil {
		return s.keep(p)
	}
	return c.Conn.Write(p)
}

// Close writes what waits, close_notify for one, as far as the socket takes it at once.
func (c *cipherConn) Close() error {
	if s := c.sealed.Load(); s != nil {
		s.finish()
	}
	return c.Conn.Close()
}

// SetWriteDeadline is called by crypto/tls around close_notify, which nobody waits with.
func (c *cipherConn) SetWriteDeadline(t time.Time) error {
	if c.sealed.Load() != nil {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// record is where in a stream of TLS records a reader is.
type record struct {
	left int     // of the record's body
	head [5]byte // type, version, length
	n    int     // of head
}

// follow takes in what was read.
func (r *record) follow(p []byte) {
	for len(p) > 0 {
		if r.left > 0 {
			k := min(r.left, len(p))
			r.left, p = r.left-k, p[k:]
			continue
		}
		k := copy(r.head[r.n:], p)
		p = p[k:]
		if r.n += k; r.n == len(r.head) {
			r.left, r.n = int(binary.BigEndian.Uint16(r.head[3:])), 0
		}
	}
}

// one is how many of the bytes that come next belong to the record under way, or to the one that
// begins.
func (r *record) one(p []byte) int {
	n := len(r.head) - r.n
	switch {
	case r.left > 0:
		n = r.left
	case r.n == 0 && len(p) >= n:
		n += int(binary.BigEndian.Uint16(p[3:]))
	}
	return min(n, len(p))
}

// inside reports whether a record was begun and not ended.
func (r *record) inside() bool { return r.left > 0 || r.n > 0 }

// errNotYet ends a read of crypto/tls' that finds no more ciphertext.
var errNotYet net.Error = notYetError{}

type notYetError struct{}

func (notYetError) Error() string   { return "broker: no more ciphertext yet" }
func (notYetError) Timeout() bool   { return true }
func (notYetError) Temporary() bool { return true } // crypto/tls asks for it

// sealed is a TLS connection whose ciphertext the broker reads and writes.
type sealed struct {
	tls   *tls.Conn
	under *cipherConn

	// of the holder of the reader's role
	box  []byte // borrowed while there is ciphertext to read
	got  []byte // of box: not given to crypto/tls yet
	eof  bool   // the socket has no more
	more bool   // crypto/tls may have plaintext

	owes atomic.Bool // crypto/tls has written while it read

	mu      sync.Mutex
	idle    sync.Cond // on mu: trying became false
	trying  bool      // the writer seals and writes, without waiting
	waits   []byte    // ciphertext that nobody writes yet; borrowed
	sealing bool      // the writer is inside tls.Conn.Write, and takes waits afterwards
	held    []byte    // the memory of left
	left    []byte    // of the write under way; only the writer changes it
	over    bool      // nothing is written any more
}

const (
	// sealMax is how much is sealed at a time: batchSize and what goes with it.
	sealMax = 68 << 10
	// sealSize has room for the records of that, of which the first ones of a
	// connection are small.
	sealSize = 72 << 10
)

// sealBuffers are lent to writers that have something to write. They are plain memory, so the
// pool may be the process's.
var sealBuffers = sync.Pool{New: func() any { return new([sealSize]byte) }}

// takeSealed gives conn, or a *sealed if it is a TLS connection whose socket the broker can use
// itself.
func takeSealed(conn io.ReadWriteCloser) io.ReadWriteCloser {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return conn
	}
	under, ok := t.NetConn().(*cipherConn)
	if !ok {
		return conn
	}
	if state := t.ConnectionState(); !state.HandshakeComplete || state.Version < tls.VersionTLS13 {
		return conn // until 1.2 a handshake may come again, and it waits
	}
	s := &sealed{tls: t, under: under, more: true} // more: the handshake may have read too far
	s.idle.L = &s.mu
	if !under.sealed.CompareAndSwap(nil, s) {
		return conn
	}
	return s
}

// give is what crypto/tls reads: one record at a time, for it keeps the memory that it needed once.
func (s *sealed) give(p []byte) (int, error) {
	if len(s.got) == 0 {
		if s.eof {
			return 0, io.EOF
		}
		return 0, errNotYet
	}
	n := copy(p, s.got[:s.under.record.one(s.got)])
	s.got = s.got[n:]
	return n, nil
}

// open reads into p as much plaintext as there is. An error comes when there is none before it.
func (s *sealed) open(p []byte) (n int, err error) {
	for n < len(p) {
		k, err := s.tls.Read(p[n:])
		n += k
		if errors.Is(err, errNotYet) {
			s.more = false
			return n, nil
		}
		if err != nil {
			if n > 0 {
				return n, nil // crypto/tls gives err again
			}
			return 0, err
		}
	}
	return n, nil
}

// giveBox ends the loan of the reader's ciphertext buffer.
func (s *sealed) giveBox() {
	readBuffers.Put((*[readBufferMax]byte)(s.box))
	s.box, s.got = nil, nil
}

// keep has p written later.
func (s *sealed) keep(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return 0, net.ErrClosed
	}
	if s.waits == nil && s.sealing { // else a few bytes come
		s.waits = sealBuffers.Get().(*[sealSize]byte)[:0]
	}
	s.waits = append(s.waits, p...)
	if !s.sealing {
		s.owes.Store(true)
	}
	return len(p), nil
}

// owed is how many bytes wait that crypto/tls has written while it read; 0 if the writer knows of
// them.
func (s *sealed) owed() int {
	if !s.owes.Swap(false) {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waits)
}

// seal makes left of b, at most sealMax, and of what waited before it. Only the writer calls it,
// when nothing is left.
func (s *sealed) seal(b []byte) error {
	s.setSealing()
	var err error
	if len(b) > 0 {
		_, err = s.tls.Write(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealing = false
	if err != nil {
		return err // an alert may wait, for finish
	}
	s.held, s.left, s.waits = s.waits, s.waits, nil
	return nil
}

// try says whether the writer seals and writes, without waiting: finish waits for that.
func (s *sealed) try(now bool) {
	s.mu.Lock()
	s.trying = now
	s.idle.Broadcast()
	s.mu.Unlock()
}

func (s *sealed) setSealing() {
	s.mu.Lock()
	s.sealing = true
	s.mu.Unlock()
}

// wrote takes n bytes off left, and reports whether that was all.
func (s *sealed) wrote(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = s.left[n:]
	if len(s.left) > 0 {
		return false
	}
	s.giveHeld()
	s.left = nil
	return true
}

// giveHeld ends the loan of the memory of left. Needs mu.
func (s *sealed) giveHeld() {
	if cap(s.held) == sealSize {
		sealBuffers.Put((*[sealSize]byte)(s.held[:sealSize]))
	}
	s.held = nil
}

// fit puts the little that is left into memory of its size: the peer may be long in taking it.
func (s *sealed) fit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.left) < sealSize/2 && s.held != nil {
		s.left = bytes.Clone(s.left)
		s.giveHeld()
	}
}

// Write seals b and writes it and what is left from before, waiting for the peer. Only the writer
// calls it.
func (s *sealed) Write(b []byte) (n int, err error) {
	for {
		if len(s.left) > 0 {
			s.fit()
			k, err := s.under.Conn.Write(s.left)
			s.wrote(k)
			if err != nil {
				return n, err
			}
		}
		if n == len(b) {
			return n, nil
		}
		k := min(len(b)-n, sealMax)
		if err := s.seal(b[n : n+k]); err != nil {
			return n, err
		}
		n += k
	}
}

// Read reads ciphertext, for the end of the connection, where nobody wants to know what it says.
func (s *sealed) Read(p []byte) (int, error) { return s.under.Conn.Read(p) }

// CloseWrite tells the peer that nothing more comes, by close_notify and by the socket's end. It
// fails if the peer does not read.
func (s *sealed) CloseWrite() error {
	if err := s.tls.CloseWrite(); err != nil {
		return err
	}
	if !s.finish() {
		return errNotYet
	}
	if c, ok := s.under.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// SetReadDeadline sets that of the socket.
func (s *sealed) SetReadDeadline(t time.Time) error { return s.under.Conn.SetReadDeadline(t) }

// LocalAddr is that of the socket.
func (s *sealed) LocalAddr() net.Addr { return s.under.LocalAddr() }

// Close closes the connection; close_notify leaves before, if the peer reads.
func (s *sealed) Close() error { return s.tls.Close() }

// finish writes what waits, as far as the socket takes it at once, and has nothing written any
// more. It is false if not all was written.
func (s *sealed) finish() bool {
	s.mu.Lock()
	for s.trying { // or an alert were lost whenever the peer is quicker than the writer
		s.idle.Wait()
	}
	busy, b := s.sealing || len(s.left) > 0, s.waits
	s.over = true
	if !busy {
		s.waits = nil
	}
	s.mu.Unlock()
	if busy {
		return false
	}
	if len(b) == 0 {
		return true
	}
	wrote := 0
	rc := descriptor(s)
	err := rc.Write(func(fd uintptr) bool {
		if p, ok := rc.(Polled); ok {
			wrote, _ = p.TryWrite([][]byte{b})
		} else {
			wrote, _ = writeNow(fd, b)
		}
		return true
	})
	return err == nil && wrote == len(b)
}
