package harness

import (
	"slices"
	"strings"
)

// A workload is one load that is measured, and the figures that come of it.
type workload struct {
	name   string // in the flag -workloads and in Contestant.Skip
	figure string // the figures' name, or what their names begin with
	load   Load
	where  reach
}

// reach says on which networks a workload runs.
type reach int

const (
	onFirst  reach = iota // the first network alone
	onCores               // and the others, but not those with pinned processes
	onPinned              // and those
)

// The loads of one caller give the figures p50 and p99, those of several give
// calls a second; "bulk" gives MB of payload a second, one way.
var workloads = []workload{
	{"lat", "one", Load{Payload: 64}, onPinned},
	{"tput", "at8", Load{Payload: 64, Callers: 8}, onCores},
	{"tput", "at64", Load{Payload: 64, Callers: 64}, onCores},
	{"tput", "at512", Load{Payload: 64, Callers: 512}, onCores},
	{"bulk", "64K", Load{Payload: 64 << 10, Callers: 8}, onFirst},
	{"bulk", "1M", Load{Payload: 1 << 20, Callers: 4}, onFirst},
	{"slow", "slow", Load{Payload: 64, Callers: 64, Pause: 2000}, onFirst},
	{"beside", "besideslow",
		Load{Payload: 64, Beside: &Load{Payload: 64, Callers: 16, Pause: 20000}}, onFirst},
	{"beside", "besidebulk",
		Load{Payload: 64, Beside: &Load{Payload: 1 << 20, Callers: 2}}, onFirst},
}

// What else can be asked for in the flag -workloads.
const (
	wlChain = "chain" // dependent calls over a long link
	wlWire  = "wire"  // bytes a call
	wlIdle  = "idle"  // memory of connections that do nothing
	wlPage  = "page"  // pages of HTTP
)

// allWorkloads lists the names.
func allWorkloads() []string {
	var names []string
	for _, w := range workloads {
		if !slices.Contains(names, w.name) {
			names = append(names, w.name)
		}
	}
	return append(names, wlChain, wlWire, wlIdle, wlPage)
}

// skip gives the contestant's reason to leave the workload out; empty: it has
// none.
func (w *workload) skip(c *Contestant) string {
	if why := c.Skip[w.name]; why != "" {
		return why
	}
	return c.Skip[w.figure]
}

// figures makes the figures of a load out of what the client says and what the
// server used meanwhile.
func (w *workload) figures(r *reply, server *Stats) map[string]float64 {
	n, cli := float64(r.Calls), r.Stats
	fs := map[string]float64{}
	switch {
	case w.name == "bulk":
		fs[w.figure] = n * float64(w.load.Payload) / r.Seconds / 1e6
	case w.load.Callers == 0:
		fs[w.figure] = r.P50
		fs[w.figure+".p99"] = r.P99
	default:
		fs[w.figure] = n / r.Seconds
	}
	if strings.HasPrefix(w.name, "beside") {
		return fs // what was used is mostly the others'
	}
	for suffix, v := range map[string]float64{
		".cpu":       cli.CPU + server.CPU,
		".cpucli":    cli.CPU,
		".cpusrv":    server.CPU,
		".kernel":    cli.Kernel + server.Kernel,
		".switches":  float64(cli.Switches + server.Switches),
		".reads":     float64(cli.Reads + server.Reads),
		".writes":    float64(cli.Writes + server.Writes),
		".allocs":    float64(cli.Allocs + server.Allocs),
		".allocscli": float64(cli.Allocs),
		".allocssrv": float64(server.Allocs),
		".bytescli":  float64(cli.AllocBytes),
		".bytessrv":  float64(server.AllocBytes),
	} {
		fs[w.figure+suffix] = v / n
	}
	return fs
}
