package cred

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"perspective/internal/prefix"
)

const (
	maxPasswdFileBytes = 16 << 20
	maxPasswdLineBytes = 4096

	// settled is how old a file must be before its time stamp tells all later changes: file systems
	// count in steps of up to two seconds.
	settled = 2 * time.Second
)

// PasswordFile checks passwords against a file of lines "user:hash", the hash as Hash makes it.
// Empty lines and lines that begin with # are skipped. The file is looked at on every login and
// read again when it has changed.
//
// A file that is missing, malformed, or open to others lets nobody in: a half-read list could still
// let in a user that was struck off. The reason goes to the Portal's Logger at each login. At the
// start a pb.Node calls Portal.Load, and this checker's Load returns the reason.
//
// A login costs one hash of each kind in the file, so that nobody can tell from the time which a
// user has, or that there is none: a file of bcrypt and argon2id costs both for all.
//
// On systems with such rights the file must not be readable or writable by others, nor
// writable by its group: 0600, or 0640 for a service that reads what root owns.
//
// It may be used by many goroutines at once; Path is set before. It holds nothing open and
// needs no closing.
type PasswordFile struct {
	// Path is where the file lies.
	Path string

	last atomic.Pointer[passwordFileState]
}

// passwordFileState is what was found at one look. Two goroutines may read the file at the same
// time and the older state win; the next look then sees that it does not fit the file.
type passwordFileState struct {
	info   os.FileInfo
	readAt time.Time
	users  *passwords
	err    error
}

// Kinds is KindPassword.
func (*PasswordFile) Kinds() []Kind { return []Kind{KindPassword} }

// Check gives the account of a UsernamePassword: its user name.
func (f *PasswordFile) Check(ctx context.Context, c Credentials, _ *Peer) (AvatarID, error) {
	claim, ok := c.(UsernamePassword)
	if !ok {
		return "", ErrUnhandledCredentials
	}
	users, err := f.users()
	if err != nil {
		return "", err
	}
	return users.check(ctx, claim)
}

// ParsePasswords reads the text of a password file; name stands for it in errors. It is for a
// process that is handed the text and may not open the file.
func ParsePasswords(name string, text []byte) (*InMemory, error) {
	users, err := parsePasswd(name, text)
	if err != nil {
		return nil, err
	}
	return &InMemory{users: users}, nil
}

// Load reads the file if it has changed and says what is wrong with it. A malformed line gives a
// *FileError.
func (f *PasswordFile) Load() error {
	_, err := f.users()
	return err
}

func (f *PasswordFile) users() (*passwords, error) {
	// Opening something else than a file, such as a named pipe, could wait for ever.
	info, err := os.Stat(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, prefix.Errorf(
			"cred: password file: %w; make it with 'pb passwd' or cred.WriteEntry", err)
	}
	if err != nil {
		return nil, prefix.Errorf("cred: password file: %w", err)
	}
	if err := checkPasswdFile(f.Path, info); err != nil {
		return nil, err
	}
	if last := f.last.Load(); last != nil && last.fits(info) {
		return last.users, last.err
	}
	state := &passwordFileState{readAt: time.Now()}
	data, info, err := readPasswdFile(f.Path)
	if err != nil {
		return nil, err
	}
	state.info = info
	state.users, state.err = parsePasswd(f.Path, data)
	f.last.Store(state)
	return state.users, state.err
}

func (s *passwordFileState) fits(now os.FileInfo) bool {
	return os.SameFile(s.info, now) &&
		s.info.ModTime().Equal(now.ModTime()) &&
		s.info.Size() == now.Size() &&
		s.readAt.Sub(s.info.ModTime()) > settled
}

func readPasswdFile(path string) ([]byte, os.FileInfo, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, prefix.Errorf("cred: password file: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return nil, nil, prefix.Errorf("cred: password file: %w", err)
	}
	if err := checkPasswdFile(path, info); err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxPasswdFileBytes+1))
	if err != nil {
		return nil, nil, prefix.Errorf("cred: password file: %w", err)
	}
	if len(data) > maxPasswdFileBytes {
		return nil, nil, fmt.Errorf("cred: password file %s is larger than %d MiB", path,
			maxPasswdFileBytes>>20)
	}
	return data, info, nil
}

// checkPasswdFile refuses what is no file and what strangers could read hashes from or write
// accounts into.
func checkPasswdFile(path string, info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("cred: password file %s is not a regular file", path)
	}
	// Windows has no such rights and shows made-up ones.
	if runtime.GOOS == "windows" {
		return nil
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return fmt.Errorf("cred: password file %s has mode %#o, open to others: chmod it to 0600 "+
			"or 0640", path, mode)
	}
	return nil
}

// parsePasswd reads the lines of a password file. The error is a *FileError for the first bad line.
func parsePasswd(path string, data []byte) (*passwords, error) {
	users := newPasswords()
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(make([]byte, 0, 512), maxPasswdLineBytes)
	number := 0
	for lines.Scan() {
		number++
		name, phc, skip, err := passwdLine(lines.Text())
		if err == nil && !skip {
			err = users.add(name, phc)
		}
		if err != nil {
			if checkUsername(name) != nil {
				name = "" // it may be anything, a password typed into the wrong place among them
			}
			return nil, &FileError{Path: path, Line: number, User: name, Err: err}
		}
	}
	if lines.Err() != nil {
		err := fmt.Errorf("the line is longer than %d bytes", maxPasswdLineBytes)
		return nil, &FileError{Path: path, Line: number + 1, Err: err}
	}
	return users, nil
}

func passwdLine(line string) (name, phc string, skip bool, err error) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", "", true, nil
	}
	name, phc, found := strings.Cut(line, ":")
	if !found {
		return "", "", false, fmt.Errorf("%w: want user:hash, there is no colon", ErrMalformedHash)
	}
	return name, phc, false, nil
}
