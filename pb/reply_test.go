package pb_test

import (
	"context"
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
	return "late", nil
}

func TestReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		obj := &early{went: make(chan error, 2)}
		c, _ := join(t, &pb.Node{}, &pb.Node{Root: obj})
		if got, err := pb.Do[string](t.Context(), c.Root(), "answer"); got != "early" || err != nil {
			t.Fatalf("answer = %q, %v", got, err)
		}
		if err := <-obj.went; err != nil {
			t.Errorf("Reply = %v", err)
		}
		if err := <-obj.went; err == nil {
			t.Error("a second Reply went through")
		}
		if err := pb.Reply(t.Context(), 1); err == nil {
			t.Error("Reply outside of a method went through")
		}
	})
}
