package pbtest_test //nolint:testableexamples // an example has no *testing.T to run with

import (
	"context"
	"testing"

	"perspective/pb"
	"perspective/pb/pbtest"
)

type Greeter struct{ pb.Referenceable }

func (*Greeter) RemoteGreet(_ context.Context, name string) (string, error) {
	return "hello " + name, nil
}

func ExampleConnect() {
	// In a test file this is func TestGreet(t *testing.T) { … }.
	_ = func(t *testing.T) {
		greeter := pbtest.Connect(t, &Greeter{})
		text, err := pb.Do[string](t.Context(), greeter, "Greet", "ann")
		if text != "hello ann" || err != nil {
			t.Errorf("Greet = %q, %v", text, err)
		}
	}
}
