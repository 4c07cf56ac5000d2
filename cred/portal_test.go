package cred_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perspective/cred"
)

// cheap is the least work that still is a hash.
var cheap = &cred.HashParams{BcryptCost: 4}

// avatar is what the realm of these tests gives.
type avatar struct {
	id   cred.AvatarID
	mind any
}

var realm = cred.RealmFunc(func(
	_ context.Context, id cred.AvatarID, mind any,
) (any, func(), error) {
	return avatar{id, mind}, nil, nil
})

func annOnly(t testing.TB) *cred.InMemory {
	t.Helper()
	users, err := cred.HashInMemory(map[string]cred.Password{"ann": "sesame"}, cheap)
	if err != nil {
		t.Fatal(err)
	}
	return users
}

func from(address string) *cred.Peer {
	return &cred.Peer{Addr: &net.TCPAddr{IP: net.ParseIP(address), Port: 4000}}
}

func keyOf(b byte) ed25519.PublicKey { return bytes.Repeat([]byte{b}, ed25519.PublicKeySize) }

func TestLogin(t *testing.T) {
	id := cred.NodeIDOf(keyOf(1))
	portal := &cred.Portal{
		Realm:  realm,
		Limits: cred.Limits{Tries: -1, AddressTries: -1},
		Checkers: []cred.Checker{
			annOnly(t),
			cred.AnonymousChecker{},
			&cred.UIDChecker{
				Accounts: map[uint32]cred.AvatarID{1000: "ben"},
				LookUp: func(uid uint32) (cred.AvatarID, error) {
					if uid == 1001 {
						return "eve", nil
					}
					return "", errors.New("no such user")
				},
			},
			&cred.KeyChecker{
				Accounts: map[string]cred.AvatarID{id: "node one", cred.NodeIDOf(keyOf(2)): ""},
			},
		},
	}
	uid := func(n uint32) *cred.Peer { return &cred.Peer{UID: n, HasUID: true} }
	key := func(b byte) *cred.Peer { return &cred.Peer{Key: keyOf(b)} }
	tests := []struct {
		name        string
		credentials cred.Credentials
		peer        *cred.Peer
		want        cred.AvatarID
		err         error
	}{
		{"right password", cred.UsernamePassword{Username: "ann", Password: "sesame"},
			nil, "ann", nil},
		{"wrong password", cred.UsernamePassword{Username: "ann", Password: "simsim"}, nil, "",
			cred.ErrUnauthorized},
		{"empty password", cred.UsernamePassword{Username: "ann"}, nil, "", cred.ErrUnauthorized},
		{"unknown user", cred.UsernamePassword{Username: "bob", Password: "sesame"}, nil, "",
			cred.ErrUnauthorized},
		{"no user", cred.UsernamePassword{Password: "sesame"}, nil, "", cred.ErrUnauthorized},
		{"huge user", cred.UsernamePassword{Username: strings.Repeat("x", 1<<20)}, nil, "",
			cred.ErrUnauthorized},
		{"anonymous", cred.Anonymous{}, nil, cred.AnonymousID, nil},
		{"listed uid", cred.PeerUID{}, uid(1000), "ben", nil},
		{"uid looked up", cred.PeerUID{}, uid(1001), "eve", nil},
		{"unknown uid", cred.PeerUID{}, uid(1002), "", cred.ErrUnauthorized},
		{"root is not everybody", cred.PeerUID{}, uid(0), "", cred.ErrUnauthorized},
		{"uid claimed, another known", cred.PeerUID{UID: 1000}, uid(1001), "eve", nil},
		{"uid claimed, none known", cred.PeerUID{UID: 1000}, &cred.Peer{UID: 1000}, "",
			cred.ErrUnauthorized},
		{"uid without a peer", cred.PeerUID{UID: 1000}, nil, "", cred.ErrUnauthorized},
		{"listed key", cred.PeerKey{}, key(1), "node one", nil},
		{"listed key without account", cred.PeerKey{}, key(2),
			cred.AvatarID(cred.NodeIDOf(keyOf(2))), nil},
		{"unknown key", cred.PeerKey{}, key(3), "", cred.ErrUnauthorized},
		{"key claimed, another known", cred.PeerKey{Key: keyOf(1), NodeID: id}, key(3), "",
			cred.ErrUnauthorized},
		{"node id without its key", cred.PeerKey{NodeID: id}, &cred.Peer{NodeID: id}, "",
			cred.ErrUnauthorized},
		{"no credentials", nil, nil, "", cred.ErrUnhandledCredentials},
		{"unknown kind", token("x"), nil, "", cred.ErrUnhandledCredentials},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			login, err := portal.Login(t.Context(), test.credentials, test.peer, "mind")
			// The very same value: two errors that only look alike could be told apart.
			if err != test.err { //nolint:errorlint // see above
				t.Fatalf("Login: error %v, want %v", err, test.err)
			}
			if err != nil {
				return
			}
			if login.ID != test.want || login.Avatar != (avatar{test.want, "mind"}) {
				t.Errorf("Login = %q, %v, want %q", login.ID, login.Avatar, test.want)
			}
			login.Logout()
		})
	}
}

