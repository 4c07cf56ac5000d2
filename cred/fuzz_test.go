package cred

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// FuzzParsePHC checks that whatever is taken for a hash has parameters that are safe to compute
// with, and one spelling.
func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$argon2id$v=19$m=67108864,t=0,p=300$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8")
	f.Add("$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW")
	f.Add("$2a$31$.....................................................")
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parsePHC(s)
		if err != nil {
			if r != nil || !errors.Is(err, ErrMalformedHash) {
				t.Fatalf("parsePHC(%q) = %v, %v, want nil and ErrMalformedHash", s, r, err)
			}
			return
		}
		if err := r.params.check(); err != nil {
			t.Fatalf("parsePHC(%q) took parameters out of range: %v", s, err)
		}
		if len(r.salt) != r.params.SaltBytes || len(r.key) != r.params.KeyBytes || r.nobody {
			t.Fatalf("parsePHC(%q): %d salt bytes, %d key bytes, params %+v", s, len(r.salt),
				len(r.key), r.params)
		}
		if got := r.String(); got != s {
			t.Fatalf("parsePHC(%q) writes %q", s, got)
		}
	})
}

// FuzzParsePasswd checks that a file is either taken whole, and then lives through a change of one
// entry, or refused with a line number and no part of a hash.
func FuzzParsePasswd(f *testing.F) {
	const phc = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	f.Add([]byte("# list\n\nann:" + phc + "\nbob:" + phc))
	f.Add([]byte("ann:" + phc + "\nann:" + phc + "\n"))
	f.Add([]byte("ann:$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$SECRETSECRETSECRETSECRET\n:\n\r"))
	f.Add([]byte("an\x00n:SECRET\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		users, err := parsePasswd("users", data)
		if err != nil {
			var where *FileError
			if !errors.As(err, &where) || where.Line < 1 ||
				where.Line > bytes.Count(data, []byte("\n"))+1 {
				t.Fatalf("error %v, want a *FileError with a line of the file", err)
			}
			if where.User == "" && strings.Contains(err.Error(), "SECRET") {
				t.Fatalf("error %v tells a part of the line", err)
			}
			return
		}
		for name := range users.records {
			if err := checkUsername(name); err != nil {
				t.Fatalf("took the user %q: %v", name, err)
			}
		}
		again, err := parsePasswd("users", withEntry(data, "ann", phc))
		if err != nil {
			t.Fatalf("with one more entry: %v", err)
		}
		if r := again.records["ann"]; r == nil || r.String() != phc {
			t.Fatalf("the entry written is not there")
		}
		for name, r := range users.records {
			if name != "ann" &&
				(again.records[name] == nil || again.records[name].String() != r.String()) {
				t.Fatalf("the entry of %q was lost", name)
			}
		}
	})
}
