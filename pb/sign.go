package pb

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"

	"perspective/cred"
)

// SignatureSize is the length in bytes of what Node.Sign gives: the public key,
// which the node id is only the hash of, and an ed25519 signature.
const SignatureSize = ed25519.PublicKeySize + ed25519.SignatureSize

// ErrBadSignature is the error of VerifyNode.
var ErrBadSignature = errors.New("pb: not signed by this node")

// ID is who this node is to others: the node id that belongs to Key. A node
// without a Key makes one now.
func (n *Node) ID() (string, error) {
	k, err := n.key()
	return k.NodeID(), err
}

// Sign signs a message with the node's key, for those who will meet the message
// where no connection proves who wrote it. purpose names the use, so that what
// was signed for one is worth nothing for another; it also keeps the key's
// signatures apart from those of TLS.
func (n *Node) Sign(purpose string, message []byte) ([]byte, error) {
	k, err := n.key()
	if err != nil {
		return nil, err
	}
	public := k.private.Public().(ed25519.PublicKey)
	signature := ed25519.Sign(k.private, signedText(purpose, message))
	return append(append(make([]byte, 0, SignatureSize), public...), signature...), nil
}

// VerifyNode reports whether the node with this id signed message for this
// purpose. The error is ErrBadSignature. A signature proves who once wrote the
// message, not that it is new.
func VerifyNode(nodeID, purpose string, message, signature []byte) error {
	if len(signature) != SignatureSize {
		return fmt.Errorf("%w: a signature has %d bytes, got %d", ErrBadSignature, SignatureSize, len(signature))
	}
	public := ed25519.PublicKey(signature[:ed25519.PublicKeySize])
	if cred.NodeIDOf(public) != nodeID {
		return fmt.Errorf("%w: it is the signature of %s", ErrBadSignature, cred.NodeIDOf(public))
	}
	if !ed25519.Verify(public, signedText(purpose, message), signature[ed25519.PublicKeySize:]) {
		return ErrBadSignature
	}
	return nil
}

// signedText is what the key signs. No TLS handshake and no certificate begins
// like it, and the length keeps the end of purpose in its place.
func signedText(purpose string, message []byte) []byte {
	text := []byte("perspective signature 1\x00")
	text = binary.BigEndian.AppendUint32(text, uint32(len(purpose))) //nolint:gosec // a purpose is a few words
	text = append(text, purpose...)
	return append(text, message...)
}