// token is credentials of a program's own.
type token string

func (token) Kind() cred.Kind { return "token" }

// tokenChecker is a checker of a program's own, that keeps hashes its own way.
type tokenChecker struct {
	hashes map[token]string
	err    error
}

func (c *tokenChecker) Kinds() []cred.Kind { return []cred.Kind{"token", cred.KindPeerUID} }

func (c *tokenChecker) Check(
	ctx context.Context, credentials cred.Credentials, _ *cred.Peer,
) (cred.AvatarID, error) {
	if c.err != nil {
		return "", c.err
	}
	sent, ok := credentials.(token)
	if !ok {
		return "", nil
	}
	if err := cred.Compare(ctx, c.hashes[sent], cred.Password(sent)); err != nil {
		return "", err
	}
	return "robot", nil
}

func TestOwnChecker(t *testing.T) {
	phc, err := cred.Hash("good", cheap)
	if err != nil {
		t.Fatal(err)
	}
	checker := &tokenChecker{hashes: map[token]string{"good": phc}}
	portal := &cred.Portal{Realm: realm, Checkers: []cred.Checker{checker}}

	login, err := portal.Login(t.Context(), token("good"), nil, nil)
	if err != nil || login.ID != "robot" {
		t.Fatalf("Login = %v, %v, want robot", login, err)
	}
	if _, err := portal.Login(t.Context(),
		token("bad"), nil, nil); !errors.Is(err, cred.ErrUnauthorized) {
		t.Errorf("wrong token: error %v, want ErrUnauthorized", err)
	}
	// A checker that returns neither an account nor an error lets no peer in.
	if _, err := portal.Login(t.Context(), cred.PeerUID{},
		&cred.Peer{HasUID: true}, nil); !errors.Is(err, cred.ErrUnauthorized) {
		t.Errorf("empty account: error %v, want ErrUnauthorized", err)
	}
	if err := cred.Compare(t.Context(), phc, "good"); err != nil {
		t.Errorf("Compare outside a login = %v, want nil", err)
	}
	if err := cred.Compare(t.Context(),
		"nonsense", "good"); !errors.Is(err, cred.ErrMalformedHash) {
		t.Errorf("Compare with nonsense = %v, want ErrMalformedHash", err)
	}
}

func TestSecondCheckerIsAsked(t *testing.T) {
	more, err := cred.HashInMemory(map[string]cred.Password{"bob": "mellon"}, cheap)
	if err != nil {
		t.Fatal(err)
	}
	broken := &cred.PasswordFile{Path: t.TempDir() + "/missing"}
	portal := &cred.Portal{Realm: realm, Checkers: []cred.Checker{broken, annOnly(t), more}}
	login, err := portal.Login(t.Context(),
		cred.UsernamePassword{Username: "bob", Password: "mellon"}, nil, nil)
	if err != nil || login.ID != "bob" {
		t.Fatalf("Login = %v, %v, want bob", login, err)
	}
}

