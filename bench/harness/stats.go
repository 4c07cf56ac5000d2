package harness

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Stats are what a process has used so far, or between two moments.
type Stats struct {
	CPU        float64 `json:"cpu_us"`      // in user mode and in the kernel
	Kernel     float64 `json:"kernel_us"`   // of that, in the kernel
	Switches   int64   `json:"switches"`    // context switches by its own will
	Reads      int64   `json:"reads"`       // system calls that read
	Writes     int64   `json:"writes"`      // system calls that write
	Allocs     int64   `json:"allocs"`      // allocations
	AllocBytes int64   `json:"alloc_bytes"` // their bytes
	Heap       int64   `json:"heap_bytes"`  // on the heap now
	Stack      int64   `json:"stack_bytes"` // in stacks now
	RSS        int64   `json:"rss_bytes"`   // resident now
	Goroutines int64   `json:"goroutines"`  // now
	GCs        int64   `json:"gc_cycles"`   // collections
}

// readStats reads this process's Stats; collect first runs the collector and
// gives what is free back to the system.
func readStats(collect bool) (*Stats, error) {
	if collect {
		runtime.GC()
		runtime.GC() // the first one runs cleanups and empties pools
		debug.FreeOSMemory()
	}
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		return nil, err
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	io, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return nil, err
	}
	rss, err := resident()
	if err != nil {
		return nil, err
	}
	user, kernel := micros(use.Utime), micros(use.Stime)
	return &Stats{
		CPU:        user + kernel,
		Kernel:     kernel,
		Switches:   use.Nvcsw,
		Reads:      field(io, "syscr:"),
		Writes:     field(io, "syscw:"),
		Allocs:     int64(mem.Mallocs),
		AllocBytes: int64(mem.TotalAlloc),
		Heap:       int64(mem.HeapAlloc),
		Stack:      int64(mem.StackInuse),
		RSS:        rss,
		Goroutines: int64(runtime.NumGoroutine()),
		GCs:        int64(mem.NumGC),
	}, nil
}

// since returns what was used between an earlier reading and this one.
func (s *Stats) since(e *Stats) *Stats { return s.add(e, -1) }

// plus returns what two processes use together.
func (s *Stats) plus(o *Stats) *Stats { return s.add(o, 1) }

func (s *Stats) add(o *Stats, sign int64) *Stats {
	return &Stats{
		CPU:        s.CPU + float64(sign)*o.CPU,
		Kernel:     s.Kernel + float64(sign)*o.Kernel,
		Switches:   s.Switches + sign*o.Switches,
		Reads:      s.Reads + sign*o.Reads,
		Writes:     s.Writes + sign*o.Writes,
		Allocs:     s.Allocs + sign*o.Allocs,
		AllocBytes: s.AllocBytes + sign*o.AllocBytes,
		Heap:       s.Heap + sign*o.Heap,
		Stack:      s.Stack + sign*o.Stack,
		RSS:        s.RSS + sign*o.RSS,
		Goroutines: s.Goroutines + sign*o.Goroutines,
		GCs:        s.GCs + sign*o.GCs,
	}
}

func micros(t unix.Timeval) float64 { return float64(t.Sec)*1e6 + float64(t.Usec) }

// field returns the number behind a name in a file of /proc, 0 if there is none.
func field(file []byte, name string) int64 {
	for line := range strings.Lines(string(file)) {
		if v, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			return n
		}
	}
	return 0
}

func resident() (int64, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		return 0, fmt.Errorf("harness: /proc/self/statm: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}
