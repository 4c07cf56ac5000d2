package jelly

// Memory is bounded twice. The scan bounds what a message may take in the types that an empty interface gets, in
// proportion to its length. A Decoder counts the Go values that it really makes against Limits.DecodedBytes, each before
// it is allocated.

// What the generic decoders of MessagePack allocate at most for a message, in bytes. A map with a handful of entries
// costs a table of eight, so five bytes can become four hundred; the message is refused when the sum is out of
// proportion to its length.
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

// mapCost bounds what a decoder allocates for a map of n entries, without what the keys and values refer to.
func mapCost(n int) int {
	switch {
	case n == 0:
		return costMap
	case n <= 8:
		return costMap + costSmallMap
	}
	return costMap + costBigMap + costEntry*n
}

// charge counts n bytes that are about to be allocated.
func (d *Decoder) charge(n int) error {
	if n > d.left {
		return d.overdrawn()
	}
	d.left -= n
	return nil
}

// chargeEach is charge for n elements of size bytes.
func (d *Decoder) chargeEach(n int, size uintptr) error {
	if n > 0 && size > uintptr(d.left)/uintptr(n) {
		return d.overdrawn()
	}
	return d.charge(n * int(size))
}

// chargeMap counts a map of n entries of size bytes: the runtime keeps tables of eight, at most seven eighths full, that
// double.
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
	d.left = 0
	return &TypeError{Reason: "the values of this message take more memory than Limits.DecodedBytes allows"}
}