// TestFailedCheckerIsLogged has a line for each login that met a checker which could not do its
// work, also when another let the peer in or had no room for it.
func TestFailedCheckerIsLogged(t *testing.T) {
	tests := map[string]struct {
		then cred.Checker
		want error
	}{
		"let in":  {annOnly(t), nil},
		"refused": {&cred.PasswordFile{Path: "/elsewhere/users"}, cred.ErrUnauthorized},
		"busy":    {busy{}, cred.ErrBusy},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				portal := &cred.Portal{
					Realm:    realm,
					Checkers: []cred.Checker{&cred.PasswordFile{Path: "/nowhere/users"}, test.then},
					Logger:   slog.New(slog.NewTextHandler(&log, nil)),
				}
				for range 3 {
					_, err := portal.Login(t.Context(), cred.UsernamePassword{Username: "ann",
						Password: "sesame"}, from("192.0.2.1"), nil)
					if !errors.Is(err, test.want) {
						t.Errorf("Login = %v, want %v", err, test.want)
					}
					time.Sleep(time.Second) // after which a line of the kind is written again
				}
				if got := strings.Count(log.String(), "/nowhere/users"); got != 3 {
					t.Errorf("%d lines of 3 logins name the file that is missing:\n%s",
						got, log.String())
				}
				//nolint:errorlint // the very same value
				if test.want == cred.ErrUnauthorized &&
					strings.Count(log.String(), "/elsewhere/users") != 3 {
					t.Errorf("the second file that is missing is not told:\n%s", log.String())
				}
			})
		})
	}
}

// busy is a checker that is always overloaded.
type busy struct{}

func (busy) Kinds() []cred.Kind { return []cred.Kind{cred.KindPassword} }
func (busy) Check(context.Context, cred.Credentials, *cred.Peer) (cred.AvatarID, error) {
	return "", cred.ErrBusy
}

// TestPortalLoad finds what is wrong with the checkers before the first login.
func TestPortalLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	portal := &cred.Portal{Checkers: []cred.Checker{
		cred.AnonymousChecker{}, &cred.PasswordFile{Path: path}, annOnly(t),
		&cred.PasswordFile{Path: "/nowhere/users"},
	}}
	err := portal.Load()
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) ||
		!strings.Contains(err.Error(), "/nowhere/users") ||
		!strings.Contains(err.Error(), "pb passwd") {
		t.Errorf("two files are missing: %v, want both, and how to make them", err)
	}
	portal.Checkers = portal.Checkers[:3]
	write(t, path, "ann\n")
	var where *cred.FileError
	if err := portal.Load(); !errors.As(err, &where) || where.Line != 1 {
		t.Errorf("a bad line: %v, want a *FileError", err)
	}
	write(t, path, "ann:"+hashOf(t, "sesame"))
	if err := portal.Load(); err != nil {
		t.Errorf("all is well: %v", err)
	}
	if err := new(cred.Portal).Load(); err != nil {
		t.Errorf("no checkers: %v", err)
	}
	for end, f := range map[string]func(){"panic": func() { panic("boom") },
		"Goexit": runtime.Goexit} {
		var log bytes.Buffer
		bad := &cred.Portal{Checkers: []cred.Checker{sly{f: f, where: "Load"}},
			Logger: slog.New(slog.NewTextHandler(&log, nil))}
		if err := bad.Load(); err == nil || !strings.Contains(log.String(), " id=") {
			t.Errorf("%s: %v, want an error and an id in the log %q", end, err, log.String())
		}
	}
}

func TestRefusalIsLoggedNotTold(t *testing.T) {
	var log bytes.Buffer
	portal := &cred.Portal{
		Realm:    realm,
		Checkers: []cred.Checker{&cred.PasswordFile{Path: "/nowhere/users"}},
		Logger:   slog.New(slog.NewTextHandler(&log, nil)),
	}
	name := "ann\nlevel=INFO msg=\"login\"" + strings.Repeat("x", 1000)
	_, err := portal.Login(t.Context(), cred.UsernamePassword{Username: name, Password: "sesame"},
		from("192.0.2.1"), nil)
	if err != cred.ErrUnauthorized { //nolint:errorlint // the very same value
		t.Errorf("error %v, want ErrUnauthorized and nothing around it", err)
	}
	text := log.String()
	if !strings.Contains(text, "/nowhere/users") || !strings.Contains(text, "192.0.2.1") {
		t.Errorf("log %q does not say why and who", text)
	}
	if strings.Contains(text, "sesame") || strings.Count(text, "\n") != 1 || len(text) > 1000 {
		t.Errorf("log %q has the password, or more than one line, or is long", text)
	}
}

