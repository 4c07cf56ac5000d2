package pollpipe_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"perspective/internal/pollpipe"
)

// TestBytes: what goes in at one end comes out at the other, in order, whoever is slower.
func TestBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pollpipe.New(100)
		r := rand.New(rand.NewPCG(1, 2))
		sent := make([]byte, 10_000)
		for i := range sent {
			sent[i] = byte(r.Uint32())
		}
		go func() { // ends when all is written
			for at := 0; at < len(sent); {
				n, err := a.Write(sent[at:min(len(sent), at+1+r.IntN(300))])
				if err != nil {
					t.Error(err)
				}
				at += n
			}
			_ = a.CloseWrite()
		}()
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
		}
	})
}

// TestTry: what cannot be done at once is not waited for.
func TestTry(t *testing.T) {
	a, b := pollpipe.New(3)
	rc, err := a.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw := rc.(pollpipe.Raw)
	n, err := raw.TryRead([][]byte{make([]byte, 1)})
	if n != -1 ||
		!errors.Is(err, syscall.EAGAIN) {
		t.Errorf("read of nothing: %d, %v", n, err)
	}
	if n, err := raw.TryWrite([][]byte{[]byte("ab"), []byte("cd")}); n != 3 || err != nil {
		t.Errorf("write of 4 bytes into 3: %d, %v", n, err)
	}
	if n, err := raw.TryWrite([][]byte{[]byte("d")}); n != -1 || !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("write where there is no room: %d, %v", n, err)
	}
	_ = b.Close()
	if _, err := raw.TryWrite([][]byte{[]byte("d")}); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write to one that is closed: %v", err)
	}
}

// TestWaits: a wait ends with its deadline, that of this end, and with Close.
func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pollpipe.New(10)
		began := time.Now()
		_ = a.SetReadDeadline(began.Add(time.Second))
		_, err := a.Read(make([]byte, 1))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		_ = a.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Second, func() { _ = a.Close() })
		if _, err = a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read of what is closed meanwhile: %v", err)
		}
		if _, err = b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a read of what the peer has closed: %v", err)
		}
	})
}
