package pb_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"perspective/cred"
	"perspective/pb"
	"perspective/pb/pbtest"
)

// Avatars with nothing in them, and with something.
type (
	ghost      struct{ pb.Avatar }
	nestedSoul struct {
		ghost
		_ [0]int
	}
	body struct {
		pb.Avatar
		name string
	}
	hollowFace interface {
		PerspectiveWho(context.Context) (string, error)
	}
	bare struct{}
)

func (*ghost) PerspectiveWho(context.Context) (string, error)  { return "ann", nil }
func (b *body) PerspectiveWho(context.Context) (string, error) { return b.name, nil }
func (*bare) PerspectiveWho(context.Context) (string, error)   { return "nobody", nil }

// Two logins are two objects, also where the avatar has no fields of its own: one
// that is lent cannot give that and is refused, with what to do, and is logged out.
func TestAvatarsWithoutFieldsAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		avatar func() any
		fits   bool
		who    string // what peers call its method
	}{
		{"no fields", func() any { return &ghost{} }, true, "who"},
		{"no fields, nested", func() any { return &nestedSoul{} }, true, "who"},
		{"no fields, lent",
			func() any { return pb.AsReferenceable[hollowFace](&bare{}) }, false, ""},
		{"a field", func() any { return &body{name: "ann"} }, true, "who"},
		{"a field, lent", func() any { return pb.AsReferenceable[hollowFace](&body{name: "ann"}) },
			true, "perspectiveWho"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pbtest.NoLeaks(t)
				logouts := 0
				realm := cred.RealmFunc(func(
					context.Context, cred.AvatarID, any,
				) (any, func(), error) {
					return test.avatar(), func() { logouts++ }, nil
				})
				portal := &cred.Portal{
					Realm:    realm,
					Checkers: []cred.Checker{cred.AnonymousChecker{}},
					Logger:   silent(),
				}
				c, _ := pbtest.Join(t, &pb.Node{}, &pb.Node{Portal: portal, Logger: silent()})
				var refs []*pb.RemoteReference
				for range 2 {
					ref, err := c.Login(t.Context(), cred.Anonymous{}, nil)
					if test.fits != (err == nil) {
						t.Fatalf("login: %v", err)
					}
					if test.fits {
						refs = append(refs, ref)
					} else if !strings.Contains(err.Error(), "has no fields") ||
						!strings.Contains(err.Error(), "embed pb.Avatar") {
						t.Errorf("the refusal says %q", err)
					}
				}
				synctest.Wait()
				switch {
				case !test.fits:
					if logouts != 2 {
						t.Errorf("%d logouts of 2 refused logins", logouts)
					}
				case refs[0] == refs[1]:
					t.Error("two logins gave one object")
				default:
					refs[0].Release()
					synctest.Wait()
					if who, err := pb.Do[string](t.Context(), refs[1], test.who); who != "ann" ||
						err != nil {
						t.Errorf("after the other's release: %q, %v", who, err)
					}
				}
			})
		})
	}
}