// TestLoginIsLogged has a line for each account that logs in, with account, address and kind.
func TestLoginIsLogged(t *testing.T) {
	var log bytes.Buffer
	portal := &cred.Portal{
		Realm:    realm,
		Checkers: []cred.Checker{annOnly(t), cred.AnonymousChecker{}},
		Logger:   slog.New(slog.NewTextHandler(&log, nil)),
	}
	for _, c := range []cred.Credentials{cred.UsernamePassword{Username: "ann", Password: "sesame"},
		cred.Anonymous{}} {
		login, err := portal.Login(t.Context(), c, from("192.0.2.1"), nil)
		if err != nil {
			t.Fatal(err)
		}
		login.Logout()
	}
	for _, want := range []string{`level=INFO msg="logged in" peer=192.0.2.1`,
		" kind=password account=ann\n", ` kind=anonymous account=""`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log %q lacks %q", log.String(), want)
		}
	}
	if strings.Contains(log.String(), "sesame") || strings.Count(log.String(), "\n") != 2 {
		t.Errorf("log %q has the password, or not two lines", log.String())
	}
}

// TestRefusalsAreCounted has a flood of refusals of one address fill no log.
func TestRefusalsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		portal := &cred.Portal{
			Realm:    realm,
			Logger:   slog.New(slog.NewTextHandler(&log, nil)),
			Checkers: []cred.Checker{&cred.UIDChecker{}},
		}
		for range 100 {
			for range 10 {
				_, _ = portal.Login(t.Context(), cred.PeerUID{}, from("192.0.2.1"), nil) // refused
			}
			time.Sleep(10 * time.Millisecond)
		}
		_, _ = portal.Login(t.Context(), cred.PeerUID{}, from("192.0.2.1"), nil) // refused
		if got := log.String(); strings.Count(got, "\n") != 2 ||
			!strings.Contains(got, " more=999\n") {
			t.Errorf("log %q, want a line and, a second later, another with the count", got)
		}
	})
}

// A sly does f wherever it is asked: as credentials, checker, realm, logout and clock.
type sly struct {
	f     func()
	where string
}

func (s sly) at(where string) {
	if s.where == where {
		s.f()
	}
}

func (s sly) Kind() cred.Kind    { s.at("Credentials.Kind"); return "sly" }
func (s sly) Account() string    { s.at("Account"); return "x" }
func (s sly) Kinds() []cred.Kind { s.at("Checker.Kinds"); return []cred.Kind{"sly"} }
func (s sly) Check(context.Context, cred.Credentials, *cred.Peer) (cred.AvatarID, error) {
	s.at("Check")
	if s.where == "Is" || s.where == "Error" {
		return "", slyError{s}
	}
	return "x", nil
}

func (s sly) Load() error { s.at("Load"); return nil }

func (s sly) RequestAvatar(context.Context, cred.AvatarID, any) (any, func(), error) {
	s.at("RequestAvatar")
	return s, func() { s.at("logout") }, nil
}

func (s sly) now() time.Time { s.at("Now"); return time.Now() }

type slyError struct{ sly }

func (s slyError) Error() string { s.at("Error"); return "x" }
func (s slyError) Is(error) bool { s.at("Is"); return false }

