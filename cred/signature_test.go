package cred_test

import (
	"crypto/ed25519"
	"errors"
	"testing"

	"perspective/cred"
)

func TestSignAsNode(t *testing.T) {
	key := func() (id string, private ed25519.PrivateKey) {
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cred.NodeIDOf(public), private
	}
	annID, ann := key()
	bobID, _ := key()
	signature := cred.SignAsNode(ann, "greeting", []byte("hello"))
	if len(signature) != cred.SignatureSize {
		t.Errorf("a signature has %d bytes, want %d", len(signature), cred.SignatureSize)
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
			err := cred.VerifyNode(test.id, test.purpose, []byte(test.message), test.signature)
			if good := err == nil; good != test.good {
				t.Errorf("VerifyNode = %v, want good %v", err, test.good)
			}
			if err != nil && !errors.Is(err, cred.ErrBadSignature) {
				t.Errorf("VerifyNode = %v, want ErrBadSignature", err)
			}
		})
	}
}
