package cred

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// maxPHCBytes is above the longest string that the limits of HashParams allow.
const maxPHCBytes = 512

const bcryptLineBytes = 60

var (
	phcBase64 = base64.RawStdEncoding.Strict()

	bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// String gives the PHC string: $argon2id$v=19$m=65536,t=1,p=1$SALT$KEY, or bcrypt's line.
func (r *record) String() string {
	if r.bcrypt != nil {
		return string(r.bcrypt)
	}
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		r.params.MemoryKiB, r.params.Time, r.params.Threads,
		phcBase64.EncodeToString(r.salt), phcBase64.EncodeToString(r.key))
}

// parsePHC takes exactly what String writes and nothing near it. Its errors are ErrMalformedHash
// and hold no part of the salt or the key.
func parsePHC(s string) (*record, error) {
	switch {
	case len(s) > maxPHCBytes:
		return nil, malformed("it is longer than %d bytes", maxPHCBytes)
	case strings.HasPrefix(s, "$argon2id$"):
		return parseArgon2id(s)
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		return parseBcrypt(s)
	}
	return nil, malformed("it begins with neither $argon2id$ nor $2a$, $2b$ or $2y$")
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformedHash, fmt.Sprintf(format, args...))
}

func parseArgon2id(s string) (*record, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 {
		return nil, malformed("argon2id needs five parts that begin with $, it has %d",
			len(parts)-1)
	}
	if parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return nil, malformed("argon2id's version has to be v=%d", argon2.Version)
	}
	settings := strings.Split(parts[3], ",")
	if len(settings) != 3 {
		return nil, malformed("argon2id's parameters have to be m=,t=,p=")
	}
	memory, ok1 := setting(settings[0], "m=")
	passes, ok2 := setting(settings[1], "t=")
	threads, ok3 := setting(settings[2], "p=")
	if !ok1 || !ok2 || !ok3 {
		return nil, malformed("argon2id's parameters have to be m=,t=,p= and decimal numbers")
	}
	// The ranges are checked before the numbers go into fields that are too small for them.
	for _, err := range []error{
		inRange("memory in KiB", memory, minMemoryKiB, maxMemoryKiB),
		inRange("passes", passes, minTime, maxTime),
		inRange("threads", threads, minThreads, maxThreads),
	} {
		if err != nil {
			return nil, malformed("%v", err)
		}
	}
	salt, err := phcBase64.DecodeString(parts[4])
	if err != nil {
		return nil, malformed("the salt is not unpadded base64")
	}
	key, err := phcBase64.DecodeString(parts[5])
	if err != nil {
		return nil, malformed("the key is not unpadded base64")
	}
	//nolint:gosec // the ranges were checked above.
	r := &record{
		params: HashParams{
			Time: uint32(passes), MemoryKiB: uint32(memory), Threads: uint8(threads),
			SaltBytes: len(salt), KeyBytes: len(key),
		},
		salt: salt,
		key:  key,
	}
	if err := r.params.check(); err != nil {
		return nil, malformed("%v", err)
	}
	// base64 skips line ends, which no line has.
	if r.String() != s {
		return nil, malformed("it is not written as argon2id writes it")
	}
	return r, nil
}

// setting reads a decimal number of one spelling after its name.
func setting(s, name string) (int, bool) {
	digits, found := strings.CutPrefix(s, name)
	if !found || len(digits) > 9 {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && strconv.Itoa(n) == digits
}

func parseBcrypt(s string) (*record, error) {
	if len(s) != bcryptLineBytes {
		return nil, malformed("bcrypt needs %d bytes, it has %d", bcryptLineBytes, len(s))
	}
	cost, err := bcrypt.Cost([]byte(s))
	if err != nil || fmt.Sprintf("%02d$", cost) != s[4:7] {
		return nil, malformed("bcrypt's cost can't be read")
	}
	if err := inRange("bcrypt cost", cost, minBcryptCost, maxBcryptCost); err != nil {
		return nil, malformed("%v", err)
	}
	if strings.Trim(s[7:], bcryptAlphabet) != "" {
		return nil, malformed("bcrypt's salt or key has letters that are not its own")
	}
	return &record{params: HashParams{BcryptCost: cost}, bcrypt: []byte(s)}, nil
}
