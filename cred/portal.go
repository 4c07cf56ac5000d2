package cred

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"perspective/internal/guard"
	"perspective/internal/lines"
	"perspective/internal/prefix"
)

// An AvatarID names an account: what a Checker finds out and a Realm starts from. The empty one is
// nobody in particular and comes from anonymous logins alone.
type AvatarID string

// AnonymousID is the AvatarID of logins with Anonymous.
const AnonymousID AvatarID = ""

// A Checker says whose credentials these are. Its methods are called by many goroutines at once.
type Checker interface {
	// Kinds are the credentials that Check understands. It gives the same every time.
	Kinds() []Kind

	// Check gives the account that the credentials belong to. peer is never nil. If they do not
	// hold the error is ErrUnauthorized. Any other error means the same to the peer but is logged,
	// so it should say what is wrong; only ErrBusy and the error of an ended ctx are passed on.
	//
	// A checker of passwords uses Compare, also for users it does not know.
	Check(ctx context.Context, credentials Credentials, peer *Peer) (AvatarID, error)
}

// A Loader is a Checker that reads what it checks against from somewhere, as a *PasswordFile does.
// Load says what is wrong with it, so that this is known before the first login fails.
// Portal.Load calls it; it may be called by many goroutines at once, and more than once.
type Loader interface {
	Checker
	Load() error
}

// A Realm turns accounts into avatars. Its method is called by many goroutines at once.
type Realm interface {
	// RequestAvatar gives the avatar of an account for one login. mind is what the peer brought
	// along: most often a reference to an object of its own, or nil. logout is called exactly once
	// when the login ends, also if ctx ended meanwhile and nobody got the avatar; it may be nil.
	// With an error the other results are not looked at.
	RequestAvatar(ctx context.Context, id AvatarID, mind any) (avatar any, logout func(), err error)
}

// RealmFunc is a function as a Realm.
type RealmFunc func(
	ctx context.Context, id AvatarID, mind any,
) (avatar any, logout func(), err error)

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

	// Logger gets a line for each login: account, address and kind of credentials, at Info if it
	// succeeds. A refusal is at Warn, as is a checker or a realm that could not do its work or
	// panicked. nil: slog.Default. Of the refusals of one address there is a line a second, which
	// tells as "more" how many were left out; so for the logins of one account from one address.
	Logger *slog.Logger

	log      lines.Log
	queue    hashQueue
	throttle throttle
	onHash   func(HashParams)
}

// Load asks each of the Checkers that is a Loader whether it can do its work, and gives what is
// wrong with those that cannot, such as a password file that is missing or malformed. It changes
// nothing and may be called again. A pb.Node calls it when it first uses the Portal. A program that
// calls Login itself calls Load at its start.
func (p *Portal) Load() error {
	var errs []error
	for _, c := range p.Checkers {
		if l, ok := c.(Loader); ok {
			errs = append(errs,
				p.fault(context.Background(), "a checker", "", &Peer{}, guard.Run(l.Load)))
		}
	}
	return errors.Join(errs...)
}

// Login checks credentials and gives the avatar they entitle to. The caller ends the *Login with
// Logout. peer are the facts about the connection; nil means that there are none.
//
// The errors are ErrUnauthorized, ErrUnhandledCredentials, ErrBusy, ErrTooManyTries, that of ctx if
// it has ended, and what the Realm gave.
func (p *Portal) Login(
	ctx context.Context, credentials Credentials, peer *Peer, mind any,
) (*Login, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if peer == nil {
		peer = &Peer{}
	}
	id, kind, err := p.identify(ctx, credentials, peer)
	if err != nil {
		return nil, err
	}
	if p.Realm == nil {
		return nil, ErrNoAvatar
	}
	var avatar any
	var logout func()
	err = guard.Run(func() (err error) {
		avatar, logout, err = p.Realm.RequestAvatar(ctx, id, mind)
		return err
	})
	if err != nil {
		return nil, p.fault(ctx, "the realm", id, peer, err)
	}
	login := &Login{Avatar: avatar, ID: id, logout: logout, portal: p, peer: peer}
	if avatar == nil {
		login.Logout()
		return nil, ErrNoAvatar
	}
	if err := ctx.Err(); err != nil {
		login.Logout()
		return nil, err
	}
	account := slog.String("account", string(id))
	p.logger().LogAttrs(lines.Apart(ctx, account), slog.LevelInfo, "logged in",
		slog.String("peer", peer.String()), slog.String("kind", string(kind)), account)
	return login, nil
}

func (p *Portal) logger() *slog.Logger { return p.log.Logger(p.Logger) }

// fault logs err if it is a panic in what the program gave, and returns what the peer may see of
// it.
func (p *Portal) fault(ctx context.Context, what string, id AvatarID, peer *Peer, err error) error {
	if !lines.Fault(ctx, p.logger(), what, err, "peer", peer.String(), "account",
		clip(string(id))) {
		return err
	}
	return prefix.Errorf("cred: %s: %w", what, err)
}

