package jelly

// Memory is bounded twice. The scan bounds what a message may take in the types that an empty
// interface gets, in proportion to its length. A Decoder counts the Go values that it really makes
// against Limits.DecodedBytes, each before it is allocated.

// What the generic decoders of MessagePack allocate at most for a message, in bytes. A map with a
// handful of entries costs a table of eight, so five bytes can become four hundred; the message is
// refused when the sum is out of proportion to its length.
const (
	costByte     = 12 // what scalars cost for each byte of the message
	costElement  = 16
	costArray    = 24
	costMap      = 48
	costSmallMap = 288 // a map of 1 to 8 entries, besides costMap
	costEntry    = 76  // an entry of a larger one
	costBigMap   = 192 // what a larger one costs besides its entries
	fairFactor   = 80
	fairSlack    = 64 << 10
)

// mapCost bounds what a decoder allocates for a map of n entries, without what the keys and values
// refer to.
func mapCost(n int) int {
	switch {
	case n == 0:
		return costMap
	case n <= 8:
		return costMap + costSmallMap
	}
	return costMap + costBigMap + costEntry*n
}

// A Meter gives a Decoder the memory that it makes values in, beyond a first allowance. It is
// called on the goroutine that decodes, and may wait there. Its error is what the decoding fails
// with.
type Meter interface{ Take(n int) error }

// Metered says, after Reset, that the values may take free bytes as they are, and that more is
// asked of m, in pieces that grow with what was taken; all together no more than
// Limits.DecodedBytes. Reset ends this.
func (d *Decoder) Metered(free int, m Meter) {
	free = min(free, d.left)
	d.rest, d.left, d.taken, d.meter = d.left-free, free, 0, m
}

const (
	meterMin = 4 << 10   // what is asked of a Meter at once, at least
	meterMax = 256 << 10 // and at most, if no single value needs more
)

// Charge counts n bytes that a ReadJelly is about to allocate, beside what the Decoder's own
// methods return. Its error says that the message has no more memory; ReadJelly returns it.
func (d *Decoder) Charge(n int) error { return d.charge(n) }

// charge counts n bytes that are about to be allocated.
func (d *Decoder) charge(n int) error {
	if n > d.left {
		if err := d.more(n); err != nil {
			return err
		}
	}
	d.left -= n
	return nil
}

// more makes left at least n.
func (d *Decoder) more(n int) error {
	need := n - d.left
	if d.meter == nil || need > d.rest {
		return d.overdrawn()
	}
	need = min(d.rest, max(need, meterMin, min(d.taken, meterMax)))
	if err := d.meter.Take(need); err != nil {
		d.left, d.rest = 0, 0
		return err
	}
	d.left += need
	d.rest -= need
	d.taken += need
	return nil
}

// chargeEach is charge for n elements of size bytes.
func (d *Decoder) chargeEach(n int, size uintptr) error {
	if err := d.fits(n, size); err != nil {
		return err
	}
	return d.charge(n * int(size))
}

// fits looks whether n elements of size bytes are within the limit.
func (d *Decoder) fits(n int, size uintptr) error {
	if n > 0 && size > uintptr(d.left+d.rest)/uintptr(n) {
		return d.overdrawn()
	}
	return nil
}

const (
	aheadBytes = 4 << 10 // what is allocated for elements that have not come yet, at most,
	aheadTimes = 8       // besides so many times the bytes that are left of the message
)

// ahead is how many of n elements of size bytes are made room for before the first of them has
// come: all, if the message is as long as such elements make it. Otherwise the room grows with
// those that really come.
func (d *Decoder) ahead(n int, size uintptr) int {
	room := aheadBytes + aheadTimes*(len(d.b)-d.i)
	if size == 0 || uintptr(n) <= uintptr(room)/size {
		return n
	}
	return min(n, max(1, room/int(size)))
}

// chargeMap counts a map of n entries of size bytes: the runtime keeps tables of eight, at most
// seven eighths full, that double.
func (d *Decoder) chargeMap(n int, size uintptr) error {
	slots := 8
	for n > 8 && slots*7/8 < n {
		slots *= 2
	}
	if n == 0 {
		slots = 0
	}
	if err := d.charge(costMap); err != nil {
		return err
	}
	return d.chargeEach(slots, size+1)
}

func (d *Decoder) overdrawn() error {
	d.left, d.rest = 0, 0
	return &TypeError{
		Reason: "the values of this message take more memory than Limits.DecodedBytes allows",
	}
}
