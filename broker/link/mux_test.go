package link

import (
	"io"
	"log/slog"
	"runtime"
	"testing"
)

// The reader lets the session's receiver go first when that is behind: what comes faster than it is
// sorted does not heap up, and does not keep others from the processor.
func TestReaderWaitsForTheSession(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that only one of them goes
	l := &Link{log: slog.New(slog.DiscardHandler)}
	l.limits = Limits{Streams: UsualStreams, StreamBytes: UsualStreams * StreamWindow}
	s := &l.streams
	s.init(l)
	s.mux = &muxConn{s: s}
	s.mux.more.L = &s.mux.mu
	ended := make(chan struct{})
	go func() { // ends with the mux
		defer close(ended)
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{s.mux})
	}()
	const frames, size = 512, 16 << 10
	most := 0
	for range frames {
		s.part = appendHeader(s.part[:0], header{kind: frameData, stream: 2, length: size})
		s.left = size
		if err := s.payload(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		s.mux.mu.Lock()
		most = max(most, len(s.mux.buf)-s.mux.i)
		s.mux.mu.Unlock()
	}
	s.mux.shut(nil)
	<-ended
	if most > muxLag+8*size {
		t.Errorf("%d of %d bytes waited at once, want about %d", most, frames*size, muxLag)
	}
}
