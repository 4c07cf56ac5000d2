package pb_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"perspective/pb"
)

type early struct {
	pb.Referenceable
	went chan error
}

func (e *early) RemoteAnswer(ctx context.Context) (string, error) {
	err := pb.Reply(ctx, "early")
	<-ctx.Done() // the answer has ended it
	e.went <- err
	e.went <- pb.Reply(ctx, "again")
	e.went <- pb.Note(ctx, "and again")
	return "late", nil
}

func TestReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		obj := &early{went: make(chan error, 3)}
		c, _ := join(t, &pb.Node{}, &pb.Node{Root: obj})
		if got, err := pb.Do[string](t.Context(), c.Root(), "answer"); got != "early" ||
			err != nil {
			t.Fatalf("answer = %q, %v", got, err)
		}
		if err := <-obj.went; err != nil {
			t.Errorf("Reply = %v", err)
		}
		if err := <-obj.went; !errors.Is(err, pb.ErrCancelled) ||
			!strings.Contains(err.Error(), "answered") {
			t.Errorf("a second Reply: %v", err)
		}
		if err := <-obj.went; !errors.Is(err, pb.ErrCancelled) ||
			!strings.Contains(err.Error(), "answered") {
			t.Errorf("a Note behind the answer: %v", err)
		}
		for name, f := range map[string]func(
			context.Context, any,
		) error{"Reply": pb.Reply, "Note": pb.Note} {
			err := f(t.Context(), 1)
			if !errors.Is(err, pb.ErrOutsideMethod) || errors.Is(err, pb.ErrCancelled) ||
				!strings.Contains(err.Error(), name) {
				t.Errorf("%s outside of a method: %v", name, err)
			}
		}
	})
}
