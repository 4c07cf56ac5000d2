package pb_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// The transcripts are what both sides of whole sessions write, byte for byte: whatever is
// rearranged inside, a peer of yesterday sees no difference. The sessions are played in a bubble,
// whose clock is its own, and in lockstep: what one side has written is given to the other when
// nothing moves any more, so each step has one outcome. TestVectors compares with the
// specification; this compares with yesterday, and also what the specification leaves open: which
// frames carry what, when a window is given, what leaves together. The flag -update writes the
// files anew.
//
// A line is a frame, a message or the rest of one. {61*1000} stands for 1000 times the byte 61.
var transcripts = []struct {
	file     string
	sessions []transcriptSession
}{
	{"testdata/native.transcript", []transcriptSession{
		{"a whole session", transcriptCalls},
		{"credit", transcriptCredit},
		{"long messages", transcriptLong},
		{"over the budget", transcriptBudget},
		{"the dialer breaks a rule", transcriptBrokenByDialer},
		{"the acceptor breaks a rule", transcriptBrokenByAcceptor},
		{"the dialer ends it", transcriptShutdown},
	}},
	{"testdata/streams.transcript", []transcriptSession{
		{"byte streams of an acceptor that is called", transcriptStreamsOfCallee},
		{"byte streams of a dialer that calls", transcriptStreamsOfCaller},
	}},
}

type transcriptSession struct {
	name string
	play func(*transcript)
}

// transcriptVariable is set in a process that plays one transcript and nothing else.
const transcriptVariable = "PB_TEST_TRANSCRIPT"

// TestTranscript plays the sessions without byte streams.
func TestTranscript(t *testing.T) { playTranscript(t, 0) }

// TestTranscriptStreams plays those with them, in a process of its own: yamux keeps timers in a
// pool of the process, and one that was made outside of the bubble is of no use inside.
func TestTranscriptStreams(t *testing.T) {
	if os.Getenv(transcriptVariable) == "streams" {
		playTranscript(t, 1)
		return
	}
	update := "-update=" + flag.Lookup("update").Value.String()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTranscriptStreams$",
		"-test.count=1", "-test.timeout=1m", update)
	cmd.Env = append(os.Environ(), transcriptVariable+"=streams",
		fmt.Sprintf("GOMAXPROCS=%d", runtime.GOMAXPROCS(0)))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func playTranscript(t *testing.T, i int) {
	var text strings.Builder
	text.WriteString(
		"# Written by go test ./pb -run TestTranscript -update; see pb/transcript_test.go.\n")
	synctest.Test(t, func(t *testing.T) {
		pbtest.NoLeaks(t)
		for _, session := range transcripts[i].sessions {
			fmt.Fprintf(&text, "\n## %s\n", session.name)
			s := &transcript{T: t, text: &text}
			session.play(s)
			s.end()
		}
	})
	file := transcripts[i].file
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; -update makes it", err)
	}
	compareTranscripts(t, file, text.String(), string(want))
}

// compareTranscripts tells the step in which two texts begin to differ.
func compareTranscripts(t *testing.T, file, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n\n"), strings.Split(want, "\n\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			t.Fatalf("what the sides write is not what %s has, first in step %d:\n--- "+
				"got\n%s\n--- want\n%s", file, i, a, b)
		}
	}
}

// A transcript is a session under way: two nodes, each at the end of a wire whose other end the
// test holds.
type transcript struct {
	*testing.T
	text  *strings.Builder
	sides [2]transcriptSide // dialer, acceptor
	nodes []*pb.Node
	kept  []any // what the collector must not take before the end
}

type transcriptSide struct {
	name   string
	conn   *pb.Conn // nil: the test itself writes
	wire   *pbtest.Wire
	far    net.Conn // the test's end of the wire
	taken  int      // bytes that were given on
	step   []byte   // of these, in this step
	closed bool
	cut    transcriptCutter
}

// begin connects two nodes; nil stands for a side that the test plays by write.
func (s *transcript) begin(dialer, acceptor *pb.Node) (d, a *pb.Conn) {
	s.Helper()
	for i, n := range []*pb.Node{dialer, acceptor} {
		side := &s.sides[i]
		side.name, side.wire = [2]string{"dialer", "acceptor"}[i], pbtest.NewWire()
		var near net.Conn
		near, side.far = side.wire.Ends()
		if n == nil {
			continue
		}
		var err error
		if side.conn, err = n.Attach(s.Context(), near,
			[2]pb.Side{pb.Dialer, pb.Acceptor}[i]); err != nil {
			s.Fatal(err)
		}
		s.nodes = append(s.nodes, n)
	}
	s.step("the prefaces")
	return s.sides[0].conn, s.sides[1].conn
}

// end closes what is open.
func (s *transcript) end() {
	for _, n := range s.nodes {
		_ = n.Close()
	}
	runtime.KeepAlive(s.kept)
}

// step is a step: what is called leaves, in order, and both sides come to rest.
func (s *transcript) step(what string, calls ...func()) {
	s.Helper()
	s.play(what, false, calls)
}

// stepByStream is step where a byte stream ends. STOP is a message and FIN a frame of another
// stream, and yamux writes on a goroutine of its own, so either may be first: what a side writes
// stands stream by stream.
func (s *transcript) stepByStream(what string, calls ...func()) {
	s.Helper()
	s.play(what, true, calls)
}

