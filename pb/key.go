package pb

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"perspective/cred"
	"perspective/internal/prefix"
)

// A Key is the identity of a node: an ed25519 key pair. The hash of its public half is
// the node id in URLs. The zero value is no key. Keys may be copied; they never show
// their private half in logs or text.
type Key struct{ private ed25519.PrivateKey }

// NewKey makes a key that no peer knows yet.
func NewKey() (Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return Key{private}, err
}

// LoadKey reads a node's key, or makes the file with a new one, mode 0600, if
// there is none. A file that others may read is refused.
func LoadKey(file string) (Key, error) {
	k, err := readKey(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if k, err = NewKey(); err != nil {
		return Key{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return Key{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	// A link fails if another process was faster; a reader never sees half a key.
	f, err := os.CreateTemp(filepath.Dir(file), ".key-*") // mode 0600
	if err != nil {
		return Key{}, fmt.Errorf("pb: make key: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // best effort: it is a second name of the key file
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return Key{}, fmt.Errorf("pb: make key: %w", err)
	}
	if err := os.Link(f.Name(), file); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return readKey(file)
		}
		return Key{}, fmt.Errorf("pb: make key: %w", err)
	}
	return k, nil
}

func readKey(file string) (Key, error) {
	f, err := os.Open(file)
	if err != nil {
		return Key{}, prefix.Errorf("pb: read key: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return Key{}, prefix.Errorf("pb: read key: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 && filepath.Separator == '/' {
		return Key{}, fmt.Errorf("pb: key file %s has mode %v: it must be a file that only its "+
			"owner can read (chmod 600)", file, info.Mode())
	}
	buf := make([]byte, 4<<10)
	n, _ := f.Read(buf)
	block, _ := pem.Decode(buf[:n])
	if block == nil || block.Type != "PRIVATE KEY" {
		return Key{}, fmt.Errorf("pb: key file %s holds no private key in PEM", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Key{}, prefix.Errorf("pb: key file %s: %w", file, err)
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return Key{}, fmt.Errorf("pb: key file %s holds a %T, want ed25519", file, parsed)
	}
	return Key{private}, nil
}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k.private == nil }

// NodeID is the name of the node that has the key; empty for the zero Key.
func (k Key) NodeID() string {
	if k.private == nil {
		return ""
	}
	return cred.NodeIDOf(k.private.Public().(ed25519.PublicKey))
}

// String is the node id: the key itself is never shown.
func (k Key) String() string { return k.NodeID() }

// Format writes the node id, whatever the verb: those that look inside a value
// would show the key.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.NodeID()) }

// LogValue is the node id.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.NodeID()) }

// certificate is the key in the form that TLS wants. Nothing in it but the key
// means anything.
func (k Key) certificate() (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "perspective"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280: no end
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template,
		k.private.Public(), k.private)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k.private}, nil
}
