//go:build unix

package distrib

import (
	"math"
	"testing"
)

func TestBallast(t *testing.T) {
	for _, test := range []struct {
		memory           uint64
		gogc, gomemlimit string
		want             int
	}{
		{math.MaxUint64, "", "", idleHeap},
		{256 << 20, "", "", idleHeap},
		{256<<20 - 1, "", "", 0},
		{math.MaxUint64, "100", "", 0},
		{math.MaxUint64, "", "1GiB", 0},
	} {
		if got := ballastFor(test.memory, test.gogc, test.gomemlimit); got != test.want {
			t.Errorf("ballastFor(%d, %q, %q) = %d, want %d", test.memory, test.gogc,
				test.gomemlimit, got, test.want)
		}
	}
}
