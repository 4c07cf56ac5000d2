package distrib

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"perspective/jelly"
)

// An Identity is who is logged in at the front, see Login. The zero value is nobody.
type Identity struct {
	// Name is the account's.
	Name string
	// Method is how it was logged in: "form" or "basic".
	Method string
	// Since is when, to the second.
	Since time.Time

	claims []byte // what Login.Claims gave, as JSON; empty: nothing
}

// UserFrom returns who is logged in at the front, by the context of a request in the handler of a
// Mount or a Site's own; false if nobody is. No header can say so.
func UserFrom(ctx context.Context) (Identity, bool) {
	u, ok := ctx.Value(userContextKey{}).(*Identity)
	if !ok || u == nil {
		return Identity{}, false
	}
	return *u, true
}

// ClaimsOf returns what the front's Login.Claims gave of the user; false if it gave nothing,
// or something else than a T, which encoding/json must know.
func ClaimsOf[T any](u Identity) (T, bool) {
	var v T
	if len(u.claims) == 0 || json.Unmarshal(u.claims, &v) != nil {
		var none T
		return none, false
	}
	return v, true
}

type userContextKey struct{}

const userItems = 4

// appendUser writes
//
//	[name, method, seconds since 1970, claims]
//
// or an empty array where nobody is logged in.
func appendUser(e *jelly.Encoder, u *Identity) {
	if u == nil {
		e.EncodeArrayLen(0)
		return
	}
	e.EncodeArrayLen(userItems)
	appendText(e, u.Name)
	appendText(e, u.Method)
	e.EncodeInt(u.Since.Unix())
	appendBytes(e, u.claims)
}

// user reads what appendUser wrote.
func (p *parser) user() *Identity {
	n := p.array()
	if n == 0 {
		return nil
	}
	if n != userItems {
		p.fail(fmt.Errorf("distrib: a user of %d items", n))
		return nil
	}
	u := &Identity{Name: p.text(), Method: p.text(), Since: time.Unix(p.int(), 0)}
	u.claims = []byte(p.text())
	return u
}
