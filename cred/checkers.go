package cred

import (
	"context"
	"fmt"
	"maps"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"perspective/internal/prefix"
)

// AnonymousChecker lets in every peer that shows Anonymous, as AnonymousID. What such a login may
// do is for the Realm to decide.
type AnonymousChecker struct{}

// Kinds is KindAnonymous.
func (AnonymousChecker) Kinds() []Kind { return []Kind{KindAnonymous} }

// Check gives AnonymousID.
func (AnonymousChecker) Check(_ context.Context, c Credentials, _ *Peer) (AvatarID, error) {
	if _, ok := c.(Anonymous); !ok {
		return "", ErrUnhandledCredentials
	}
	return AnonymousID, nil
}

// UIDChecker lets in processes that connect over a unix socket, by the uid that the kernel
// says. The zero value lets nobody in. Its fields are not changed once it is used.
type UIDChecker struct {
	// Accounts says which uid is which account.
	Accounts map[uint32]AvatarID

	// LookUp is asked about uids that are not in Accounts. nil refuses them. SystemAccount lets in
	// every account of the machine under its own name.
	LookUp func(uid uint32) (AvatarID, error)
}

// Kinds is KindPeerUID.
func (*UIDChecker) Kinds() []Kind { return []Kind{KindPeerUID} }

// Check gives the account of a PeerUID.
func (u *UIDChecker) Check(_ context.Context, c Credentials, _ *Peer) (AvatarID, error) {
	fact, ok := c.(PeerUID)
	if !ok {
		return "", ErrUnhandledCredentials
	}
	if id, listed := u.Accounts[fact.UID]; listed {
		return id, nil
	}
	if u.LookUp != nil {
		return u.LookUp(fact.UID)
	}
	return "", ErrUnauthorized
}

// SystemAccount gives the name that the machine's own user database has for a uid. An account of
// the same name in a password file may belong to another user: use it only where the two agree.
func SystemAccount(uid uint32) (AvatarID, error) {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return "", prefix.Errorf("cred: no account has this uid: %w", err)
	}
	return AvatarID(u.Username), nil
}

// KeyChecker lets in the peers whose TLS key is listed. The zero value lets nobody in. Its
// field is not changed once it is used.
type KeyChecker struct {
	// Accounts says which node id is which account. An empty account stands for the node id itself.
	Accounts map[string]AvatarID
}

// Kinds is KindPeerKey.
func (*KeyChecker) Kinds() []Kind { return []Kind{KindPeerKey} }

// Check gives the account of a PeerKey.
func (k *KeyChecker) Check(_ context.Context, c Credentials, _ *Peer) (AvatarID, error) {
	fact, ok := c.(PeerKey)
	if !ok {
		return "", ErrUnhandledCredentials
	}
	id, listed := k.Accounts[fact.NodeID]
	if !listed || fact.NodeID == "" {
		return "", ErrUnauthorized
	}
	if id == "" {
		id = AvatarID(fact.NodeID)
	}
	return id, nil
}

// InMemory checks passwords against hashes that it holds. It is made by NewInMemory or HashInMemory
// and never changes; the zero value lets nobody in.
type InMemory struct {
	users *passwords
}

// NewInMemory takes the hashes of the users, each as Hash makes it. The error names the first
// user that can't be used.
func NewInMemory(hashes map[string]string) (*InMemory, error) {
	users := newPasswords()
	for _, name := range slices.Sorted(maps.Keys(hashes)) {
		if err := users.add(name, hashes[name]); err != nil {
			return nil, prefix.Errorf("cred: user %q: %w", name, err)
		}
	}
	return &InMemory{users: users}, nil
}

// HashInMemory takes the passwords of the users and keeps their hashes. It is for tests and
// small programs: each user costs a hash at the start. nil params mean DefaultParams.
func HashInMemory(plain map[string]Password, params *HashParams) (*InMemory, error) {
	hashes := make(map[string]string, len(plain))
	for name, password := range plain {
		phc, err := Hash(password, params)
		if err != nil {
			return nil, prefix.Errorf("cred: user %q: %w", name, err)
		}
		hashes[name] = phc
	}
	return NewInMemory(hashes)
}

// Kinds is KindPassword.
func (*InMemory) Kinds() []Kind { return []Kind{KindPassword} }

// Check gives the account of a UsernamePassword: its user name.
func (m *InMemory) Check(ctx context.Context, c Credentials, _ *Peer) (AvatarID, error) {
	claim, ok := c.(UsernamePassword)
	if !ok {
		return "", ErrUnhandledCredentials
	}
	return m.users.check(ctx, claim)
}

// passwords are users and their hashes. They are filled by one goroutine and then only read; a
// nil *passwords has no users.
type passwords struct {
	records map[string]*record
	kinds   []*record // of each cost in records one that no password fits, in the order they came
}

func newPasswords() *passwords {
	return &passwords{records: make(map[string]*record)}
}

func (p *passwords) add(name, phc string) error {
	if err := checkUsername(name); err != nil {
		return err
	}
	if p.records[name] != nil {
		return fmt.Errorf("%w: it is there twice", ErrBadUsername)
	}
	r, err := parsePHC(phc)
	if err != nil {
		return err
	}
	p.records[name] = r
	if !slices.ContainsFunc(p.kinds, r.costsAs) {
		p.kinds = append(p.kinds, dummy(r.params))
	}
	return nil
}

// check costs the same for all, whether the user is there or not: one hash of each kind among the
// users, of which one is the user's own.
func (p *passwords) check(ctx context.Context, c UsernamePassword) (AvatarID, error) {
	if p == nil || len(p.kinds) == 0 {
		return "", compare(ctx, c.Password, dummy(DefaultParams()))
	}
	work := slices.Clone(p.kinds)
	if own := p.records[c.Username]; own != nil {
		work[slices.IndexFunc(work, own.costsAs)] = own
	}
	if err := compare(ctx, c.Password, work...); err != nil {
		return "", err
	}
	return AvatarID(c.Username), nil
}

const maxUsernameBytes = 256

// checkUsername holds names to what a line of a password file can carry.
func checkUsername(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrBadUsername)
	case len(name) > maxUsernameBytes:
		return fmt.Errorf("%w: it is longer than %d bytes", ErrBadUsername, maxUsernameBytes)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: it is not UTF-8", ErrBadUsername)
	case strings.ContainsRune(name, ':'):
		return fmt.Errorf("%w: it has a colon", ErrBadUsername)
	case strings.ContainsFunc(name, unseen):
		return fmt.Errorf("%w: it has a control or invisible character", ErrBadUsername)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("%w: it has white space at an end", ErrBadUsername)
	case name[0] == '#':
		return fmt.Errorf("%w: it begins with #, as a comment does", ErrBadUsername)
	case name[0] == '$':
		return fmt.Errorf("%w: it begins with $, as a hash does", ErrBadUsername)
	}
	return nil
}

// unseen is true for what would make two names look alike or break a line.
func unseen(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}
