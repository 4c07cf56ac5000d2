package distrib

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// TestAwaitRecord waits for data, past what is none, and reads nothing of it.
func TestAwaitRecord(t *testing.T) {
	stream := string(appendRecordHead(nil, recordFlush, 0)) +
		string(appendRecordHead(nil, recordData, 2)) + "ab" + string(appendEnd(nil, nil))
	flushes := 0
	r := &recordReader{src: strings.NewReader(stream), flush: func() { flushes++ }}
	for range 2 {
		if err := r.await(); err != nil || flushes != 1 || r.left != 2 {
			t.Fatalf("await() = %v after %d flushes with %d bytes, want data", err, flushes, r.left)
		}
	}
	b := make([]byte, 8)
	if n, err := r.Read(b); err != nil || string(b[:n]) != "ab" {
		t.Errorf("Read() = %q, %v, want ab", b[:n], err)
	}
	for range 2 {
		if err := r.await(); !errors.Is(err, io.EOF) {
			t.Errorf("await() at the end = %v, want io.EOF", err)
		}
	}
}
