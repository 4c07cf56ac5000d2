package cred

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
)

// SignatureSize is the length in bytes of what SignAsNode gives: the public key, which the node
// id is only the hash of, and an ed25519 signature.
const SignatureSize = ed25519.PublicKeySize + ed25519.SignatureSize

// SignAsNode signs a message with a node's key; pb.Node.Sign does it with that of a Node. purpose
// names the use, so that what was signed for one is worth nothing for another; it also keeps the
// key's signatures apart from those of TLS. It panics if key is none.
func SignAsNode(key ed25519.PrivateKey, purpose string, message []byte) []byte {
	signature := append(make([]byte, 0, SignatureSize), key.Public().(ed25519.PublicKey)...)
	return append(signature, ed25519.Sign(key, signedText(purpose, message))...)
}

// VerifyNode reports whether the node with this id signed message for this purpose. The error is
// ErrBadSignature. A signature proves that the node once wrote the message, not that it is new.
func VerifyNode(nodeID, purpose string, message, signature []byte) error {
	if len(signature) != SignatureSize {
		return fmt.Errorf("%w: a signature has %d bytes, got %d", ErrBadSignature,
			SignatureSize, len(signature))
	}
	public := ed25519.PublicKey(signature[:ed25519.PublicKeySize])
	if NodeIDOf(public) != nodeID {
		return fmt.Errorf("%w: it is the signature of %s", ErrBadSignature, NodeIDOf(public))
	}
	if !ed25519.Verify(public, signedText(purpose, message), signature[ed25519.PublicKeySize:]) {
		return ErrBadSignature
	}
	return nil
}

// signedText is what the key signs. No TLS handshake and no certificate begins like it, and the
// length keeps the end of purpose in its place.
func signedText(purpose string, message []byte) []byte {
	text := []byte("perspective signature 1\x00")
	//nolint:gosec // a purpose is a few words
	text = binary.BigEndian.AppendUint32(text, uint32(len(purpose)))
	text = append(text, purpose...)
	return append(text, message...)
}
