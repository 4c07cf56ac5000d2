package cred

import (
	"hash/maphash"
	"sync"
	"time"
)

// Limits slow down peers that guess passwords at one Portal (rate limiting). The zero value means
// the defaults.
//
// Wrong guesses are counted twice: for the account together with the address they came from,
// and for the address. Nothing is counted for an account alone, so nobody can lock its owner out
// from another address. A peer on a unix socket is counted by its uid, one on IPv6 by its /64.
//
// A guess counts when it turns out wrong, whether the account exists or not. Guesses made
// at the same moment may all be looked at: as many as Hashing lets in.
type Limits struct {
	// Tries is how many wrong guesses an account has from one address before the next must wait.
	// Zero means 3; a negative number means that this is not counted.
	Tries int

	// Delay is the first wait; it doubles with each further wrong guess up to MaxDelay. Zero means
	// 1 second and 1 minute. A right password ends it.
	Delay    time.Duration
	MaxDelay time.Duration

	// Forget is how long after the last wrong guess an account starts afresh at an address. Zero
	// means 15 minutes.
	Forget time.Duration

	// AddressTries is how many wrong guesses an address has at once, for all accounts together, and
	// AddressEvery how long it takes until it has one more. Zero means 20 and 6 seconds, that is
	// ten guesses a minute. A right password changes nothing here, or an attacker with an account
	// could use it to guess at others. Negative AddressTries mean that this is not counted.
	AddressTries int
	AddressEvery time.Duration

	// Entries bounds each of the two tables; in a full one the oldest entry makes room. Zero
	// means 10,000.
	Entries int

	// Now is the clock. nil means time.Now.
	Now func() time.Time
}

func (l Limits) filled() Limits {
	set(&l.Tries, 3)
	set(&l.Delay, time.Second)
	set(&l.MaxDelay, time.Minute)
	set(&l.Forget, 15*time.Minute)
	set(&l.AddressTries, 20)
	set(&l.AddressEvery, 6*time.Second)
	set(&l.Entries, 10_000)
	if l.Now == nil {
		l.Now = time.Now
	}
	return l
}

func set[T int | time.Duration](field *T, otherwise T) {
	if *field == 0 {
		*field = otherwise
	}
}

// wait is the pause after so many wrong guesses; zero while there are tries left.
func (l Limits) wait(wrong int) time.Duration {
	if l.Tries < 0 || wrong < l.Tries {
		return 0
	}
	d := l.Delay
	for range wrong - l.Tries {
		d *= 2
		if d >= l.MaxDelay || d <= 0 {
			return l.MaxDelay
		}
	}
	return min(d, l.MaxDelay)
}

// A throttle remembers wrong guesses. Its zero value is empty and may be used by many
// goroutines at once. The limits passed to its methods are filled.
type throttle struct {
	mu        sync.Mutex
	seed      maphash.Seed
	accounts  map[uint64]guesses // by account and place
	addresses map[uint64]guesses // by place
}

// guesses are kept under a hash with a secret seed, so that an entry has one size whatever name a
// peer makes up.
type guesses struct {
	wrong int
	last  time.Time

	// until is when the next guess is looked at; for an address, when it has all its tries again.
	until time.Time
}

type accountAt struct{ account, place string }

// check says whether a guess may be looked at now: nil or *TooManyTriesError.
func (t *throttle) check(l Limits, account, place string) error {
	now := l.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.accounts == nil {
		return nil
	}
	var wait time.Duration
	if g, found := t.accounts[maphash.Comparable(t.seed, accountAt{account, place})]; found {
		wait = g.until.Sub(now)
	}
	if g, found := t.addresses[maphash.Comparable(t.seed, place)]; found {
		// The address waits until it has one try again, not until it has all.
		room := time.Duration(l.AddressTries-1) * l.AddressEvery
		wait = max(wait, g.until.Sub(now)-room)
	}
	if wait > 0 {
		return &TooManyTriesError{RetryAfter: wait}
	}
	return nil
}

// wrong counts a guess that did not hold.
func (t *throttle) wrong(l Limits, account, place string) {
	now := l.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.accounts == nil {
		t.seed = maphash.MakeSeed()
		t.accounts = make(map[uint64]guesses)
		t.addresses = make(map[uint64]guesses)
	}
	if l.Tries > 0 {
		key := maphash.Comparable(t.seed, accountAt{account, place})
		g := t.accounts[key]
		if now.Sub(g.last) > l.Forget {
			g = guesses{}
		}
		g.wrong++
		g.last, g.until = now, now.Add(l.wait(g.wrong))
		put(t.accounts, key, g, l, now)
	}
	if l.AddressTries > 0 {
		key := maphash.Comparable(t.seed, place)
		g := t.addresses[key]
		if g.until.Before(now) {
			g.until = now
		}
		g.last, g.until = now, g.until.Add(l.AddressEvery)
		put(t.addresses, key, g, l, now)
	}
}

// right forgets the wrong guesses for the account at this place.
func (t *throttle) right(account, place string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.accounts != nil {
		delete(t.accounts, maphash.Comparable(t.seed, accountAt{account, place}))
	}
}

// put stores an entry and keeps the table within its bound: what no longer matters goes first,
// then the oldest. The walk over a full table is small beside the hash that led here.
func put(table map[uint64]guesses, key uint64, g guesses, l Limits, now time.Time) {
	if _, found := table[key]; !found && len(table) >= l.Entries {
		var oldestKey uint64
		var oldest time.Time
		for k, other := range table {
			if other.until.Before(now) && now.Sub(other.last) > l.Forget {
				delete(table, k)
			} else if oldest.IsZero() || other.last.Before(oldest) {
				oldestKey, oldest = k, other.last
			}
		}
		if len(table) >= l.Entries {
			delete(table, oldestKey)
		}
	}
	table[key] = g
}
