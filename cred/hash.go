package cred

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// HashParams say how much work a password hash is. The zero value, and any field that is zero,
// means DefaultParams.
//
// What a hash in a file asks for is held to the same limits before any work is done: argon2
// panics on zero passes, and would take 64 GiB if a line said so.
type HashParams struct {
	Time      uint32 // passes of argon2id, 1 to 10
	MemoryKiB uint32 // memory of argon2id, 8 MiB to 256 MiB, in KiB
	Threads   uint8  // lanes of argon2id, 1 to 16
	SaltBytes int    // 8 to 64
	KeyBytes  int    // 16 to 64

	// BcryptCost, if it is not zero, asks for bcrypt at this cost, 4 to 14, in place of argon2id;
	// the other fields are then not looked at. Each step doubles the work.
	BcryptCost int
}

// DefaultParams is argon2id with one pass over 64 MiB in one lane. It lies above the strongest of
// the settings that OWASP calls equal (46 MiB, one pass), costs a tenth to half a second of one
// core, and with two hashes at once bounds the memory of all logins at 128 MiB. One lane, so that a
// login never takes more than one core.
func DefaultParams() HashParams {
	return HashParams{Time: 1, MemoryKiB: 64 << 10, Threads: 1, SaltBytes: 16, KeyBytes: 32}
}

const (
	minMemoryKiB, maxMemoryKiB   = 8 << 10, 256 << 10
	minTime, maxTime             = 1, 10
	minThreads, maxThreads       = 1, 16
	minSaltBytes, maxSaltBytes   = 8, 64
	minKeyBytes, maxKeyBytes     = 16, 64
	minBcryptCost, maxBcryptCost = bcrypt.MinCost, 14

	maxPasswordBytes       = 1024
	maxBcryptPasswordBytes = 72
)

func (p HashParams) filled() HashParams {
	if p.BcryptCost != 0 {
		return HashParams{BcryptCost: p.BcryptCost}
	}
	d := DefaultParams()
	if p.Time != 0 {
		d.Time = p.Time
	}
	if p.MemoryKiB != 0 {
		d.MemoryKiB = p.MemoryKiB
	}
	if p.Threads != 0 {
		d.Threads = p.Threads
	}
	if p.SaltBytes != 0 {
		d.SaltBytes = p.SaltBytes
	}
	if p.KeyBytes != 0 {
		d.KeyBytes = p.KeyBytes
	}
	return d
}

// check names the first field outside its limits; p is filled.
func (p HashParams) check() error {
	if p.BcryptCost != 0 {
		return inRange("bcrypt cost", p.BcryptCost, minBcryptCost, maxBcryptCost)
	}
	return errors.Join(
		inRange("passes", int(p.Time), minTime, maxTime),
		inRange("memory in KiB", int(p.MemoryKiB), minMemoryKiB, maxMemoryKiB),
		inRange("threads", int(p.Threads), minThreads, maxThreads),
		inRange("salt bytes", p.SaltBytes, minSaltBytes, maxSaltBytes),
		inRange("key bytes", p.KeyBytes, minKeyBytes, maxKeyBytes),
	)
}

func inRange(what string, got, least, most int) error {
	if got < least || got > most {
		return fmt.Errorf("%s: want %d to %d, got %d", what, least, most, got)
	}
	return nil
}

// usable says why a hash of these parameters would not take the password whole. bcrypt stops
// reading at 72 bytes, and repeats a shorter key with a NUL between, so that "a" and "a\0a" would
// be the same password.
func (p HashParams) usable(password Password) error {
	switch {
	case password == "":
		return fmt.Errorf("%w: it is empty", ErrBadPassword)
	case len(password) > maxPasswordBytes:
		return fmt.Errorf("%w: it is longer than %d bytes", ErrBadPassword, maxPasswordBytes)
	case p.BcryptCost != 0 && len(password) > maxBcryptPasswordBytes:
		return fmt.Errorf("%w: it is longer than %d bytes, more than bcrypt reads", ErrBadPassword,
			maxBcryptPasswordBytes)
	case p.BcryptCost != 0 && strings.IndexByte(string(password), 0) >= 0:
		return fmt.Errorf("%w: it has a NUL, which bcrypt does not tell apart", ErrBadPassword)
	}
	return nil
}

// Hash makes the line of a password that is safe to keep: a PHC string with a fresh salt, or
// bcrypt's own format if params ask for it. nil params mean DefaultParams. It computes on the
// caller's goroutine, without any queue. The errors are ErrBadParams and ErrBadPassword.
func Hash(password Password, params *HashParams) (string, error) {
	p := HashParams{}
	if params != nil {
		p = *params
	}
	p = p.filled()
	if err := p.check(); err != nil {
		return "", fmt.Errorf("%w: %w", ErrBadParams, err)
	}
	if err := p.usable(password); err != nil {
		return "", err
	}
	if p.BcryptCost != 0 {
		line, err := bcrypt.GenerateFromPassword([]byte(password), p.BcryptCost)
		return string(line), err
	}
	r := &record{params: p, salt: make([]byte, p.SaltBytes)}
	// Read of crypto/rand never fails.
	_, _ = rand.Read(r.salt)
	r.key = r.derive(password)
	return r.String(), nil
}

// Verify checks a password against what Hash made. The error is nil if it holds, ErrUnauthorized if
// not, and ErrMalformedHash if phc can't be used. It computes on the caller's goroutine; a Checker
// uses Compare.
func Verify(phc string, password Password) error {
	r, err := parsePHC(phc)
	if err != nil {
		return err
	}
	if !r.verify(password) {
		return ErrUnauthorized
	}
	return nil
}

// A record is a parsed hash.
type record struct {
	params    HashParams
	salt, key []byte // argon2id
	bcrypt    []byte // the whole line

	// nobody marks a record that costs as much as others but that no password fits.
	nobody bool
}

// dummy gives a record with these parameters for users that are not there.
func dummy(p HashParams) *record {
	if p.BcryptCost != 0 {
		// Any 22 and 31 letters of bcrypt's alphabet are a salt and a key.
		line := fmt.Sprintf("$2a$%02d$%s", p.BcryptCost, strings.Repeat(".", 53))
		return &record{params: p, bcrypt: []byte(line), nobody: true}
	}
	return &record{
		params: p,
		salt:   make([]byte, p.SaltBytes),
		key:    make([]byte, p.KeyBytes),
		nobody: true,
	}
}

// costsAs says whether a hash of o takes the time that one of r takes. Salt and key take none.
func (r *record) costsAs(o *record) bool {
	a, b := r.params, o.params
	a.SaltBytes, a.KeyBytes, b.SaltBytes, b.KeyBytes = 0, 0, 0, 0
	return a == b
}

// verify costs one hash, always: a password that can't be right is replaced by another rather than
// refused at once, or the time would tell that the account exists and how it is hashed.
func (r *record) verify(password Password) bool {
	possible := !r.nobody
	if r.params.usable(password) != nil {
		password, possible = "-", false
	}
	if r.bcrypt != nil {
		return bcrypt.CompareHashAndPassword(r.bcrypt, []byte(password)) == nil && possible
	}
	return subtle.ConstantTimeCompare(r.derive(password), r.key) == 1 && possible
}

func (r *record) derive(password Password) []byte {
	p := r.params
	//nolint:gosec // KeyBytes is at most 64.
	return argon2.IDKey([]byte(password), r.salt, p.Time, p.MemoryKiB, p.Threads,
		uint32(p.KeyBytes))
}
