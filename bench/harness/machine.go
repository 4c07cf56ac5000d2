package harness

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Machine is what the benchmark ran on.
type Machine struct {
	Go     string  `json:"go"`
	CPUs   int     `json:"cpus"`
	Memory int64   `json:"memory_bytes"`
	Load   float64 `json:"load_before"` // the load average of one minute, before the run
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %.0f GiB, load average %.2f before the run", m.Go, m.CPUs,
		float64(m.Memory)/(1<<30), m.Load)
}

func thisMachine() Machine {
	m := Machine{Go: runtime.Version(), CPUs: runtime.NumCPU()}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		m.Memory = field(b, "MemTotal:") << 10
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(b), &m.Load) // no figure is no load known: 0
	}
	return m
}

// pinned runs f on a thread that may use only the core; a process that f starts
// inherits that.
func pinned(core int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("harness: this process's cores: %w", err)
	}
	set.Set(nth(&before, core))
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("harness: pin to core %d: %w", core, err)
	}
	err := f()
	if e := unix.SchedSetaffinity(0, &before); err == nil && e != nil {
		return fmt.Errorf("harness: leave core %d: %w", core, e)
	}
	return err
}

// nth gives the i-th core of a set, counted around.
func nth(set *unix.CPUSet, i int) int {
	i %= max(set.Count(), 1)
	for core := 0; ; core++ {
		if set.IsSet(core) {
			if i == 0 {
				return core
			}
			i--
		}
	}
}

// needFiles sees to it that this process may open n files.
func needFiles(n int) error {
	want := uint64(n)
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	if lim.Cur >= want {
		return nil
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE,
		&unix.Rlimit{Cur: want, Max: max(lim.Max, want)}); err != nil {
		return fmt.Errorf("harness: %d open files, of at most %d: %w; run as root or take a "+
			"smaller -idle", n, lim.Max, err)
	}
	return nil
}
