package cred_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"perspective/cred"
)

// light is the least work that argon2id may be.
var light = &cred.HashParams{MemoryKiB: 8 << 10}

func TestHashAndVerify(t *testing.T) {
	tests := []struct {
		name   string
		params *cred.HashParams
		prefix string
	}{
		{"the default", nil, "$argon2id$v=19$m=65536,t=1,p=1$"},
		{"light", light, "$argon2id$v=19$m=8192,t=1,p=1$"},
		{"every field", &cred.HashParams{
			Time:      2,
			MemoryKiB: 9000,
			Threads:   3,
			SaltBytes: 64,
			KeyBytes:  64,
		}, "$argon2id$v=19$m=9000,t=2,p=3$"},
		{"bcrypt", cheap, "$2a$04$"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.params == nil && testing.Short() {
				t.Skip("takes 64 MiB and its time, as the Example does")
			}
			phc, err := cred.Hash("sésame", test.params)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(phc, test.prefix) {
				t.Errorf("Hash = %q, want the prefix %q", phc, test.prefix)
			}
			if err := cred.Verify(phc, "sésame"); err != nil {
				t.Errorf("Verify with the right password = %v, want nil", err)
			}
			if test.params == nil {
				return // the rest would only take its time
			}
			for _, wrong := range []cred.Password{"", "sesame", "sésame ", "Sésame", "-"} {
				if err := cred.Verify(phc, wrong); !errors.Is(err, cred.ErrUnauthorized) {
					t.Errorf("Verify with %q = %v, want ErrUnauthorized", string(wrong), err)
				}
			}
			again, err := cred.Hash("sésame", test.params)
			if err != nil || again == phc {
				t.Errorf("a second Hash = %q, %v, want another salt", again, err)
			}
		})
	}
}

// TestKnownHashes holds us to what other programs wrote.
func TestKnownHashes(t *testing.T) {
	tests := []struct{ name, phc, password string }{
		// One of the vectors of the bcrypt that PHP and htpasswd use.
		{"bcrypt 2a", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"bcrypt 2y", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		// The reference implementation's own test, with 2^16 KiB.
		{"argon2id",
			"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$" +
				"CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
			"password"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := cred.Verify(test.phc, cred.Password(test.password)); err != nil {
				t.Errorf("Verify(%q, %q) = %v, want nil", test.phc, test.password, err)
			}
		})
	}
}

func TestHashRefuses(t *testing.T) {
	tests := []struct {
		name     string
		password cred.Password
		params   cred.HashParams
		want     error
	}{
		{"empty", "", *light, cred.ErrBadPassword},
		{"1,025 bytes", cred.Password(strings.Repeat("x", 1025)), *light, cred.ErrBadPassword},
		{"bcrypt, 73 bytes", cred.Password(strings.Repeat("x", 73)), *cheap, cred.ErrBadPassword},
		{"bcrypt, NUL", "a\x00a", *cheap, cred.ErrBadPassword},
		{"bcrypt cost 3", "x", cred.HashParams{BcryptCost: 3}, cred.ErrBadParams},
		{"bcrypt cost 15", "x", cred.HashParams{BcryptCost: 15}, cred.ErrBadParams},
		{"bcrypt cost -1", "x", cred.HashParams{BcryptCost: -1}, cred.ErrBadParams},
		{"11 passes", "x", cred.HashParams{Time: 11}, cred.ErrBadParams},
		{"8 MiB less one", "x", cred.HashParams{MemoryKiB: 8<<10 - 1}, cred.ErrBadParams},
		{"256 MiB and one", "x", cred.HashParams{MemoryKiB: 256<<10 + 1}, cred.ErrBadParams},
		{"all of the memory", "x", cred.HashParams{MemoryKiB: 1<<32 - 1}, cred.ErrBadParams},
		{"17 threads", "x", cred.HashParams{Threads: 17}, cred.ErrBadParams},
		{"7 salt bytes", "x", cred.HashParams{SaltBytes: 7}, cred.ErrBadParams},
		{"65 salt bytes", "x", cred.HashParams{SaltBytes: 65}, cred.ErrBadParams},
		{"15 key bytes", "x", cred.HashParams{KeyBytes: 15}, cred.ErrBadParams},
		{"-1 key bytes", "x", cred.HashParams{KeyBytes: -1}, cred.ErrBadParams},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if phc, err := cred.Hash(test.password, &test.params); !errors.Is(err, test.want) {
				t.Errorf("Hash = %q, %v, want %v", phc, err, test.want)
			}
		})
	}
}

func TestBcryptTakesPasswordsWhole(t *testing.T) {
	full := cred.Password(strings.Repeat("x", 72))
	phc, err := cred.Hash(full, cheap)
	if err != nil {
		t.Fatal(err)
	}
	if err := cred.Verify(phc, full); err != nil {
		t.Errorf("Verify with 72 bytes = %v, want nil", err)
	}
	if err := cred.Verify(phc, full+"y"); !errors.Is(err, cred.ErrUnauthorized) {
		t.Errorf("Verify with 73 bytes = %v, want ErrUnauthorized", err)
	}
	phc, err = cred.Hash("abc", cheap)
	if err != nil {
		t.Fatal(err)
	}
	if err := cred.Verify(phc, "abc\x00abc"); !errors.Is(err, cred.ErrUnauthorized) {
		t.Errorf("Verify with the key repeated after a NUL = %v, want ErrUnauthorized", err)
	}
}

