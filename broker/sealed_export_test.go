//go:build unix

package broker

// A Record follows TLS records.
type Record struct{ record }

// Follow takes in what was read.
func (r *Record) Follow(p []byte) { r.follow(p) }

// Inside reports whether a record was begun and not ended.
func (r *Record) Inside() bool { return r.inside() }

// One is how many of the bytes that come next are of one record.
func (r *Record) One(p []byte) int { return r.one(p) }
