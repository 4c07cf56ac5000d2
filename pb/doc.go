// Package pb lets programs hold objects of other processes, call their methods
// and get Deferreds, in the manner of Twisted's Perspective Broker.
//
// The smallest complete program serves an object and calls it:
//
//	type Greeter struct{ pb.Referenceable }
//
//	func (g *Greeter) RemoteGreet(ctx context.Context, name string) (string, error) {
//		return "hello, " + name, nil
//	}
//
//	server := &pb.Node{Root: &Greeter{}}
//	ln, err := server.Listen("pb+tcp://127.0.0.1:8787")
//	go server.Serve(ln)
//
//	conn, err := new(pb.Node).Dial(ctx, "pb+tcp://127.0.0.1:8787")
//	text, err := pb.Do[string](ctx, conn.Root(), "greet", "world")
//
// A [Node] serves and dials connections on behalf of one process. A [Conn] is one
// connection; the nodes at its two ends are peers, and both call. An argument or
// a result crosses in one of two ways:
//
//   - by reference, if its struct embeds a flavour: [Referenceable], [Viewable] or
//     [Avatar]. The peer gets a [RemoteReference] and calls methods on it. A
//     reference that is sent back arrives as the object itself.
//   - by copy, if its type is plain (numbers, strings, slices, maps and the like) or
//     registered with package jelly.
//
// A Deferred and an error are values too, and [Reader] and [Writer] send byte
// streams. Nothing else crosses.
//
// [Do] calls a method and waits for the answer. [Call] returns at once with a
// [Deferred], a result that may not be there yet: methods can be called on it
// before it has fired, which is to say before it has its value or its error.
// [Bind] makes a struct of functions of a remote object. The command pb gen writes
// clients and, with package adapt, does without reflection on both sides.
// # What can be called
//
// Only methods named Remote…, View… and Perspective… can be called from
// outside, with a context first and an error last. Peers find them by the rest
// of the name, in any case and with underscores. Holding a reference is the
// only authority there is: a connection begins with [Conn.Root], and, if the
// node has a Portal, with [Conn.Login].
//
// # Turns
//
// Calls to one object over one connection start in the order in which they
// came, each when the turn of the one before has ended: when the method has
// returned, called [Yield], or waits in this package with its own ctx. A turn
// that has ended never comes back. [Concurrent] objects have no turns, and
// [Serial] ones have one for all connections.
//
// # Errors
//
// A method's error arrives as itself if its kind was registered with
// [RegisterError], and as a [Failure] otherwise. What the package itself refuses,
// and why a connection ended, are sentinels such as [ErrOverloaded], to be tested
// with errors.Is. Each error of a call says by [OutcomeOf] whether the method was
// executed.
package pb
