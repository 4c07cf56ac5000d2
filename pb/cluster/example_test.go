package cluster_test

import (
	"context"
	"fmt"
	"log/slog"

	"perspective/pb"
	"perspective/pb/cluster"
)

// Greeter is a service.
type Greeter struct{ pb.Referenceable }

func (*Greeter) RemoteGreet(_ context.Context, name string) (string, error) {
	return "hello, " + name, nil
}

// Two members on one machine: one provides a service, the other finds it.
func Example() {
	ctx := context.Background()
	quiet := slog.New(slog.DiscardHandler)

	a := &cluster.Cluster{Logger: quiet}
	if err := a.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close() //nolint:errcheck // the program ends

	b := &cluster.Cluster{Logger: quiet, Join: []string{a.Addr()}}
	if err := b.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close() //nolint:errcheck // the program ends

	if err := a.Register("greeter", &Greeter{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(pb.Do[string](ctx, b.Service("greeter"), "greet", "bob"))
	// Output: hello, bob <nil>
}
