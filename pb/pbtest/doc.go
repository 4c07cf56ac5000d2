// Package pbtest helps to test objects that peers call.
//
// Connect joins an object to a caller, in memory, and checks at the end of the
// test that nothing of the connection is left:
//
//	func TestGreet(t *testing.T) {
//		greeter := pbtest.Connect(t, &Greeter{})
//		text, err := pb.Do[string](t.Context(), greeter, "Greet", "ann")
//		…
//	}
//
// Join does the same for two nodes that the test made. A Wire is the line
// between them: it can be slow, deliver in pieces, stand still and be cut.
// Surface keeps a list of everything that peers may call in a file, so that a
// method cannot become callable unnoticed.
//
// Everything works inside and outside of bubbles of testing/synctest. Make the
// wire, the nodes and the connection inside the bubble that uses them.
package pbtest
