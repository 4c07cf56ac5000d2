package pb_test

import (
	"testing"

	"perspective/cred"
	"perspective/pb"
)

// A node signs with its key, also with one that it made itself, and keeps that.
func TestSign(t *testing.T) {
	node := &pb.Node{}
	id, err := node.ID()
	if err != nil {
		t.Fatal(err)
	}
	signature, err := node.Sign("greeting", []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if err := cred.VerifyNode(id, "greeting", []byte("hello"), signature); err != nil {
		t.Errorf("VerifyNode = %v", err)
	}
	if again, _ := node.ID(); again != id {
		t.Errorf("ID = %s, then %s", id, again)
	}
}
