//go:build unix

package distrib

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// idleHeap makes the collector let a heap grow to about twice as many bytes before it runs.
	// Requests leave so little behind that by itself it would run for every few dozen of them.
	idleHeap = 16 << 20
	// roomyMemory is what a process must be allowed to have for that.
	roomyMemory = 16 * idleHeap
)

// ballast is memory that nobody touches: it counts for the collector, and takes no page.
//
//lint:ignore U1000 it is there to be
var ballast []byte

// letHeapGrow has the collector of this process, which a monitor has started, wait for more to do.
// Who says by GOGC or GOMEMLIMIT how it is to run has the last word.
var letHeapGrow = sync.OnceFunc(func() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_DATA, &limit) != nil {
		return
	}
	ballast = make([]byte, ballastFor(limit.Cur, os.Getenv("GOGC"), os.Getenv("GOMEMLIMIT")))
})

// ballastFor returns how much of it there is to be in a process with these settings.
func ballastFor(memory uint64, gogc, gomemlimit string) int {
	if memory < roomyMemory || gogc != "" || gomemlimit != "" {
		return 0
	}
	return idleHeap
}
