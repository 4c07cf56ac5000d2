package jelly

// Limits bound what one message may cost. A zero field, and a nil *Limits, mean the default. A
// Limits is only read, so one may be shared by any number of goroutines that do not change it.
type Limits struct {
	MessageBytes int // length of one message; zero: 4 MiB
	Depth        int // arrays and maps inside one another; zero, or more than 64: 64
	Items        int // values in one message, map keys included; zero: 100,000
	DecodedBytes int // memory of the Go values made from one message; zero: 16 MiB
	BigIntBytes  int // magnitude of one big.Int; zero, or more than 1 KiB: 1 KiB
}

const (
	maxDepth        = 64
	maxPath         = 16  // steps of a path in an answer reference
	maxName         = 255 // bytes of a registered name or of one step of a path
	defaultMessage  = 4 << 20
	defaultItems    = 100_000
	defaultDecoded  = 16 << 20
	maxBigInt       = 1 << 10
	keptBuffer      = 128 << 10 // what a reused buffer may hold on to
	keptRefs        = 64
	maxEncodedDepth = maxDepth - 4 // the message around a value takes a few levels of its own
	maxNested       = 8 * maxDepth // Go values inside one another, pointers and interfaces included
)

// bigInt is the longest magnitude of a big.Int.
func (l *Limits) bigInt() int {
	if l == nil || l.BigIntBytes <= 0 {
		return maxBigInt
	}
	return min(l.BigIntBytes, maxBigInt)
}

// scanned returns what a scan asks for, with every zero replaced by its default.
func (l *Limits) scanned() (messageBytes, depth, items int) {
	messageBytes, depth, items = defaultMessage, maxDepth, defaultItems
	if l == nil {
		return messageBytes, depth, items
	}
	if l.MessageBytes > 0 {
		messageBytes = l.MessageBytes
	}
	if l.Depth > 0 && l.Depth < maxDepth {
		depth = l.Depth
	}
	if l.Items > 0 {
		items = l.Items
	}
	return messageBytes, depth, items
}
