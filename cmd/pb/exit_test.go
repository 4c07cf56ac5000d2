package main

import (
	"bytes"
	"net"
	"testing"

	"perspective/pb"
)

// A call that waits to be written, when a peer shows that it speaks something else, was not sent.
func TestCallThatWasAboutToBeWritten(t *testing.T) {
	near, far := net.Pipe() // a write waits until all of it is read
	s := &session{node: new(pb.Node)}
	defer s.close()
	var err error
	if s.conn, err = s.node.Attach(t.Context(), near, pb.Dialer); err != nil {
		t.Fatal(err)
	}
	// so the first write is under way, and stays so
	if _, err := far.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	before := s.sent()
	d := pb.Call[int](t.Context(), s.conn.Root(), "add")
	if s.sent() != before+1 {
		t.Fatal("the call is not under way")
	}
	if _, err := far.Write(bytes.Repeat([]byte("HTTP/1.1 400 "), 2)); err != nil {
		t.Fatal(err)
	}
	_, err = d.Wait(t.Context())
	if outcome := pb.OutcomeOf(err); outcome != pb.NotExecuted {
		t.Errorf("the outcome is %v, want %v: %v", outcome, pb.NotExecuted, err)
	}
	if code := codeOf(s.called(err, before)); code != exitNotSent {
		t.Errorf("exit code %d, want %d: %v", code, exitNotSent, err)
	}
}
