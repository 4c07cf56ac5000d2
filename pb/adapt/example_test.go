package adapt_test

import (
	"context"
	"fmt"
	"net"

	"perspective/pb"
	"perspective/pb/adapt"
)

// A Tally is an object whose methods are called without reflection.
type Tally struct {
	pb.Referenceable
	n int
}

func (t *Tally) RemoteCount(_ context.Context, n int) (int, error) {
	t.n += n
	return t.n, nil
}

func (t *Tally) RemoteReset(context.Context) error {
	t.n = 0
	return nil
}

func init() {
	adapt.Methods(
		adapt.Func1("RemoteCount", (*Tally).RemoteCount),
		adapt.Proc0("RemoteReset", (*Tally).RemoteReset),
	)
}

// The methods of a Tally are called as before, at less cost; Do1 keeps the argument in its own
// type.
func ExampleMethods() {
	ctx := context.Background()
	a, b := net.Pipe()
	server, client := &pb.Node{Root: &Tally{}}, &pb.Node{}
	defer func() {
		_ = client.Close()
		_ = server.Close()
	}()
	if _, err := server.Attach(ctx, a, pb.Acceptor); err != nil {
		fmt.Println(err)
		return
	}
	c, err := client.Attach(ctx, b, pb.Dialer)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(adapt.Do1[int](ctx, c.Root(), "Count", 2))
	fmt.Println(adapt.Do1[int](ctx, c.Root(), "Count", 3))
	// Output:
	// 2 <nil>
	// 5 <nil>
}
