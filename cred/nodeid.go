package cred

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
)

// NodeIDLen is the length of a node id in bytes of text.
const NodeIDLen = 52

var nodeIDText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(
	base32.NoPadding)

// NodeIDOf gives the node id that belongs to a public key: the SHA-256 of the key in lower-case
// base32 without padding, 52 letters and digits that fit a host name or the user part of a URL. A
// key of the wrong length, nil among them, has none: the result is "".
func NodeIDOf(key ed25519.PublicKey) string {
	if len(key) != ed25519.PublicKeySize {
		return ""
	}
	digest := sha256.Sum256(key)
	return nodeIDText.EncodeToString(digest[:])
}

// ParseNodeID gives the SHA-256 that a node id stands for. Each id has one spelling: upper case and
// stray bits in the last letter are refused. The error is ErrBadNodeID.
func ParseNodeID(id string) ([sha256.Size]byte, error) {
	var digest [sha256.Size]byte
	if len(id) != NodeIDLen {
		return digest, fmt.Errorf("%w: %q has %d bytes", ErrBadNodeID, clip(id), len(id))
	}
	raw, err := nodeIDText.DecodeString(id)
	if err != nil || nodeIDText.EncodeToString(raw) != id {
		return digest, fmt.Errorf("%w: %q", ErrBadNodeID, id)
	}
	return [sha256.Size]byte(raw), nil
}
