package distrib

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLimitsByDefault takes from inside a part what nobody gave it a limit for.
func TestLimitsByDefault(t *testing.T) {
	users := uint32(62500)
	eachSeparation(t, func(t *testing.T, sep Separation) {
		// The kernel counts the processes of a user for a moment after they have ended: no other
		// part may meet these.
		users++
		p := startProcesses(t, sep, func(m *Monitor) { m.Backs[0].UID = users })
		_, back := p.until("ready", func(_, b Description) bool { return b.State == Ready })
		held := strings.Join(back.Held, ", ")
		for _, want := range []string{"rlimits ", "file 1G", "descriptors 16K"} {
			if !strings.Contains(held, want) {
				t.Errorf("the table says %q, want %q in it", held, want)
			}
		}
		for _, what := range []string{"processes", "memory", "shared memory"} {
			if what == "processes" && strings.Contains(held, "processes UNLIMITED") {
				if back.UID != 0 {
					t.Errorf("a part of user %d: %q", back.UID, held)
				}
				continue
			}
			if strings.Contains(what, "memory") && !strings.Contains(held, "memory of each ") {
				continue // a control group counts what is touched, and this is not
			}
			if strings.Contains(what, "memory") &&
				strings.Contains(held, "memory of each UNLIMITED") {
				continue // the race detector takes more before it has begun
			}
			if got := p.order(p.back, "take", what); !strings.HasPrefix(got, "refused: ") {
				t.Errorf("%s without end: %s", what, got)
			}
		}
		for resource, want := range map[int]string{unix.RLIMIT_CORE: "0 0",
			unix.RLIMIT_FSIZE: fmt.Sprintf("%d %[1]d", defaultFileSize)} {
			if got := p.order(p.back, "rlimit", strconv.Itoa(resource)); got != "refused: "+want {
				t.Errorf("limit %d is %q, want %q", resource, got, want)
			}
		}
	})
}

// TestLimitsAsSet gives a part limits of its own, and one that has none.
func TestLimitsAsSet(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		p := startProcesses(t, sep, func(m *Monitor) {
			m.Backs[0].Rights = Rights{Descriptors: 300, FileSize: 1 << 20, Memory: Unlimited}
		})
		_, back := p.until("ready", func(_, b Description) bool { return b.State == Ready })
		held := strings.Join(back.Held, ", ")
		for _, want := range []string{"descriptors 300", "file 1M", "memory of each UNLIMITED"} {
			if !strings.Contains(held, want) {
				t.Errorf("the table says %q, want %q in it", held, want)
			}
		}
		for resource, want := range map[int]string{unix.RLIMIT_NOFILE: "300 300",
			unix.RLIMIT_FSIZE: "1048576 1048576"} {
			if got := p.order(p.back, "rlimit", strconv.Itoa(resource)); got != "refused: "+want {
				t.Errorf("limit %d is %q, want %q", resource, got, want)
			}
		}
		if got := p.order(p.back, "take", "memory"); got != "ok" {
			t.Errorf("memory without a limit: %s", got)
		}
	})
}

// TestUncountedMemory gives a part what it may have only by its own right, and says so in the
// table.
func TestUncountedMemory(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		p := startProcesses(t, sep, func(m *Monitor) { m.Backs[0].Rights.UncountedMemory = true })
		front, back := p.until("ready",
			func(f, b Description) bool { return f.State == Ready && b.State == Ready })
		const word = "uncounted memory UNLIMITED"
		held := strings.Join(back.Held, ", ")
		if byGroup := !strings.Contains(held, "memory of each"); strings.Contains(held,
			word) == byGroup {
			t.Errorf("the table says %q, want %q in it unless a control group bounds memory",
				held, word)
		}
		if held := strings.Join(front.Held, ", "); strings.Contains(held, word) {
			t.Errorf("of the front the table says %q", held)
		}
		for _, what := range []string{"memfd", "shmget", "msgget", "semget", "vmsplice"} {
			if got := p.order(p.back, what); got != "ok" {
				t.Errorf("%s with UncountedMemory: %s", what, got)
			}
			if got := p.order(p.front, what); got != "refused: operation not permitted" {
				t.Errorf("%s without: %s", what, got)
			}
		}
	})
}

func TestShortNumber(t *testing.T) {
	for in, want := range map[uint64]string{
		0:       "0",
		300:     "300",
		1024:    "1K",
		1025:    "1025",
		2 << 30: "2G",
		3 << 40: "3072G",
	} {
		if got := shortNumber(in); got != want {
			t.Errorf("shortNumber(%d) = %s, want %s", in, got, want)
		}
	}
}
