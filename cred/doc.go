// Package cred authenticates peers and decides what each may do.
//
// A peer shows [Credentials] to a [Portal]. The Portal asks its [Checker]s whether they hold; the
// answer is an [AvatarID], the name of an account. Then it asks its [Realm] for the avatar of that
// account: the object that is what the peer may do from now on. The checkers know no avatars and
// the realm knows no passwords, so either can be exchanged without the other.
//
//	portal := &cred.Portal{
//		Realm: cred.RealmFunc(func(
//			ctx context.Context, id cred.AvatarID, mind any,
//		) (any, func(), error) {
//			user := office.Enter(id, mind)
//			return user, user.Leave, nil
//		}),
//		Checkers: []cred.Checker{&cred.PasswordFile{Path: "users.passwd"}},
//	}
//	login, err := portal.Login(ctx, credentials, peer, mind)
//	if err != nil {
//		return err
//	}
//	defer login.Logout()
//
// # Claims and facts
//
// There are two sorts of credentials. [UsernamePassword] and [Anonymous] are claims: the peer sends
// them and a checker tests them. [PeerUID] and [PeerKey] are facts: the kernel or the TLS handshake
// says them, and they stand in the [Peer] that the connection fills. The Portal always takes them
// from there. A PeerUID that arrives in a message is no more than the wish to be known by one's
// uid; the number in it is not looked at.
//
// # Guessing
//
// An unknown user and a wrong password give the same error, [ErrUnauthorized], after the same
// hashing work. Hashes are computed behind a queue that belongs to the Portal ([Hashing]), so that
// many logins at once can't take the machine's memory. Wrong guesses are slowed down by account
// and address together, and by address ([Limits]), never by account alone: an
// attacker cannot lock another user out from afar.
//
// # Passwords
//
// [Hash] makes a PHC string with argon2id, [WriteEntry] puts it into a password file,
// [PasswordFile] checks against it and follows its changes. bcrypt hashes, as htpasswd -B
// writes them, are understood.
//
// # Without a Portal
//
// An [AllowFunc] looks at the facts of a connection alone and says whether it may be there at all:
// [AllowKeys], [AllowUIDs], and [AllowAny] and [AllowAll] to join them.
package cred
