package cred_test

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"perspective/cred"
)

// TestSameWork counts the hashes that a login costs: an attacker that guesses must not learn from
// the time whether an account exists.
func TestSameWork(t *testing.T) {
	light := cred.HashParams{Time: 1, MemoryKiB: 8 << 10, Threads: 1, SaltBytes: 16, KeyBytes: 32}
	blowfish := cred.HashParams{BcryptCost: 4}
	users := func(params cred.HashParams, names ...string) cred.Checker {
		t.Helper()
		plain := make(map[string]cred.Password)
		for _, name := range names {
			plain[name] = cred.Password(name + "'s")
		}
		checker, err := cred.HashInMemory(plain, &params)
		if err != nil {
			t.Fatal(err)
		}
		return checker
	}
	mixed := func() cred.Checker {
		t.Helper()
		hashes := make(map[string]string)
		for _, name := range []string{"ann", "ben", "eve"} {
			params := light
			if name == "eve" {
				params = blowfish
			}
			phc, err := cred.Hash(cred.Password(name+"'s"), &params)
			if err != nil {
				t.Fatal(err)
			}
			hashes[name] = phc
		}
		checker, err := cred.NewInMemory(hashes)
		if err != nil {
			t.Fatal(err)
		}
		return checker
	}
	claim := func(name, password string) cred.UsernamePassword {
		return cred.UsernamePassword{Username: name, Password: cred.Password(password)}
	}
	long := strings.Repeat("x", 5000)

	tests := []struct {
		name     string
		checkers []cred.Checker
		guesses  []cred.UsernamePassword
		want     []cred.HashParams
	}{
		{
			"argon2id",
			[]cred.Checker{users(light, "ann")},
			[]cred.UsernamePassword{claim("ann", "wrong"), claim("bob", "wrong"), claim("", ""),
				claim("ann", ""), claim("ann", long), claim("bob", long)},
			[]cred.HashParams{light},
		},
		{
			"bcrypt, also for what it would cut off",
			[]cred.Checker{users(blowfish, "ann")},
			[]cred.UsernamePassword{
				claim("ann", "wrong"), claim("bob", "wrong"), claim("ann", long),
				claim("bob", long), claim("ann", "ann's\x00ann's"), claim("bob", "bob's\x00"),
			},
			[]cred.HashParams{blowfish},
		},
		{
			"all kinds of a mixed file, for all",
			[]cred.Checker{mixed()},
			[]cred.UsernamePassword{
				claim("ann", "wrong"), claim("ben", "wrong"), claim("eve", "wrong"),
				claim("bob", "wrong"), claim("eve", long), claim("ann", long), claim("", ""),
			},
			[]cred.HashParams{light, blowfish},
		},
		{
			"two checkers",
			[]cred.Checker{users(blowfish, "ann"), users(light, "ben")},
			[]cred.UsernamePassword{claim("ann", "wrong"), claim("ben", "wrong"),
				claim("bob", "wrong")},
			[]cred.HashParams{blowfish, light},
		},
		{
			"no users",
			[]cred.Checker{users(light)},
			[]cred.UsernamePassword{claim("ann", "wrong")},
			[]cred.HashParams{cred.DefaultParams()},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			portal := &cred.Portal{
				Realm:    realm,
				Checkers: test.checkers,
				Limits:   cred.Limits{Tries: -1, AddressTries: -1},
			}
			for _, guess := range test.guesses {
				var work []cred.HashParams
				portal.CountHashes(func(p cred.HashParams) { work = append(work, p) })
				if _, err := portal.Login(t.Context(),
					guess, nil, nil); !errors.Is(err, cred.ErrUnauthorized) {
					t.Errorf("%.20q: error %v, want ErrUnauthorized", guess.Username, err)
				}
				if !slices.Equal(work, test.want) {
					t.Errorf("%.20q with %d bytes cost %v, want %v", guess.Username,
						len(guess.Password), work, test.want)
				}
			}
		})
	}
}

// TestMixedFile holds the passwords of a file to what they cost and to whom they let in: a right
// one costs what a wrong one does, and the hashes that are computed for the time alone let nobody
// in.
func TestMixedFile(t *testing.T) {
	kinds := []cred.HashParams{
		{Time: 1, MemoryKiB: 8 << 10, Threads: 1, SaltBytes: 16, KeyBytes: 32},
		{BcryptCost: 4},
		// costs what the first does
		{Time: 1, MemoryKiB: 8 << 10, Threads: 1, SaltBytes: 8, KeyBytes: 16},
		{BcryptCost: 5},
	}
	var lines strings.Builder
	for i, params := range kinds {
		phc, err := cred.Hash(cred.Password("secret of "+string(rune('a'+i))), &params)
		if err != nil {
			t.Fatal(err)
		}
		lines.WriteString(string(rune('a'+i)) + ":" + phc + "\n")
	}
	path := filepath.Join(t.TempDir(), "users")
	write(t, path, lines.String())
	portal := &cred.Portal{
		Realm:    realm,
		Checkers: []cred.Checker{&cred.PasswordFile{Path: path}},
		Logger:   slog.New(slog.DiscardHandler),
		Limits:   cred.Limits{Tries: -1, AddressTries: -1},
	}
	for _, user := range []string{"a", "b", "c", "d", "nobody"} {
		for _, owner := range []string{"a", "b", "c", "d", "nobody", ""} {
			password := cred.Password("secret of " + owner)
			var work []string
			portal.CountHashes(func(p cred.HashParams) {
				work = append(work, fmt.Sprint(p.BcryptCost, p.Time, p.MemoryKiB, p.Threads))
			})
			_, err := portal.Login(t.Context(),
				cred.UsernamePassword{Username: user, Password: password}, nil, nil)
			if got, want := err == nil, user == owner && user != "nobody"; got != want {
				t.Errorf("%s with the password of %q: %v, want in: %t", user, owner, err, want)
			}
			if want := []string{"0 1 8192 1", "4 0 0 0", "5 0 0 0"}; !slices.Equal(work, want) {
				t.Errorf("%s with the password of %q cost %q, want %q", user, owner, work, want)
			}
		}
	}
}

// BenchmarkGuess prints what a wrong guess costs for an account that is there and for one that is
// not. Nothing is asserted: a busy machine would make it lie.
func BenchmarkGuess(b *testing.B) {
	users, err := cred.HashInMemory(map[string]cred.Password{"ann": "sesame"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	portal := &cred.Portal{
		Realm:    realm,
		Checkers: []cred.Checker{users},
		Limits:   cred.Limits{Tries: -1, AddressTries: -1},
	}
	for name, user := range map[string]string{"known": "ann", "unknown": "bob"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := portal.Login(b.Context(), cred.UsernamePassword{Username: user,
					Password: "wrong"}, nil, nil); err == nil {
					b.Fatal("a wrong password was taken")
				}
			}
		})
	}
}
