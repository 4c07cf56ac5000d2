package cred_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"perspective/cred"
)

func TestNodeID(t *testing.T) {
	key := keyOf(0)
	id := cred.NodeIDOf(key)
	// head -c 32 /dev/zero | sha256sum | xxd -r -p | base32 | tr A-Z a-z | tr -d =
	if want := "mzuhvlpymk6xo3epygfy5h4oeaejofefn3rdhm4qfjmr2dk7fesq"; id != want {
		t.Errorf("NodeIDOf(zeros) = %q, want %q", id, want)
	}
	digest, err := cred.ParseNodeID(id)
	if err != nil || digest != sha256.Sum256(key) {
		t.Errorf("ParseNodeID(%q) = %x, %v, want the key's SHA-256", id, digest, err)
	}
	for _, bad := range []ed25519.PublicKey{nil, key[:31], append(key, 0)} {
		if id := cred.NodeIDOf(bad); id != "" {
			t.Errorf("NodeIDOf of %d bytes = %q, want none", len(bad), id)
		}
	}
}

func TestParseNodeIDRefuses(t *testing.T) {
	id := cred.NodeIDOf(keyOf(0))
	tests := []struct{ name, id string }{
		{"empty", ""},
		{"short", id[1:]},
		{"long", id + "a"},
		{"upper case", strings.ToUpper(id)},
		{"not a letter", id[:10] + "1" + id[11:]},
		{"stray bits", id[:51] + "r"},
		{"line end", id[:51] + "\n"},
		{"padding", id[:51] + "="},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := cred.ParseNodeID(test.id); !errors.Is(err, cred.ErrBadNodeID) {
				t.Errorf("ParseNodeID(%q): error %v, want ErrBadNodeID", test.id, err)
			}
		})
	}
}
