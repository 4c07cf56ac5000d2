package distrib

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"perspective/internal/guard"
	"perspective/internal/lines"
)

// Backoff says how long a dead part stays down. The n-th death in a row waits between half and all
// of Min·2ⁿ⁻¹, at most Max; a part that lived for Stable has its count set back. The zero value
// waits 100 ms to 30 s and takes 10 s for stable. It holds no state and may be shared.
type Backoff struct {
	// Min is the longest first wait; zero means 100 ms.
	Min time.Duration
	// Max is the longest wait of all; zero means 30 s.
	Max time.Duration
	// Stable is the life that sets the count back; zero means 10 s.
	Stable time.Duration
	// Rand gives a number in [0, 1); nil means math/rand/v2. Two parts that die together then do
	// not rise together.
	Rand func() float64
}

// quickRelink rules how soon a link is made again that ended while both its processes live. That
// costs two messages and a pair of sockets, so even one that is broken on purpose for ever may be
// replaced within a second.
var quickRelink = Backoff{Min: 50 * time.Millisecond, Max: 800 * time.Millisecond}

// next returns the wait after a life of the given length, and the count of deaths in a row that it
// belongs to.
func (b Backoff) next(deaths int, lived time.Duration) (wait time.Duration, count int) {
	low, high, stable, random := b.Min, b.Max, b.Stable, b.Rand
	if low <= 0 {
		low = 100 * time.Millisecond
	}
	if high <= 0 {
		high = 30 * time.Second
	}
	if stable <= 0 {
		stable = 10 * time.Second
	}
	if random == nil {
		random = rand.Float64
	}
	if lived >= stable {
		deaths = 0
	}
	wait = low
	for range deaths {
		if wait >= high/2 {
			wait = high
			break
		}
		wait *= 2
	}
	wait = min(wait, high)
	return wait/2 + time.Duration(min(max(0, random()), 1)*float64(wait-wait/2)), deaths + 1
}

// held is b with a Rand that always gives a number.
func (b Backoff) held(log *slog.Logger) Backoff {
	random := b.Rand
	if random == nil {
		return b
	}
	b.Rand = func() float64 {
		r := math.NaN()
		err := guard.Run(func() error {
			r = random()
			return nil
		})
		lines.Fault(context.Background(), log, "Backoff.Rand", err)
		if math.IsNaN(r) {
			return rand.Float64() //nolint:gosec // a wait, no secret
		}
		return r
	}
	return b
}
