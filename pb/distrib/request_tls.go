package distrib

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"perspective/jelly"
)

// The bounds of what a back end is told of the client's TLS.
const (
	maxCertificates     = 32
	maxCertificateBytes = 48 << 10

	tlsItems = 6 // before the certificates
)

// fitsTLS says whether the certificates are few and small enough to be told.
func fitsTLS(t *tls.ConnectionState) bool {
	if t == nil {
		return true
	}
	n, size := 0, 0
	for _, list := range [][]*x509.Certificate{t.PeerCertificates, chainOf(t)} {
		n += len(list)
		for _, c := range list {
			size += len(c.Raw)
		}
	}
	return n <= maxCertificates && size <= maxCertificateBytes
}

// chainOf returns the first of the chains by which the client's certificate was verified.
func chainOf(t *tls.ConnectionState) []*x509.Certificate {
	if len(t.VerifiedChains) == 0 {
		return nil
	}
	return t.VerifiedChains[0]
}

// appendTLS writes
//
//	[version, cipher, resumed, server name, protocol, n, n certificates, the verified chain]
//
// or an empty array where there is no TLS.
func appendTLS(e *jelly.Encoder, t *tls.ConnectionState) {
	if t == nil {
		e.EncodeArrayLen(0)
		return
	}
	chain := chainOf(t)
	e.EncodeArrayLen(tlsItems + len(t.PeerCertificates) + len(chain))
	e.EncodeUint(uint64(t.Version))
	e.EncodeUint(uint64(t.CipherSuite))
	resumed := uint64(0)
	if t.DidResume {
		resumed = 1
	}
	e.EncodeUint(resumed)
	appendText(e, t.ServerName)
	appendText(e, t.NegotiatedProtocol)
	e.EncodeUint(uint64(len(t.PeerCertificates)))
	for _, c := range t.PeerCertificates {
		e.EncodeBytes(c.Raw)
	}
	for _, c := range chain {
		e.EncodeBytes(c.Raw)
	}
}

// tls reads what appendTLS wrote.
func (p *parser) tls() *tls.ConnectionState {
	n := p.array()
	if n == 0 || p.err != nil {
		return nil
	}
	if n < tlsItems || n > tlsItems+maxCertificates {
		p.fail(fmt.Errorf("distrib: a TLS state of %d items", n))
		return nil
	}
	t := &tls.ConnectionState{
		HandshakeComplete: true,
		Version:           uint16(p.uint()), //nolint:gosec // the front wrote 16 bits
		CipherSuite:       uint16(p.uint()), //nolint:gosec // as above
		DidResume:         p.uint() != 0,
		ServerName:        p.text(), NegotiatedProtocol: p.text(),
	}
	peers := p.uint()
	if peers > uint64(n-tlsItems) {
		p.fail(errors.New("distrib: a TLS state with fewer certificates than it says"))
		return nil
	}
	var all []*x509.Certificate
	for range n - tlsItems {
		der := p.bytes()
		if p.err != nil {
			return nil
		}
		c, err := x509.ParseCertificate(append([]byte(nil), der...))
		if err != nil {
			p.fail(fmt.Errorf("distrib: the client's certificate: %w", err))
			return nil
		}
		all = append(all, c)
	}
	t.PeerCertificates = all[:peers:peers]
	if chain := all[peers:]; len(chain) > 0 {
		t.VerifiedChains = [][]*x509.Certificate{chain}
	}
	return t
}
