package cred_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"perspective/cred"
)

func hashOf(t testing.TB, password cred.Password) string {
	t.Helper()
	phc, err := cred.Hash(password, cheap)
	if err != nil {
		t.Fatal(err)
	}
	return phc
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// knows says whether a checker lets this user in; the error is that of the checker.
func knows(t *testing.T, c cred.Checker, user string, password cred.Password) (bool, error) {
	t.Helper()
	id, err := c.Check(t.Context(),
		cred.UsernamePassword{Username: user, Password: password}, &cred.Peer{})
	if err == nil && id != cred.AvatarID(user) {
		t.Errorf("Check of %q gave %q", user, id)
	}
	return err == nil, err
}

func TestPasswordFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	write(t, path, "# who may come\r\n\r\n  ann:"+hashOf(t, "sesame")+"  \r\n\n# bob:"+
		hashOf(t, "mellon")+"\nzoë k:"+hashOf(t, "x"))
	file := &cred.PasswordFile{Path: path}
	if err := file.Load(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		user     string
		password cred.Password
		want     bool
	}{
		{"ann", "sesame", true},
		{"ann", "mellon", false},
		{"bob", "mellon", false},
		{"# bob", "mellon", false},
		{"zoë k", "x", true},
		{"", "", false},
	}
	for _, test := range tests {
		got, err := knows(t, file, test.user, test.password)
		if got != test.want || err != nil && !errors.Is(err, cred.ErrUnauthorized) {
			t.Errorf("Check(%q, %q) = %t, %v, want %t", test.user, string(test.password),
				got, err, test.want)
		}
	}
}

func TestPasswordFileFollowsChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	file := &cred.PasswordFile{Path: path}
	long := time.Now().Add(-time.Hour)
	old := hashOf(t, "sesame")
	other := hashOf(t, "mellon")

	steps := []struct {
		name   string
		change func()
		want   cred.Password // "" for nobody
		reason string        // in the checker's error
	}{
		{"missing", func() {}, "", "no such file"},
		{"made", func() { write(t, path, "ann:"+old+"\n") }, "sesame", ""},
		{"same size, written at once", func() { write(t, path, "ann:"+other+"\n") }, "mellon", ""},
		{"old time stamp", func() { chtimes(t, path, long) }, "mellon", ""},
		{"nothing", func() {}, "mellon", ""},
		{"same size, other time", func() {
			write(t, path, "ann:"+old+"\n")
			chtimes(t, path, long.Add(time.Second))
		}, "sesame", ""},
		{"same size and time, other file", func() {
			write(t, path+"2", "ann:"+other+"\n")
			chtimes(t, path+"2", long.Add(time.Second))
			rename(t, path+"2", path)
		}, "mellon", ""},
		{"other size, same time", func() {
			write(t, path, "ann:"+old+"\n# more\n")
			chtimes(t, path, long.Add(time.Second))
		}, "sesame", ""},
		{"malformed", func() { write(t, path, "ben:"+other+"\nann:"+old+"x\n") }, "",
			`users:2 (user "ann")`},
		{"malformed still", func() { chtimes(t, path, long) }, "", `users:2 (user "ann")`},
		{"gone", func() { rename(t, path, path+"3") }, "", "no such file"},
		{"back", func() { write(t, path, "ann:"+old) }, "sesame", ""},
	}
	for _, step := range steps {
		step.change()
		for _, password := range []cred.Password{"sesame", "mellon"} {
			got, err := knows(t, file, "ann", password)
			if got != (password == step.want) {
				t.Fatalf("%s: Check with %q = %t, %v", step.name, string(password), got, err)
			}
			if step.reason != "" && !strings.Contains(err.Error(), step.reason) {
				t.Errorf("%s: error %q does not say %q", step.name, err, step.reason)
			}
		}
	}
}

func chtimes(t *testing.T, path string, when time.Time) {
	t.Helper()
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestPasswordFileNamesTheLine(t *testing.T) {
	good := hashOf(t, "sesame")
	salted := "$argon2id$v=19$m=8192,t=1,p=1$c2FsdHNhbHRzYWx0$a2V5a2V5a2V5a2V5a2V5"
	tests := []struct {
		name, content string
		line          int
		user          string
		want          error
	}{
		{"no colon", "ann:" + good + "\n\n" + good + "\n", 3, "", cred.ErrMalformedHash},
		{"no hash", "ann:\n", 1, "ann", cred.ErrMalformedHash},
		{"plain password", "ann:sesame\n", 1, "ann", cred.ErrMalformedHash},
		{"cut short", "ann:" + salted[:len(salted)-12] + "\n", 1, "ann", cred.ErrMalformedHash},
		{"hash first", salted + ":ann\n", 1, "", cred.ErrBadUsername},
		{"argon2id hash alone", salted + "\n", 1, "", cred.ErrMalformedHash},
		{"no user", ":" + good + "\n", 1, "", cred.ErrBadUsername},
		{"space before the colon", "ann :" + good + "\n", 1, "", cred.ErrBadUsername},
		{"control character", "an\x07n:" + good + "\n", 1, "", cred.ErrBadUsername},
		{"not UTF-8", "an\xffn:" + good + "\n", 1, "", cred.ErrBadUsername},
		{"invisible character", "ann\u200b:" + good + "\n", 1, "", cred.ErrBadUsername},
		{"a field too many", "ann:" + good + ":100\n", 1, "ann", cred.ErrMalformedHash},
		{"twice", "ann:" + good + "\nann:" + good + "\n", 2, "ann", cred.ErrBadUsername},
		{"endless line", "# \n" + strings.Repeat("x", 5000) + "\n", 2, "", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "users")
			write(t, path, test.content)
			err := (&cred.PasswordFile{Path: path}).Load()
			var where *cred.FileError
			if !errors.As(err, &where) {
				t.Fatalf("Load = %v, want a *FileError", err)
			}
			if where.Line != test.line || where.User != test.user || where.Path != path {
				t.Errorf("Load = %v, want line %d, user %q", err, test.line, test.user)
			}
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("Load = %v, want %v", err, test.want)
			}
			for _, secret := range []string{good[10:20], "c2FsdH", "a2V5", "sesame"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("Load = %v tells a part of the hash", err)
				}
			}
		})
	}
}

func TestPasswordFileRights(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such rights here")
	}
	path := filepath.Join(t.TempDir(), "users")
	write(t, path, "ann:"+hashOf(t, "sesame")+"\n")
	file := &cred.PasswordFile{Path: path}
	for mode, want := range map[os.FileMode]bool{
		0o600: true, 0o400: true, 0o640: true, 0o440: true,
		0o644: false, 0o604: false, 0o602: false, 0o660: false, 0o666: false, 0o620: false,
	} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		got, err := knows(t, file, "ann", "sesame")
		if got != want {
			t.Errorf("mode %#o: Check = %t, %v, want %t", mode, got, err, want)
		}
		if !want && (err == nil || !strings.Contains(err.Error(), "chmod")) {
			t.Errorf("mode %#o: error %v does not say what to do", mode, err)
		}
	}
	if err := (&cred.PasswordFile{Path: filepath.Dir(path)}).Load(); err == nil {
		t.Error("a folder was taken for a password file")
	}
}