// identify finds the account, with everything that has to happen around a guess.
func (p *Portal) identify(
	ctx context.Context, credentials Credentials, peer *Peer,
) (AvatarID, Kind, error) {
	if credentials == nil {
		return "", "", ErrUnhandledCredentials
	}
	claim, err := claimOf(credentials)
	if err != nil {
		p.refused(ctx, slog.LevelWarn, claim, peer, p.fault(ctx, "the credentials", "", peer, err))
		return "", "", ErrUnauthorized
	}
	checkers, err := p.checkersFor(claim.kind)
	if err != nil {
		p.refused(ctx, slog.LevelWarn, claim, peer, p.fault(ctx, "a checker", "", peer, err))
		return "", "", ErrUnauthorized
	}
	if len(checkers) == 0 {
		return "", "", ErrUnhandledCredentials
	}
	if fact, ok := credentials.(attested); ok {
		vouched, known := fact.attested(peer)
		if !known {
			p.refused(ctx, slog.LevelWarn, claim, peer,
				errors.New("the connection does not vouch for it"))
			return "", "", ErrUnauthorized
		}
		id, err := p.ask(ctx, checkers, vouched, peer, claim)
		return id, claim.kind, err
	}
	if claim.kind == KindAnonymous {
		id, err := p.ask(ctx, checkers, credentials, peer, claim)
		return id, claim.kind, err
	}
	limits, place := p.Limits.filled(), peer.place()
	limits.Now = p.guardedNow(ctx, limits.Now, peer)
	if err := p.throttle.check(limits, claim.account, place); err != nil {
		p.refused(ctx, slog.LevelDebug, claim, peer, err)
		return "", "", err
	}
	tried := &attempt{
		queue:   &p.queue,
		hashing: p.Hashing,
		limits:  limits,
		place:   place,
		onHash:  p.onHash,
	}
	ctx = context.WithValue(ctx, attemptKey{}, tried)
	id, err := p.ask(ctx, checkers, credentials, peer, claim)
	switch {
	case err == nil:
		p.throttle.right(claim.account, place)
		p.queue.right(tried)
	case errors.Is(err, ErrUnauthorized):
		p.throttle.wrong(limits, claim.account, place)
	}
	return id, claim.kind, err
}

// guardedNow is now, or time.Now where that panics.
func (p *Portal) guardedNow(
	ctx context.Context, now func() time.Time, peer *Peer,
) func() time.Time {
	if p.Limits.Now == nil {
		return now
	}
	return func() (t time.Time) {
		err := guard.Run(func() error {
			t = now()
			return nil
		})
		if err != nil {
			_ = p.fault(ctx, "Limits.Now", "", peer, err) // the machine's own clock serves
			t = time.Now()
		}
		return t
	}
}

// A claim is what credentials say of themselves.
type claim struct {
	kind    Kind
	account string // empty if they name none
}

// claimOf asks c, which may be of a program's type.
func claimOf(c Credentials) (made claim, err error) {
	err = guard.Run(func() error {
		made.kind = c.Kind()
		if named, ok := c.(interface{ Account() string }); ok {
			made.account = named.Account()
		}
		return nil
	})
	return made, err
}

func (p *Portal) checkersFor(kind Kind) (found []Checker, err error) {
	err = guard.Run(func() error {
		for _, c := range p.Checkers {
			if slices.Contains(c.Kinds(), kind) {
				found = append(found, c)
			}
		}
		return nil
	})
	return found, err
}

// ask goes through the checkers. All of them are asked about credentials that do not hold, so
// that a user of the first costs as much as one of none.
func (p *Portal) ask(
	ctx context.Context, checkers []Checker, c Credentials, peer *Peer, by claim,
) (AvatarID, error) {
	var broken []error
	gone := func() { // the login ends without asking what could not answer
		if len(broken) > 0 {
			p.logger().LogAttrs(ctx, slog.LevelWarn, "checker failed",
				slog.String("peer", peer.String()),
				slog.String("kind", string(by.kind)), slog.Any("err", errors.Join(broken...)))
		}
	}
	for _, checker := range checkers {
		var id AvatarID
		err := guard.Run(func() (err error) {
			id, err = checker.Check(ctx, c, peer)
			return plain(err)
		})
		if err == nil && id == AnonymousID && by.kind != KindAnonymous {
			err = errors.New("the checker gave no account")
		}
		switch {
		case err == nil:
			gone()
			return id, nil
		case errors.Is(err, ErrUnauthorized):
			// It counts as a wrong guess even if the peer has given up since.
		case errors.Is(err, ErrBusy):
			gone()
			return "", ErrBusy
		case ctx.Err() != nil:
			gone()
			return "", ctx.Err()
		default:
			broken = append(broken, p.fault(ctx, "a checker", AvatarID(by.account), peer, err))
		}
	}
	reason := ErrUnauthorized
	if len(broken) > 0 {
		reason = errors.Join(broken...)
	}
	p.refused(ctx, slog.LevelWarn, by, peer, reason)
	return "", ErrUnauthorized
}

// plain is err, or the one of this package's that it says it is, which its methods are asked.
func plain(err error) error {
	for _, known := range []error{ErrUnauthorized, ErrBusy} {
		if errors.Is(err, known) {
			return known
		}
	}
	return err
}

func (p *Portal) refused(
	ctx context.Context, level slog.Level, by claim, peer *Peer, reason error,
) {
	p.logger().LogAttrs(ctx, level, "login refused",
		slog.String("peer", peer.String()),
		slog.String("kind", string(by.kind)),
		slog.String("account", clip(by.account)),
		slog.Any("reason", reason))
}

// A Login is one peer let in, until Logout.
type Login struct {
	// Avatar is what the Realm gave; never nil.
	Avatar any

	// ID is the account that the credentials belong to.
	ID AvatarID

	once   sync.Once
	logout func()
	portal *Portal
	peer   *Peer
}

// Logout ends the login: it calls the Realm's logout function the first time, and nothing
// afterwards. It may be called by many goroutines at once; each returns when the logout is done.
// The logout function itself must not call it. If that panics, the Portal's Logger gets a line.
func (l *Login) Logout() {
	l.once.Do(func() {
		logout := l.logout
		if l.logout = nil; logout == nil {
			return
		}
		err := guard.Run(func() error {
			logout()
			return nil
		})
		if err != nil {
			// The login has ended all the same.
			_ = l.portal.fault(context.Background(), "the logout", l.ID, l.peer, err)
		}
	})
}
