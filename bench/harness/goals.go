package harness

import "fmt"

// A goal is a figure that is to be reached, at most or at least.
type goal struct {
	what   string
	value  func(s samples, who string) (float64, bool)
	format string
	least  bool // the bound is what is to be reached at least; false: at most
	// The bounds for methods found by reflection and for those with static types; zero: none.
	reflection, static float64
}

// The ways to serve pages that a goal is about.
const (
	direct = "direct"
	split  = "split"
)

// The variants of ours.
const (
	byReflection = ours
	byAdaptors   = ours + "-adaptors"
	byGenerated  = ours + "-generated"
)

// against compares a figure on a network with other contestants' in the same
// round, the greatest of them.
func against(network, figure string, bases ...string) func(samples, string) (float64, bool) {
	return func(s samples, who string) (float64, bool) {
		var ps []point
		for _, b := range bases {
			ps = append(ps, point{network, b, figure})
		}
		return s.ratioToBest(point{network, who, figure}, ps...)
	}
}

// bestAgainst compares the best rounds.
func bestAgainst(network, figure, base string) func(samples, string) (float64, bool) {
	return func(s samples, who string) (float64, bool) {
		v, ok := s.least(point{network, who, figure})
		b, has := s.least(point{network, base, figure})
		if !ok || !has {
			return 0, false
		}
		return v / b, true
	}
}

// scaled gives the median of a figure over TCP on its own.
func scaled(figure string, by float64) func(samples, string) (float64, bool) {
	return func(s samples, who string) (float64, bool) {
		v, ok := s.median(point{"tcp", who, figure})
		return v * by, ok
	}
}

// firstGoals are those of the first release, for reflection.
var firstGoals = []goal{
	{"p50 of one caller against net/rpc", against("tcp", "one", "netrpc"), "%.2f", false, 1, 0},
	{"calls/s of 64 callers against net/rpc", against("tcp", "at64", "netrpc"),
		"%.2f", true, 3.5, 0},
	{"calls/s of 64 callers against gRPC", against("tcp", "at64", "grpc"), "%.2f", true, 6, 0},
	{"server memory of an idle connection, KiB", scaled("idle.rsssrv", 1./1024),
		"%.1f", false, 24, 0},
	{"CPU of a 1 KiB page through the split, against serving it directly", splitAgainstDirect,
		"%.2f", false, 2.5, 0},
}

func splitAgainstDirect(s samples, _ string) (float64, bool) {
	return s.ratio(point{pageNet, split, "page.cpu"}, point{pageNet, direct, "page.cpu"})
}

// engineGoals are those of the call engine.
var engineGoals = []goal{
	{"p50 of one caller against raw, unix, pinned", against("unix"+pinnedSuffix, "one", "raw"),
		"%.2f", false, 1.3, 1.2},
	{"p50 of one caller against net/rpc, best rounds", bestAgainst("tcp", "one", "netrpc"), "%.2f",
		false, 0.65, 0.6},
	{"p50 of one caller against net/rpc, median", against("tcp", "one", "netrpc"), "%.2f",
		false, 0.85, 0.8},
	{"calls/s of 8 callers against net/rpc", against("tcp", "at8", "netrpc"), "%.2f", true, 2, 2.2},
	{"calls/s of 64 callers against net/rpc", against("tcp", "at64", "netrpc"),
		"%.2f", true, 5, 7.5},
	{"calls/s of 512 callers against net/rpc", against("tcp", "at512", "netrpc"),
		"%.2f", true, 7, 12},
	{"calls/s of 8 callers against gRPC", against("tcp", "at8", "grpc"), "%.2f", true, 3.2, 3.6},
	{"calls/s of 64 callers against gRPC", against("tcp", "at64", "grpc"), "%.2f", true, 8, 12},
	{"calls/s of 512 callers against gRPC", against("tcp", "at512", "grpc"), "%.2f", true, 15, 26},
	{"CPU of a call, both processes, 64 callers, against net/rpc",
		against("tcp", "at64.cpu", "netrpc"), "%.3f", false, 0.18, 0.12},
	{"allocations of a call, both processes, 64 callers", scaled("at64.allocs", 1),
		"%.1f", false, 16, 7},
	{"MB/s of 64 KiB by 8 against the better of net/rpc and gRPC",
		against("tcp", "64K", "netrpc", "grpc"), "%.2f", true, 1.5, 1.5},
	{"MB/s of 1 MiB by 4 against the better of net/rpc and gRPC",
		against("tcp", "1M", "netrpc", "grpc"), "%.2f", true, 1.5, 1.5},
	{"chain of 8 over a 10 ms round trip, in round trips", scaled("chain", 1/chainTrip), "%.2f",
		false, 1.2, 1.2},
	{"64 callers, handler of 2 ms, calls/s against net/rpc", against("tcp", "slow", "netrpc"),
		"%.2f", true, 0.95, 0.95},
	{"p99 of one caller beside 20 ms handlers, against alone", besideAgainstAlone,
		"%.2f", false, 2, 2},
	{"server memory of an idle connection, KiB", scaled("idle.rsssrv", 1./1024),
		"%.1f", false, 16, 16},
}

