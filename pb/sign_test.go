package pb_test

import (
	"errors"
	"testing"

	"perspective/pb"
)

func TestSign(t *testing.T) {
	ann, bob := &pb.Node{}, &pb.Node{}
	annID, err := ann.ID()
	if err != nil {
		t.Fatal(err)
	}
	bobID, err := bob.ID()
	if err != nil {
		t.Fatal(err)
	}
	signature, err := ann.Sign("greeting", []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	bent := append([]byte(nil), signature...)
	bent[len(bent)-1] ^= 1
	tests := []struct {
		name, id, purpose, message string
		signature                  []byte
		good                       bool
	}{
		{"as it was signed", annID, "greeting", "hello", signature, true},
		{"another node", bobID, "greeting", "hello", signature, false},
		{"no node", "", "greeting", "hello", signature, false},
		{"another purpose", annID, "greetings", "hello", signature, false},
		{"another message", annID, "greeting", "hullo", signature, false},
		{"purpose and message cut elsewhere", annID, "greetingh", "ello", signature, false},
		{"bent", annID, "greeting", "hello", bent, false},
		{"short", annID, "greeting", "hello", signature[:len(signature)-1], false},
		{"empty", annID, "greeting", "hello", nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := pb.VerifyNode(test.id, test.purpose, []byte(test.message), test.signature)
			if good := err == nil; good != test.good {
				t.Errorf("VerifyNode = %v, want good %v", err, test.good)
			}
			if err != nil && !errors.Is(err, pb.ErrBadSignature) {
				t.Errorf("VerifyNode = %v, want ErrBadSignature", err)
			}
		})
	}
	if again, _ := ann.ID(); again != annID {
		t.Errorf("ID = %s, then %s", annID, again)
	}
}
