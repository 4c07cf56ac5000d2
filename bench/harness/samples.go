package harness

import (
	"math"
	"slices"
)

// Round holds the figures of one round: by network, by contestant, by name.
type Round map[string]map[string]map[string]float64

func (r Round) set(network, who, figure string, v float64) {
	if r[network] == nil {
		r[network] = map[string]map[string]float64{}
	}
	if r[network][who] == nil {
		r[network][who] = map[string]float64{}
	}
	r[network][who][figure] = v
}

// point names one figure of one contestant on one network.
type point struct{ network, who, figure string }

func (r Round) get(p point) (float64, bool) {
	v, ok := r[p.network][p.who][p.figure]
	return v, ok
}

// samples are all rounds.
type samples []Round

// values gives a figure in each round that has it.
func (s samples) values(p point) []float64 {
	var vs []float64
	for _, r := range s {
		if v, ok := r.get(p); ok {
			vs = append(vs, v)
		}
	}
	return vs
}

// median gives the median over the rounds; false if no round has the figure.
func (s samples) median(p point) (float64, bool) { return median(s.values(p)) }

// least gives the best round.
func (s samples) least(p point) (float64, bool) {
	vs := s.values(p)
	if len(vs) == 0 {
		return 0, false
	}
	return slices.Min(vs), true
}

// ratio gives the median over the rounds of one figure against another of the
// same round.
func (s samples) ratio(p, base point) (float64, bool) {
	return s.ratioToBest(p, base)
}

// ratioToBest is ratio against the greatest, in each round, of several, all of
// which took part in it: a single one would pass for the greatest.
func (s samples) ratioToBest(p point, bases ...point) (float64, bool) {
	var vs []float64
	for _, r := range s {
		v, ok := r.get(p)
		best := math.Inf(-1)
		for _, b := range bases {
			bv, has := r.get(b)
			ok = ok && has
			best = max(best, bv)
		}
		if ok && best > 0 {
			vs = append(vs, v/best)
		}
	}
	return median(vs)
}

func median(vs []float64) (float64, bool) {
	n := len(vs)
	if n == 0 {
		return 0, false
	}
	vs = slices.Sorted(slices.Values(vs))
	if n%2 == 1 {
		return vs[n/2], true
	}
	return (vs[n/2-1] + vs[n/2]) / 2, true
}
