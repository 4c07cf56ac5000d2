package pbtest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"perspective/pb"
)

// patience is how long a check waits for what ends by itself.
const patience = 5 * time.Second

// rounds is how often Empty asks the collector for references.
const rounds = 100

// Empty fails the test if one of the connections holds something that ought to
// be gone when a test is over: calls without an answer, answers kept for
// pipelining, objects lent or held, byte streams, methods that run. References
// that nobody has any more are collected first, so it takes a while. Give both
// ends, for each waits for the other.
func Empty(t testing.TB, conns ...*pb.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range rounds {
		runtime.GC() // references are let go of by cleanups, a moment later
		runtime.Gosched()
		for range 2 { // what one end lets go of, the other learns of by its Sync
			for _, c := range conns {
				_ = c.Sync(ctx) // an error: it has ended, and holds nothing
			}
		}
		if held(conns) == "" {
			return
		}
	}
	t.Errorf("connections still hold something at the end:\n%s", held(conns))
}

// held lists what conns hold, "" if nothing.
func held(conns []*pb.Conn) string {
	var b strings.Builder
	for i, c := range conns {
		s := c.Stats()
		s.Sent, s.Received, s.Queued = 0, 0, 0
		if s == (pb.Stats{}) {
			continue
		}
		fmt.Fprintf(&b,
			"  connection %d (peer %s): asked %d, unanswered %d, kept %d, exports %d, imports "+
				"%d, streams %d, methods %d\n",
			i, c, s.Asked, s.Unanswered, s.Kept, s.Exports, s.Imports, s.Streams, s.Handlers)
	}
	return b.String()
}

// NoLeaks fails the test if goroutines that were started after NoLeaks was
// called are there at its end. Call it first and once in a test, for the end is
// when everything that the test registered with t.Cleanup later has been done,
// and what was made before may start goroutines at any time. Inside a bubble
// of testing/synctest the bubble's goroutines are looked at, otherwise all of
// the process: not for tests that run in parallel then.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := goroutines()
	t.Cleanup(func() {
		t.Helper()
		// A goroutine that has done its work takes a moment to be gone.
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		end := time.Now().Add(patience)
		left := started(before)
		for len(left) > 0 && time.Now().Before(end) {
			<-tick.C
			left = started(before)
		}
		for _, stack := range left {
			t.Errorf("goroutine left at the end:\n%s", stack)
		}
	})
}

// started gives the stacks of goroutines that were not there before.
func started(before map[string]string) []string {
	var left []string
	for id, stack := range goroutines() {
		if before[id] == "" && !strings.Contains(stack, "runtime.runFinalizers") &&
			!strings.Contains(stack, "runtime.runCleanups") {
			left = append(left, stack)
		}
	}
	return left
}

// goroutines gives the stacks of the other goroutines, of this bubble or of the
// process, by their number.
func goroutines() map[string]string {
	buf := make([]byte, 64<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	stacks := strings.Split(string(buf), "\n\n")
	bubble := bubbleOf(stacks[0]) // the calling goroutine comes first
	all := make(map[string]string)
	for _, s := range stacks[1:] {
		if bubble == "" || bubbleOf(s) == bubble {
			all[strings.Fields(s)[1]] = s
		}
	}
	return all
}

// bubbleOf is the bubble that a stack's first line names, as in
//
//	goroutine 12 [chan receive, synctest bubble 11]:
func bubbleOf(stack string) string {
	head, _, _ := strings.Cut(stack, "\n")
	_, bubble, _ := strings.Cut(head, "synctest bubble ")
	return strings.TrimRight(bubble, "]:")
}
