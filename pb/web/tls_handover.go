package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"golang.org/x/crypto/acme/autocert"

	"perspective/internal/prefix"
	"perspective/pb/distrib"
)

const (
	pairFile = "tls-pair" // the handed-over file with the certificate and its key
	caFile   = "tls-ca"   // the one with the ACME server's authority
)

// systemRoots are where systems keep the authorities that an ACME server's certificate is of.
var systemRoots = []string{"/etc/ssl/certs", "/etc/pki/tls/certs", "/usr/share/ca-certificates",
	"/usr/local/share/ca-certificates"}

// A tlsHandover is the monitor's side of a site's TLS. The front may read neither the key nor the
// folder that it lies in, so the monitor opens the files, looks at them as the front will, and
// writes them into memory that the front has a descriptor for: this front, and the one after it.
// For ACME it makes the folder of the cache the front's. It ends with close.
type tlsHandover struct {
	certificates *Certificates // of files; nil: by ACME
	pair         *memory
	ca           *memory
	dials        []string // the addresses that the front must reach
}

// newTLSHandover opens what config.TLS names and gives the front what it needs. The caller lets it
// reach dials.
func newTLSHandover(
	config *Config, front *distrib.Part, logger *slog.Logger,
) (h *tlsHandover, err error) {
	h = &tlsHandover{}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if config.TLS.ACME {
		return h, h.prepareACME(config.TLS, front)
	}
	if h.pair, err = newMemory(pairFile); err != nil {
		return nil, err
	}
	front.Files[pairFile] = h.pair.reader
	h.certificates = &Certificates{TLS: *config.TLS, Logger: logger, taken: h.hand}
	return h, h.certificates.Open()
}

// hand writes a pair that is good to where the front reads it.
func (h *tlsHandover) hand(cert, key []byte) error {
	text := binary.BigEndian.AppendUint32(nil, uint32(len(cert))) //nolint:gosec // at most maxPEM
	text = append(append(text, cert...), key...)
	return h.pair.write(text)
}

// watch hands over anew what changes, until ctx ends.
func (h *tlsHandover) watch(ctx context.Context) {
	if h.certificates != nil {
		h.certificates.Watch(ctx)
	}
}

func (h *tlsHandover) close() {
	for _, m := range []*memory{h.pair, h.ca} {
		if m != nil {
			m.close()
		}
	}
}

// prepareACME gives the front its cache, and the authorities to know the ACME server by.
func (h *tlsHandover) prepareACME(t *TLS, front *distrib.Part) error {
	if os.Geteuid() == 0 && front.UID == 0 {
		return errors.New("web: tls: acme needs user: the front keeps its certificates as a user " +
			"that it has the next time too")
	}
	directory := t.Directory
	if directory == "" {
		directory = autocert.DefaultACMEDirectory
	}
	u, err := url.Parse(directory)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("web: tls: directory = %q: write the https URL of an ACME server's "+
			"directory", t.Directory)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	h.dials = []string{net.JoinHostPort(u.Hostname(), port)}
	if t.CA != "" {
		text, err := readPEM(t.CA)
		if err != nil {
			return err
		}
		if h.ca, err = newMemory(caFile); err != nil {
			return err
		}
		if err := h.ca.write(text); err != nil {
			return err
		}
		front.Files[caFile] = h.ca.reader
	}
	for _, path := range systemRoots {
		if _, err := os.Stat(path); err == nil {
			front.Rights.Read = append(front.Rights.Read, path)
		}
	}
	front.Rights.Write = append(front.Rights.Write, t.Cache)
	return makeCache(t.Cache, int(front.UID), int(front.GID))
}

// makeCache makes the folder for its owner alone, unless it is there.
func makeCache(dir string, uid, gid int) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // as others are
		return prefix.Errorf("web: tls: cache: %w", err)
	}
	err := os.Mkdir(dir, 0o700)
	switch {
	case errors.Is(err, os.ErrExist):
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			return fmt.Errorf("web: tls: cache: %s is no folder", dir)
		}
		return nil
	case err != nil:
		return prefix.Errorf("web: tls: cache: %w", err)
	}
	if os.Geteuid() == 0 {
		if gid == 0 {
			gid = uid
		}
		if err := os.Lchown(dir, uid, gid); err != nil {
			return prefix.Errorf("web: tls: cache: %w", err)
		}
	}
	return nil
}

// takeCertificates makes the front's certificates of what its monitor handed over, which file gives
// by name.
func takeCertificates(
	config *Config, file func(name string) (*os.File, error), logger *slog.Logger,
) (*Certificates, error) {
	c := &Certificates{TLS: *config.TLS, Dial: distrib.Dial, Logger: logger}
	if c.TLS.ACME {
		if c.TLS.CA != "" {
			ca, err := file(caFile)
			if err != nil {
				return nil, err
			}
			defer func() { _ = ca.Close() }() // only read
			if c.ca, err = readMemory(ca); err != nil {
				return nil, err
			}
		}
		return c, c.Open()
	}
	pair, err := file(pairFile)
	if err != nil {
		return nil, err
	}
	c.read = func() (cert, key []byte, err error) { return readHanded(pair) }
	return c, c.Open()
}

// readHanded reads what hand wrote.
func readHanded(file *os.File) (cert, key []byte, err error) {
	text, err := readMemory(file)
	if err != nil {
		return nil, nil, err
	}
	if len(text) < 4 {
		return nil, nil, errTorn
	}
	n, pair := binary.BigEndian.Uint32(text), text[4:]
	if int64(n) > int64(len(pair)) {
		return nil, nil, errTorn
	}
	return pair[:n], pair[n:], nil
}

// errTorn comes from a read in the midst of a write: the next one is whole.
var errTorn = errors.New("web: tls: what the monitor hands over is not whole")

// A memory is a file without a name that the monitor writes and a part reads, over and over: a sum,
// a length, and that many bytes.
type memory struct{ writer, reader *os.File }

const memoryHead = sha256.Size + 4

func (m *memory) write(text []byte) error {
	sum := sha256.Sum256(text)
	head := binary.BigEndian.AppendUint32(sum[:], uint32(len(text))) //nolint:gosec // two PEMs
	if _, err := m.writer.WriteAt(append(head, text...), 0); err != nil {
		return prefix.Errorf("web: tls: to the front: %w", err)
	}
	return nil
}

func readMemory(file *os.File) ([]byte, error) {
	text, err := io.ReadAll(io.NewSectionReader(file, 0, memoryHead+2*maxPEM+4))
	if err != nil {
		return nil, prefix.Errorf("web: tls: from the monitor: %w", err)
	}
	if len(text) < memoryHead {
		return nil, errTorn
	}
	length := binary.BigEndian.Uint32(text[sha256.Size:])
	if int64(length) > int64(len(text)-memoryHead) {
		return nil, errTorn
	}
	sum, text := text[:sha256.Size], text[memoryHead:memoryHead+length]
	if own := sha256.Sum256(text); !bytes.Equal(own[:], sum) {
		return nil, errTorn
	}
	return text, nil
}

func (m *memory) close() {
	_ = m.writer.Close()
	_ = m.reader.Close()
}