// TestProgramsCodePanics has everything that a program gives a Portal panic and end its goroutine:
// the login fails, the log has an id, and the next login finds the Portal as it was.
func TestProgramsCodePanics(t *testing.T) {
	//nolint:errorlint // the very same value
	refused := func(err error) bool { return err == cred.ErrUnauthorized }
	fine := func(err error) bool { return err == nil }
	tests := map[string]func(error) bool{
		"Credentials.Kind": refused,
		"Account":          refused,
		"Checker.Kinds":    refused,
		"Check":            refused,
		"Is":               refused,
		"Error":            refused,
		"RequestAvatar": func(err error) bool {
			return err != nil && strings.Contains(err.Error(), "the realm")
		},
		"logout": fine,
		"Now":    fine,
	}
	for where, want := range tests {
		for end, f := range map[string]func(){"panic": func() { panic("boom") },
			"Goexit": runtime.Goexit} {
			t.Run(where+" "+end, func(t *testing.T) {
				var log bytes.Buffer
				s := sly{f: f, where: where}
				portal := &cred.Portal{
					Realm: s, Checkers: []cred.Checker{s}, Limits: cred.Limits{Now: s.now},
					Logger: slog.New(slog.NewTextHandler(&log, nil)),
				}
				login, err := portal.Login(t.Context(), s, from("192.0.2.1"), nil)
				if !want(err) {
					t.Errorf("Login = %v", err)
				}
				if login != nil {
					login.Logout()
				}
				if got := log.String(); where != "Error" &&
					(!strings.Contains(got, " id=") || !strings.Contains(got, "portal_test.go")) {
					t.Errorf("the log has no id or no stack: %.300q", got)
				}
				portal.Realm = cred.RealmFunc(func(
					context.Context, cred.AvatarID, any,
				) (any, func(), error) {
					return 1, nil, nil
				})
				portal.Checkers = []cred.Checker{cred.AnonymousChecker{}}
				if _, err := portal.Login(t.Context(), cred.Anonymous{},
					from("192.0.2.2"), nil); err != nil {
					t.Errorf("the next Login = %v", err)
				}
			})
		}
	}
}

func TestRealmRefuses(t *testing.T) {
	closed := errors.New("closed on Mondays")
	tests := []struct {
		name  string
		realm cred.Realm
		want  error
	}{
		{"no realm", nil, cred.ErrNoAvatar},
		{"error", cred.RealmFunc(func(context.Context, cred.AvatarID, any) (any, func(), error) {
			return "left over", func() { t.Error("logout after an error") }, closed
		}), closed},
		{"nothing", cred.RealmFunc(func(context.Context, cred.AvatarID, any) (any, func(), error) {
			return nil, nil, nil
		}), cred.ErrNoAvatar},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			portal := &cred.Portal{Realm: test.realm,
				Checkers: []cred.Checker{cred.AnonymousChecker{}}}
			login, err := portal.Login(t.Context(), cred.Anonymous{}, nil, nil)
			if login != nil || !errors.Is(err, test.want) {
				t.Errorf("Login = %v, %v, want nil, %v", login, err, test.want)
			}
		})
	}
}

func TestLogoutRunsOnce(t *testing.T) {
	var ran atomic.Int32
	portal := &cred.Portal{
		Realm: cred.RealmFunc(func(context.Context, cred.AvatarID, any) (any, func(), error) {
			return "avatar", func() { ran.Add(1) }, nil
		}),
		Checkers: []cred.Checker{cred.AnonymousChecker{}},
	}
	login, err := portal.Login(t.Context(), cred.Anonymous{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() { // ends when the logout is done
			login.Logout()
			if ran.Load() != 1 {
				t.Error("Logout returned before the logout was done")
			}
		})
	}
	callers.Wait()
	if n := ran.Load(); n != 1 {
		t.Errorf("logout ran %d times, want once", n)
	}
}

func TestLogoutWhenContextEndsInRealm(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ran := 0
	portal := &cred.Portal{
		Realm: cred.RealmFunc(func(context.Context, cred.AvatarID, any) (any, func(), error) {
			cancel()
			return "avatar", func() { ran++ }, nil
		}),
		Checkers: []cred.Checker{cred.AnonymousChecker{}},
	}
	login, err := portal.Login(ctx, cred.Anonymous{}, nil, nil)
	if login != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("Login = %v, %v, want nil, context.Canceled", login, err)
	}
	if ran != 1 {
		t.Errorf("logout ran %d times, want once", ran)
	}
	if _, err := portal.Login(ctx, cred.Anonymous{}, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Login with an ended context: error %v, want context.Canceled", err)
	}
}
