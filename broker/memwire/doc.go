// Package memwire is a wire in memory that a test steps by hand, and the smallest whole example of
// a [wire.Wire]. [New] makes the two ends of one; each is given to a session by broker.NewOver.
//
//	   a session puts          Leave           Step of the other end
//	─────────────────────▶ waiting ─────▶ line ─────────────────────▶ its session
//
// Nothing moves by itself: a message waits until the test calls Leave, and is on the line until the
// test calls Step. So a test decides, message by message, what has left and what has come, and in a
// testing/synctest bubble it sees one state after another.
//
//	wire.go     the two ends, what moves them, and their end
//	out.go      messages that wait
//	in.go       the reader, and what it delivers
//	streams.go  no byte streams
//
// Messages go whole, however long they are; the session's limits hold. There are no byte streams:
// those of the native wire come from a yamux session, which keeps timers for the whole process and
// so cannot run in a bubble.
//
// # Locks
//
// One lock is that of both ends. It is never held while a session is called.
package memwire