func TestVerifyRefusesMalformedHashes(t *testing.T) {
	b64 := func(n int) string { return base64.RawStdEncoding.EncodeToString(make([]byte, n)) }
	argon := func(settings string) string {
		return "$argon2id$v=19$" + settings + "$" + b64(16) + "$" + b64(32)
	}
	tests := []struct{ name, phc string }{
		{"nothing", ""},
		{"plain text", "sesame"},
		{"MD5 of Apache", "$apr1$00000000$0000000000000000000000"},
		{"argon2i", "$argon2i$v=19$m=8192,t=1,p=1$" + b64(16) + "$" + b64(32)},
		{"old version", "$argon2id$v=16$m=8192,t=1,p=1$" + b64(16) + "$" + b64(32)},
		{"no version", "$argon2id$m=8192,t=1,p=1$" + b64(16) + "$" + b64(32)},
		{"0 passes", argon("m=8192,t=0,p=1")},
		{"11 passes", argon("m=8192,t=11,p=1")},
		{"2^32+1 passes", argon("m=8192,t=4294967297,p=1")},
		{"0 threads", argon("m=8192,t=1,p=0")},
		{"257 threads", argon("m=8192,t=1,p=257")},
		{"too little memory", argon("m=8191,t=1,p=1")},
		{"64 GiB", argon("m=67108864,t=1,p=1")},
		{"plus", argon("m=+8192,t=1,p=1")},
		{"minus", argon("m=-8192,t=1,p=1")},
		{"leading zero", argon("m=08192,t=1,p=1")},
		{"hexadecimal", argon("m=0x2000,t=1,p=1")},
		{"other order", argon("t=1,m=8192,p=1")},
		{"one more parameter", argon("m=8192,t=1,p=1,data=AAAA")},
		{"short salt", "$argon2id$v=19$m=8192,t=1,p=1$" + b64(7) + "$" + b64(32)},
		{"long salt", "$argon2id$v=19$m=8192,t=1,p=1$" + b64(65) + "$" + b64(32)},
		{"short key", "$argon2id$v=19$m=8192,t=1,p=1$" + b64(16) + "$" + b64(15)},
		{"no key", "$argon2id$v=19$m=8192,t=1,p=1$" + b64(16) + "$"},
		{"long key", "$argon2id$v=19$m=8192,t=1,p=1$" + b64(16) + "$" + b64(65)},
		{"padding", "$argon2id$v=19$m=8192,t=1,p=1$" + b64(16) + "==$" + b64(32)},
		{"stray bits", "$argon2id$v=19$m=8192,t=1,p=1$" + b64(15) + "AB$" + b64(32)},
		{"line end", "$argon2id$v=19$m=8192,t=1,p=1$" + b64(16) + "$" + b64(32) + "\n"},
		{"something after", argon("m=8192,t=1,p=1") + "$"},
		{"huge", "$argon2id$" + strings.Repeat("$", 1<<20)},
		{"bcrypt cost 3", "$2a$03$" + strings.Repeat(".", 53)},
		{"bcrypt cost 15", "$2a$15$" + strings.Repeat(".", 53)},
		{"bcrypt cost 31", "$2a$31$" + strings.Repeat(".", 53)},
		{"bcrypt cost in words", "$2a$xx$" + strings.Repeat(".", 53)},
		{"bcrypt cost +4", "$2a$+4$" + strings.Repeat(".", 53)},
		{"bcrypt short", "$2a$04$" + strings.Repeat(".", 52)},
		{"bcrypt long", "$2a$04$" + strings.Repeat(".", 54)},
		{"bcrypt other letters",
			"$2a$04$" + strings.Repeat(".", 20) + "!" + strings.Repeat(".", 32)},
		{"bcrypt 2x", "$2x$04$" + strings.Repeat(".", 53)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := cred.Verify(test.phc, "sesame")
			if !errors.Is(err, cred.ErrMalformedHash) {
				t.Fatalf("Verify(%.80q) = %v, want ErrMalformedHash", test.phc, err)
			}
			if text := err.Error(); len(text) > 200 || strings.Contains(text, b64(8)) {
				t.Errorf("the error %q is long or tells the hash", text)
			}
		})
	}
}

func TestInMemoryRefuses(t *testing.T) {
	good, err := cred.Hash("sesame", cheap)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		user, phc string
		want      error
	}{
		{"ann", "sesame", cred.ErrMalformedHash},
		{"", good, cred.ErrBadUsername},
		{"a:b", good, cred.ErrBadUsername},
		{strings.Repeat("x", 257), good, cred.ErrBadUsername},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%.10q", test.user), func(t *testing.T) {
			if _, err := cred.NewInMemory(map[string]string{test.user: test.phc}); !errors.Is(
				err, test.want) {
				t.Errorf("NewInMemory: error %v, want %v", err, test.want)
			}
		})
	}
	if _, err := cred.HashInMemory(map[string]cred.Password{"ann": ""},
		cheap); !errors.Is(err, cred.ErrBadPassword) {
		t.Errorf("HashInMemory with an empty password: error %v, want ErrBadPassword", err)
	}
	var nobody cred.InMemory
	if _, err := nobody.Check(t.Context(), cred.UsernamePassword{Username: "ann", Password: "-"},
		&cred.Peer{}); !errors.Is(err, cred.ErrUnauthorized) {
		t.Errorf("the zero InMemory: error %v, want ErrUnauthorized", err)
	}
}