func besideAgainstAlone(s samples, who string) (float64, bool) {
	return s.ratio(point{"tcp", who, "besideslow.p99"}, point{"tcp", who, "one.p99"})
}

func (g *goal) bound(limit float64) string {
	if limit == 0 {
		return none
	}
	if g.least {
		return fmt.Sprintf("≥ %g", limit)
	}
	return fmt.Sprintf("≤ %g", limit)
}

func (g *goal) reached(v, limit float64) bool {
	if g.least {
		return v >= limit
	}
	return v <= limit
}

// Result is what was measured for a goal.
type Result struct {
	What     string  `json:"what"`
	Who      string  `json:"who"`
	Bound    string  `json:"bound"`
	Measured float64 `json:"measured"`
	Reached  bool    `json:"reached"`
}

func (r *Report) results(goals []goal) []Result {
	var rs []Result
	for _, g := range goals {
		for who, limit := range map[string]float64{
			byReflection: g.reflection,
			byAdaptors:   g.static,
			byGenerated:  g.static,
		} {
			if v, ok := g.value(r.Rounds, who); ok && limit > 0 {
				rs = append(rs, Result{
					What:     g.what,
					Who:      who,
					Bound:    g.bound(limit),
					Measured: v,
					Reached:  g.reached(v, limit),
				})
			}
		}
	}
	return rs
}

// none stands where there is nothing.
const none = "–"

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func (r *Report) writeFirstGoals(p *printer) {
	rows := [][]string{{"goal", "bound", "measured", "reached"}}
	for _, g := range firstGoals {
		measured, reached := none, none
		if v, ok := g.value(r.Rounds, byReflection); ok {
			measured, reached = fmt.Sprintf(g.format, v), yesNo(g.reached(v, g.reflection))
		}
		rows = append(rows, []string{g.what, g.bound(g.reflection), measured, reached})
	}
	p.table("Goals of the first release",
		fmt.Sprintf("Over TCP; idle connections: %d.", r.Plan.Idle), rows)
}

func (r *Report) writeEngineGoals(p *printer) {
	rows := [][]string{
		{"goal", "reflection", "measured", "reached", "static types", "adaptors",
			"generated", "reached"},
	}
	for _, g := range engineGoals {
		row := []string{g.what, g.bound(g.reflection)}
		measured, reached := none, none
		if v, ok := g.value(r.Rounds, byReflection); ok {
			measured, reached = fmt.Sprintf(g.format, v), yesNo(g.reached(v, g.reflection))
		}
		row = append(row, measured, reached, g.bound(g.static))
		reached = none
		for _, who := range []string{byAdaptors, byGenerated} {
			v, ok := g.value(r.Rounds, who)
			if !ok {
				row = append(row, none)
				continue
			}
			row = append(row, fmt.Sprintf(g.format, v))
			if reached != "yes" {
				reached = yesNo(g.reached(v, g.static))
			}
		}
		rows = append(rows, append(row, reached))
	}
	p.table("Goals of the call engine",
		"Over TCP where nothing else is said. Static types: the better of adaptors and generated "+
			"code counts.", rows)
}
