package distrib

import (
	"strings"
	"testing"
)

// The table says of each limit by what it is set.
func TestLimitWords(t *testing.T) {
	for _, test := range []struct {
		report report
		rights Rights
		group  grouped
		want   string
	}{
		{report{seccomp: true, processes: true, memory: true}, Rights{}, grouped{},
			"rlimits processes 512 memory of each 2G descriptors 16K file 1G"},
		{report{seccomp: true, processes: true, memory: true}, Rights{}, grouped{there: true},
			"cgroup, rlimits processes 512 memory of each 2G descriptors 16K file 1G"},
		{report{seccomp: true, processes: true, memory: true}, Rights{}, grouped{true, true, false},
			"cgroup processes 512, rlimits memory of each 2G descriptors 16K file 1G"},
		{report{seccomp: true, processes: true, memory: true}, Rights{Processes: 60},
			grouped{true, true, true},
			"cgroup processes 60 memory 2G, rlimits descriptors 16K file 1G"},
		{report{seccomp: true}, Rights{Memory: 1 << 20}, grouped{true, false, true},
			"cgroup memory 1M, rlimits processes UNLIMITED descriptors 16K file 1G"},
		{report{seccomp: true}, Rights{Memory: Unlimited, Descriptors: Unlimited},
			grouped{true, true, false},
			"cgroup processes 512, rlimits memory of each UNLIMITED descriptors UNLIMITED file 1G"},
		{report{seccomp: true, memory: true}, Rights{UncountedMemory: true},
			grouped{true, true, false},
			"cgroup processes 512, rlimits memory of each 2G uncounted memory UNLIMITED " +
				"descriptors 16K file 1G"},
		{report{seccomp: true, memory: true}, Rights{UncountedMemory: true},
			grouped{true, true, true},
			"cgroup processes 512 memory 2G, rlimits descriptors 16K file 1G"},
		{report{memory: true}, Rights{}, grouped{true, true, false},
			"cgroup processes 512, rlimits memory of each 2G uncounted memory UNLIMITED " +
				"descriptors 16K file 1G"},
	} {
		held := test.report.words(Separation{}, []string{"pid"}, test.rights, test.group)
		if got := strings.TrimPrefix(strings.Join(held[1:], ", "), "seccomp, "); got != test.want {
			t.Errorf("words(%v, %v) = %q, want %q", test.rights, test.group, got, test.want)
		}
	}
}

func TestSeparationMissing(t *testing.T) {
	full := Separation{Mode: ByUser, flags: allFlags(), mounts: true, probed: true, filters: true,
		files: true}
	part := full
	part.flags, part.mounts, part.files = 0, false, false
	for name, test := range map[string]struct {
		sep  Separation
		want string
	}{
		"whole":      {full, ""},
		"unknown":    {Separation{Mode: ByNamespace, flags: allFlags(), mounts: true}, ""},
		"users only": {part, "a root directory of their own, Landlock"},
		"none": {Separation{probed: true},
			"users or namespaces of their own, Landlock, seccomp"},
	} {
		got := strings.Join(test.sep.Missing(), ", ")
		if name == "users only" && allFlags() != 0 {
			test.want = "namespaces of their own, " + test.want
		}
		if got != test.want {
			t.Errorf("%s: Missing() = %q, want %q", name, got, test.want)
		}
	}
}