func (s *transcript) play(what string, byStream bool, calls []func()) {
	s.Helper()
	fmt.Fprintf(s.text, "\n# %s\n", what)
	for _, f := range calls {
		f()
		synctest.Wait()
	}
	s.settle()
	for i := range s.sides {
		side := &s.sides[i]
		lines := side.cut.lines(side.step)
		if byStream {
			slices.SortStableFunc(lines,
				func(a, b transcriptLine) int { return cmp.Compare(a.stream, b.stream) })
		}
		for i, l := range lines {
			head := fmt.Sprintf("%-8s > ", side.name)
			if i > 0 {
				head = strings.Repeat(" ", len(head))
			}
			writeHex(s.text, head, l.bytes)
		}
		side.step = nil
	}
}

// settle gives on what was written, one side after the other, until there is nothing.
func (s *transcript) settle() {
	for moved := true; moved; {
		moved = false
		for i := range s.sides {
			synctest.Wait()
			moved = s.deliver(i) || moved
		}
	}
}

// deliver gives what side i has written to the other one.
func (s *transcript) deliver(i int) bool {
	side, other := &s.sides[i], &s.sides[1-i]
	if side.conn == nil {
		return false
	}
	written, _ := side.wire.Written()
	p := make([]byte, written-side.taken)
	if _, err := io.ReadFull(side.far, p); err != nil {
		s.Fatalf("the %s's bytes: %v", side.name, err)
	}
	side.taken = written
	side.step = append(side.step, p...)
	if other.conn != nil && len(p) > 0 {
		_, _ = other.far.Write(p) // an error: it has closed
	}
	select {
	case <-side.conn.Done():
		if !side.closed {
			side.closed = true
			_ = other.far.Close()
			return true
		}
	default:
	}
	return len(p) > 0
}

// write is what a side that the test plays writes.
func (s *transcript) write(i int, p []byte) func() {
	return func() {
		s.sides[i].step = append(s.sides[i].step, p...)
		if _, err := s.sides[1-i].far.Write(p); err != nil {
			s.Fatal(err)
		}
	}
}

// pass has time pass on both sides.
func (s *transcript) pass(d time.Duration) func() { return func() { time.Sleep(d) } }

// call makes a call and gives its Deferred, which the collector does not take.
func (s *transcript) call(
	ctx context.Context, on pb.Target, method string, args ...any,
) *pb.Deferred[any] {
	d := pb.Call[any](ctx, on, method, args...)
	s.kept = append(s.kept, d)
	return d
}

// calls is call as a part of a step.
func (s *transcript) calls(on pb.Target, method string, args ...any) func() {
	return func() { s.call(context.Background(), on, method, args...) }
}

// does makes a call whose caller waits, as a part of a step.
func (s *transcript) does(on pb.Target, method string, args ...any) func() {
	return func() {
		//nolint:errcheck // the transcript has what came; it ends with the answer
		go pb.Do[any](s.Context(), on, method, args...)
	}
}

// got is what a call was answered with, after its step.
func (s *transcript) got(d *pb.Deferred[any]) any {
	s.Helper()
	v, err, ok := d.Result()
	if err != nil || !ok {
		s.Fatalf("a call that is to succeed: %v, answered %v", err, ok)
	}
	s.kept = append(s.kept, v)
	return v
}

// fails compares what a call failed with.
func (s *transcript) fails(d *pb.Deferred[any], want error) {
	s.Helper()
	if _, err, ok := d.Result(); !ok || !errors.Is(err, want) {
		s.Errorf("a call that is to fail: %v, answered %v; want %v", err, ok, want)
	}
}

// A transcriptCutter cuts bytes so that people see what is what: the preface, frames, and the
// messages in them begin lines. It loses none.
type transcriptCutter struct {
	greeted bool
	stream  uint32 // that the frame belongs to
	frame   int    // bytes to come of the frame
	message int    // of the message
}

type transcriptLine struct {
	stream uint32
	bytes  []byte
}

func (c *transcriptCutter) lines(p []byte) (all []transcriptLine) {
	for len(p) > 0 {
		n := c.next(p)
		if n > len(p) || n == 0 {
			n = len(p)
		}
		all = append(all, transcriptLine{c.stream, p[:n]})
		p = p[n:]
	}
	return all
}

// next is how many bytes the next line has.
func (c *transcriptCutter) next(p []byte) int {
	switch {
	case !c.greeted:
		c.greeted = true
		if len(p) < 6 {
			return len(p)
		}
		return 6 + int(binary.BigEndian.Uint16(p[4:]))
	case c.frame == 0 && len(p) < 12:
		return len(p)
	case c.frame == 0:
		c.stream = binary.BigEndian.Uint32(p[4:])
		if p[1] == 0 {
			c.frame = int(binary.BigEndian.Uint32(p[8:]))
			if c.stream != 1 { // a byte stream's: its bytes are one line
				c.message = c.frame
			}
		}
		return 12
	case c.message == 0 && c.frame >= 4 && len(p) >= 4:
		c.message = 4 + int(binary.BigEndian.Uint32(p))
	}
	n := c.frame
	if c.message > 0 {
		n = min(n, c.message)
		c.message -= n
	}
	c.frame -= n
	return n
}

// writeHex writes a line of at most 100 columns, and more of them with what does not fit.
func writeHex(to *strings.Builder, head string, p []byte) {
	width := len(head)
	to.WriteString(head)
	for len(p) > 0 {
		n := 1
		for n < len(p) && p[n] == p[0] {
			n++
		}
		word := fmt.Sprintf("%02x", p[0])
		if n >= 16 {
			word = fmt.Sprintf("{%02x*%d}", p[0], n)
		} else {
			n = 1
		}
		if width += len(word); width > 100 {
			head = strings.Repeat(" ", len(head)+2)
			to.WriteString("\n" + head)
			width = len(head) + len(word)
		}
		to.WriteString(word)
		p = p[n:]
	}
	to.WriteString("\n")
}
