package pb_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"perspective/pb"
)

type Board struct {
	pb.Referenceable

	posts []string
}

func (b *Board) RemotePost(_ context.Context, author, text string) error {
	b.posts = append(b.posts, author+": "+text)
	return nil
}

func (b *Board) RemoteLatest(_ context.Context, n int) ([]string, error) {
	return b.posts[max(0, len(b.posts)-n):], nil
}

// Reset cannot be called by peers: its name has no prefix.
func (b *Board) Reset() { b.posts = nil }

// What peers may call on an object is what its type says, and no more.
func ExampleMethods() {
	for _, m := range pb.Methods(&Board{}) {
		fmt.Println(m)
	}
	// Output:
	// Latest(int) []string
	// Post(string, string)
}

type wallClock struct{ offset time.Duration }

func (c *wallClock) Now(context.Context) (time.Time, error) { return time.Now().Add(c.offset), nil }
func (c *wallClock) Set(_ context.Context, d time.Duration) error {
	c.offset = d
	return nil
}

// An object that was not written for peers is lent through an interface: here they may read the
// clock and not set it.
func ExampleAsReferenceable() {
	type Clock interface {
		Now(ctx context.Context) (time.Time, error)
	}
	root := pb.AsReferenceable[Clock](&wallClock{})
	fmt.Println(pb.Methods(root))
	// Output: [Now() time.Time]
}

// Errors of a program in another language have no Go type; they are told apart by their names.
func ExampleIsType() {
	err := fmt.Errorf("look up: %w", &pb.Failure{
		Type: "builtins.KeyError", Message: "'ann'", Parents: []string{"builtins.LookupError"},
	})
	fmt.Println(err)
	fmt.Println(pb.IsType(err, "builtins.LookupError"))
	var f *pb.Failure
	fmt.Println(errors.As(err, &f), f.Check("builtins.ValueError", "builtins.KeyError"))
	// Output:
	// look up: 'ann'
	// true
	// true builtins.KeyError
}
