package cred

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
)

// An AvatarID names an account: what a Checker finds out and a Realm starts from. The empty one is
// nobody in particular and comes from anonymous logins alone.
type AvatarID string

// AnonymousID is the AvatarID of those who logged in with Anonymous.
const AnonymousID AvatarID = ""

// A Checker says whose credentials these are. Its methods are called by many goroutines at once.
type Checker interface {
	// Kinds are the credentials that Check understands. It gives the same every time.
	Kinds() []Kind

	// Check gives the account that the credentials belong to. peer is never nil. If they do not hold the
	// error is ErrUnauthorized. Any other error means the same to the peer but is logged, so it
	// should say what is wrong; only ErrBusy and the error of an ended ctx are passed on.
	//
	// A checker of passwords uses Compare, also for users it does not know.
	Check(ctx context.Context, credentials Credentials, peer *Peer) (AvatarID, error)
}

// A Realm turns accounts into avatars. Its method is called by many goroutines at once.
type Realm interface {
	// RequestAvatar gives the avatar of an account for one login. mind is what the peer brought
	// along: most often a reference to an object of its own, or nil. logout is called exactly once
	// when the login ends, also if ctx ended meanwhile and nobody got the avatar; it may be nil. With
	// an error the other results are not looked at.
	RequestAvatar(ctx context.Context, id AvatarID, mind any) (avatar any, logout func(), err error)
}

// RealmFunc is a function as a Realm.
type RealmFunc func(ctx context.Context, id AvatarID, mind any) (avatar any, logout func(), err error)

// RequestAvatar calls f.
func (f RealmFunc) RequestAvatar(ctx context.Context, id AvatarID, mind any) (any, func(), error) {
	return f(ctx, id, mind)
}

// A Portal lets peers in. Its exported fields are set before its first login and not changed
// afterwards; it may then be used by many goroutines at once. It has no goroutines and
// needs no closing. The zero value lets nobody in. It must not be copied once used.
type Portal struct {
	// Realm gives the avatars. nil: no login succeeds.
	Realm Realm

	// Checkers are asked in order, those that take the kind of the credentials, until one says yes.
	Checkers []Checker

	// Hashing bounds the work on passwords. The zero value has good bounds.
	Hashing Hashing

	// Limits slow down guessing. The zero value has good limits.
	Limits Limits

	// Logger gets a line for each login that is refused and for each checker that could not do
	// its work. nil: nothing is logged.
	Logger *slog.Logger

	queue    hashQueue
	throttle throttle
	onHash   func(HashParams)
}

// Login checks credentials and gives the avatar they entitle to. Whoever gets a *Login has to end it
// with Logout. peer are the facts about the connection; nil means that there are none.
//
// The errors are ErrUnauthorized, ErrUnhandledCredentials, ErrBusy, ErrTooManyTries, that of ctx if
// it has ended, and what the Realm gave.
func (p *Portal) Login(ctx context.Context, credentials Credentials, peer *Peer, mind any) (*Login, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if peer == nil {
		peer = &Peer{}
	}
	id, err := p.identify(ctx, credentials, peer)
	if err != nil {
		return nil, err
	}
	if p.Realm == nil {
		return nil, ErrNoAvatar
	}
	avatar, logout, err := p.Realm.RequestAvatar(ctx, id, mind)
	if err != nil {
		return nil, err
	}
	login := &Login{Avatar: avatar, ID: id, logout: logout}
	if avatar == nil {
		login.Logout()
		return nil, ErrNoAvatar
	}
	if err := ctx.Err(); err != nil {
		login.Logout()
		return nil, err
	}
	return login, nil
}

// identify finds the account, with everything that has to happen around a guess.
func (p *Portal) identify(ctx context.Context, credentials Credentials, peer *Peer) (AvatarID, error) {
	if credentials == nil {
		return "", ErrUnhandledCredentials
	}
	kind := credentials.Kind()
	checkers := p.checkersFor(kind)
	if len(checkers) == 0 {
		return "", ErrUnhandledCredentials
	}
	if fact, ok := credentials.(attested); ok {
		vouched, known := fact.attested(peer)
		if !known {
			p.refused(ctx, slog.LevelWarn, kind, "", peer, errors.New("the connection does not vouch for it"))
			return "", ErrUnauthorized
		}
		return p.ask(ctx, checkers, vouched, peer, "")
	}
	if kind == KindAnonymous {
		return p.ask(ctx, checkers, credentials, peer, "")
	}

	account := ""
	if named, ok := credentials.(interface{ Account() string }); ok {
		account = named.Account()
	}
	limits, place := p.Limits.filled(), peer.place()
	if err := p.throttle.check(limits, account, place); err != nil {
		p.refused(ctx, slog.LevelDebug, kind, account, peer, err)
		return "", err
	}
	ctx = context.WithValue(ctx, attemptKey{}, &attempt{
		queue: &p.queue, hashing: p.Hashing, place: place, onHash: p.onHash,
	})
	id, err := p.ask(ctx, checkers, credentials, peer, account)
	switch {
	case err == nil:
		p.throttle.right(account, place)
	case errors.Is(err, ErrUnauthorized):
		p.throttle.wrong(limits, account, place)
	}
	return id, err
}

func (p *Portal) checkersFor(kind Kind) []Checker {
	var found []Checker
	for _, c := range p.Checkers {
		if slices.Contains(c.Kinds(), kind) {
			found = append(found, c)
		}
	}
	return found
}

// ask goes through the checkers. All of them are asked about credentials that do not hold, so
// that a user of the first costs as much as one of none.
func (p *Portal) ask(ctx context.Context, checkers []Checker, c Credentials, peer *Peer, account string) (AvatarID, error) {
	reason := ErrUnauthorized
	for _, checker := range checkers {
		id, err := checker.Check(ctx, c, peer)
		if err == nil && id == AnonymousID && c.Kind() != KindAnonymous {
			err = errors.New("the checker gave no account")
		}
		if err == nil {
			return id, nil
		}
		switch {
		case errors.Is(err, ErrUnauthorized):
			// It counts as a wrong guess even if the peer has given up since.
		case errors.Is(err, ErrBusy):
			return "", ErrBusy
		case ctx.Err() != nil:
			return "", ctx.Err()
		default:
			reason = err
		}
	}
	p.refused(ctx, slog.LevelWarn, c.Kind(), account, peer, reason)
	return "", ErrUnauthorized
}

func (p *Portal) refused(ctx context.Context, level slog.Level, kind Kind, account string, peer *Peer, reason error) {
	if p.Logger == nil {
		return
	}
	p.Logger.LogAttrs(ctx, level, "login refused",
		slog.String("peer", quoted(peer.String())),
		slog.String("kind", string(kind)),
		slog.String("account", quoted(account)),
		slog.String("reason", reason.Error()))
}

// A Login is one peer let in, until Logout.
type Login struct {
	// Avatar is what the Realm gave; never nil.
	Avatar any

	// ID is the account that the credentials belong to.
	ID AvatarID

	once   sync.Once
	logout func()
}

// Logout ends the login: it calls the Realm's logout function the first time, and nothing
// afterwards. It may be called by many goroutines at once; each returns when the logout is done. The
// logout function itself must not call it.
func (l *Login) Logout() {
	l.once.Do(func() {
		if l.logout != nil {
			l.logout()
		}
	})
}
