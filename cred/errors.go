package cred

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrUnauthorized comes from Login for every login that is refused: an unknown user, a wrong
	// password, a uid or a key that nobody listed, a password file that can't be read. It is always
	// this very value, so that nothing can be learnt from it; the reason goes to the Portal's
	// Logger.
	ErrUnauthorized = errors.New("cred: login refused: unknown user or wrong credentials")

	// ErrUnhandledCredentials comes from Login when no checker of the Portal takes credentials of
	// this kind.
	ErrUnhandledCredentials = errors.New(
		"cred: credentials of this kind are not taken here: log in another way")

	// ErrBusy comes from Login when too many passwords wait to be hashed. Nothing was checked and
	// nothing is held against the peer: try again later.
	ErrBusy = errors.New("cred: too many logins at once: try again later")

	// ErrTooManyTries comes from Login after too many wrong guesses, and nothing was checked. The
	// error is a *TooManyTriesError, which says how long to wait.
	ErrTooManyTries = errors.New("cred: too many wrong tries: wait before the next one")

	// ErrNoAvatar comes from Login when the credentials hold but the Realm gave neither an avatar
	// nor an error, or when the Portal has no Realm.
	ErrNoAvatar = errors.New("cred: the realm has no avatar for this account")

	// ErrNotAllowed comes from the functions of AllowKeys, AllowUIDs, AllowAny and AllowAll.
	ErrNotAllowed = errors.New("cred: this peer is not on the list of those allowed")

	// ErrMalformedHash comes from Verify, WriteEntry and the password checkers for a string that is
	// no PHC string of argon2id and no bcrypt hash, or whose parameters lie outside the limits
	// that HashParams names.
	ErrMalformedHash = errors.New("cred: malformed password hash")

	// ErrBadParams comes from Hash for parameters outside the limits that HashParams names.
	ErrBadParams = errors.New("cred: hash parameters out of range")

	// ErrBadPassword comes from Hash for a password that the hash would not take whole: empty, over
	// 1,024 bytes, or for bcrypt over 72 bytes or with a NUL in it.
	ErrBadPassword = errors.New("cred: password can't be used")

	// ErrBadUsername comes from WriteEntry and the password checkers for a user name that is
	// empty, longer than 256 bytes, not UTF-8, there twice, or has a colon, a control or invisible
	// character, a '#' or '$' in front, or white space at either end.
	ErrBadUsername = errors.New("cred: user name can't be used")

	// ErrBadNodeID comes from ParseNodeID.
	ErrBadNodeID = errors.New("cred: not a node id: want 52 lower-case letters and digits 2 to 7")

	// ErrBadSignature refuses a message that the node it is said to come from has not signed so.
	ErrBadSignature = errors.New("cred: not signed by this node")
)

// A TooManyTriesError says how long a peer has to wait before its next login is looked at.
// errors.Is(err, ErrTooManyTries) is true for it.
type TooManyTriesError struct {
	// RetryAfter is the time to wait from now.
	RetryAfter time.Duration
}

// Error says how many seconds to wait, rounded up.
func (e *TooManyTriesError) Error() string {
	seconds := (e.RetryAfter + time.Second - 1) / time.Second
	return fmt.Sprintf("cred: too many wrong tries: try again in %d s", seconds)
}

// Is reports whether target is ErrTooManyTries.
func (e *TooManyTriesError) Is(target error) bool { return target == ErrTooManyTries }

// A FileError says which line of a password file is wrong and why. It never holds any part of
// the line but the user's name.
type FileError struct {
	Path string
	Line int    // counts from 1
	User string // empty where the line has no usable name
	Err  error
}

// Error gives file, line, user and reason.
func (e *FileError) Error() string {
	user := ""
	if e.User != "" {
		user = fmt.Sprintf(" (user %q)", e.User)
	}
	return fmt.Sprintf("cred: %s:%d%s: %v", e.Path, e.Line, user, e.Err)
}

// Unwrap gives the reason.
func (e *FileError) Unwrap() error { return e.Err }
