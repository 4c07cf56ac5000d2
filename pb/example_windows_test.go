package pb_test

import (
	"context"
	"fmt"

	"perspective/pb"
)

// Tracer is an object that tells the trace that it is called with, and hands it on.
type Tracer struct {
	pb.Referenceable
	next pb.Target
}

func (t *Tracer) RemoteTrace(ctx context.Context) (string, error) {
	if t.next == nil {
		return pb.TraceFrom(ctx), nil
	}
	return pb.Do[string](ctx, t.next, "trace")
}

// The calls that a method makes carry the trace that it was called with.
func ExampleWithTrace() {
	far, done := attach(&pb.Node{Root: &Tracer{}})
	defer done()
	conn, over := attach(&pb.Node{Root: &Tracer{next: far.Root()}})
	defer over()

	ctx := pb.WithTrace(context.Background(),
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	fmt.Println(pb.Do[string](ctx, conn.Root(), "trace"))
	// Output: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 <nil>
}

// Patient has a method that looks at the node that it is called on.
type Patient struct{ pb.Referenceable }

func (*Patient) RemoteLook(ctx context.Context) error {
	for call := range pb.ConnFrom(ctx).Calls() {
		fmt.Println(call.Method, call.Phase)
	}
	return nil
}

// What is under way over a connection, from inside of a call.
func ExampleConn_Calls() {
	conn, done := attach(&pb.Node{Root: &Patient{}})
	defer done()
	// the root is found with the first call: until then it has no name but the caller's
	for range 2 {
		if _, err := pb.Do[any](context.Background(), conn.Root(), "look"); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// look runs
	// *pb_test.Patient.RemoteLook runs
}
