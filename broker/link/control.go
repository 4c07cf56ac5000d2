package link

import (
	"sync"
	"time"

	"perspective/broker/message"
)

// bucket bounds the frames of the yamux layer that carry nothing: pings, resets, empty updates.
type bucket struct {
	mu     sync.Mutex
	rate   float64 // a second
	tokens float64
	last   time.Time
}

func (k *bucket) init(rate int) { k.rate, k.tokens = float64(rate), 2*float64(rate) }

// spend takes one token.
func (l *Link) spend() error {
	k := &l.guard
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if !k.last.IsZero() {
		k.tokens = min(k.tokens+now.Sub(k.last).Seconds()*k.rate, 2*k.rate)
	}
	k.last = now
	if k.tokens < 1 {
		return message.Violation("more than %d control frames a second", int(k.rate))
	}
	k.tokens--
	return nil
}
