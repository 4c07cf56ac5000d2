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
// A [Node] is a process among its peers. A [Conn] is one connection; both its
// ends call. What embeds a flavour, [Referenceable], [Viewable] or [Avatar],
// crosses by reference and is a [RemoteReference] on the other side; what is
// plain or registered with package jelly is copied; a reference that goes home
// is the object itself. Nothing else crosses.
//
// [Call] makes a call and gives a [Deferred], on which methods can be called
// before it has fired. [Do] waits for the answer. [Bind] makes a struct of
// functions of a remote object; package adapt and the command pb gen do without
// reflection on both sides.
//
// # Who may call what
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
// [RegisterError], and as a [Failure] otherwise. Each error of a call says by
// [OutcomeOf] whether the method was executed.
package pb
