//go:build unix

package link

import "syscall"

// readBox reads ciphertext as soon as there is some. Until then it keeps no buffer.
func (r *rawReader) readBox(fd uintptr) bool {
	c := r.sealed
	if c.box == nil {
		c.box = readBuffers.Get().(*[readBufferMax]byte)[:]
	}
	for {
		r.n, r.err = r.now(fd, c.box)
		switch r.err {
		case syscall.EINTR: //nolint:errorlint // a system call gives bare numbers
			continue
		case syscall.EAGAIN:
			c.giveBox()
			if r.s.n == 0 && r.s.buf != nil {
				r.s.giveBuffer()
			}
			return false
		}
		return true
	}
}

// open reads plaintext into p; nil: the buffer of the in that r was made for. A record that was
// begun must go on within Limits.FrameStall, as a frame must.
func (r *rawReader) open(p []byte) (int, error) {
	c, s := r.sealed, r.s
	for again := false; ; again = true {
		if c.more {
			to := p
			if to == nil {
				if s.buf == nil {
					s.borrow()
				}
				to = s.free()
			}
			n, err := c.open(to)
			if owed := c.owed(); owed > 0 {
				s.l.out.owe(owed)
			}
			if n > 0 || err != nil || s.l.over.Load() {
				return n, err
			}
		}
		// fill looks after a frame the first time
		begun := c.under.record.inside() || again && (s.left > 0 || s.n > s.i)
		if begun {
			s.armStall()
		}
		err := r.conn.Read(r.fn)
		if begun {
			s.stall.Stop()
		}
		switch {
		case err != nil:
			return 0, err
		case r.err != nil:
			return 0, r.err
		}
		c.got, c.eof, c.more = c.box[:r.n], r.n == 0, true
	}
}

// holds reports whether something was read that is not in the buffer of the in.
func (r *rawReader) holds() bool { return r.sealed != nil && r.sealed.more }

// trySealed seals b and writes what the socket takes at once. n is what is sealed of b.
func (r *rawWriter) trySealed(b []byte) (n int, all bool, err error) {
	for {
		k := min(len(b)-n, sealMax)
		if all, err = r.sealAndTry(b[n : n+k]); err != nil {
			return n, false, err
		}
		if n += k; !all || n == len(b) {
			return n, all, nil
		}
	}
}

// sealAndTry is trySealed for at most sealMax.
func (r *rawWriter) sealAndTry(b []byte) (all bool, err error) {
	r.sealed.try(true)
	defer r.sealed.try(false)
	if err := r.sealed.seal(b); err != nil {
		return false, err
	}
	if len(r.sealed.left) == 0 {
		return true, nil // another goroutine has written what was owed
	}
	n, err := r.tryPlain(r.sealed.left)
	return r.sealed.wrote(n), err
}

// tryVecSealed is tryVec. What is lent is copied: sealing waits for nobody either, but would hold
// out.mu longer.
func (r *rawWriter) tryVecSealed() (done bool, err error) {
	own := sealBuffers.Get().(*[sealSize]byte)
	defer sealBuffers.Put(own)
	for {
		k := r.o.copyVec(own[:sealMax])
		if k == 0 {
			return true, nil
		}
		if all, err := r.sealAndTry(own[:k]); !all || err != nil {
			return false, err
		}
	}
}

// seals reports whether what is written is sealed before.
func (r *rawWriter) seals() bool { return r.sealed != nil }

// holds reports whether something is sealed that the socket has not taken. It is for the writer.
func (r *rawWriter) holds() bool { return r != nil && r.sealed != nil && len(r.sealed.left) > 0 }
