// Package link is the native wire: one connection's bytes. It knows frames, the preface, long
// messages, byte streams, and the roles of reader and writer; it knows no table of calls or
// objects. What it carries messages for is a wire.Session, and the bytes are specified in
// docs/wire-native.md.
//
//	in.go       frames cut into messages; credit for the call stream
//	piece.go    the pieces of long messages, read into where they belong
//	parts.go    long messages put together
//	role.go     the role of the reader: the link's own goroutine, or a caller
//	out.go      messages that wait to be written
//	writer.go   the role of the writer
//	bulk.go     long messages cut into pieces, and memory that is lent
//	streams.go  byte streams, by way of a yamux session (mux.go) that a guard watches (guard.go)
//	stream.go   one of them
//	raw_*.go    a descriptor read and written without waiting
//	sealed.go   TLS over memory
//
// # Byte streams
//
// The call stream is stream 1 of a yamux connection, spoken by this package itself. Further streams
// are carried by a yamux session that is made when the first of them is opened. Each frame passes a
// guard in both directions, for yamux trusts its peer. yamux keeps timers in a pool of the process,
// so byte streams can not be used in a testing/synctest bubble; everything else can.
//
// # Locks
//
// A lock is never held while the session is called, but for StreamForgotten. They are taken in this
// order: a Stream's own, streams.mu, muxConn.mu, out.mu; interruption.mu, Link.mu and bucket.mu are
// taken alone, or last.
package link
