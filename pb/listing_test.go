package pb_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"perspective/cred"
	"perspective/pb"
)

type clerk struct {
	pb.Avatar
	_ byte
}

func (*clerk) PerspectiveFile(_ context.Context, name string, pages ...int) (bool, error) {
	return name != "" && len(pages) > 0, nil
}

func lines(infos []pb.MethodInfo) []string {
	var all []string
	for _, i := range infos {
		all = append(all, i.String())
	}
	return all
}

func TestMethodsOfTheRoot(t *testing.T) {
	calls(t, &counter{}, func(t *testing.T, c *pb.Conn) {
		got, err := c.Root().Methods(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := lines(pb.Methods(&counter{}))
		if !slices.Equal(lines(got), want) || !slices.IsSorted(want) {
			t.Errorf("Methods = %q, want %q", lines(got), want)
		}
		child, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "child")
		if err != nil {
			t.Fatal(err)
		}
		if of, err := child.Methods(t.Context()); err != nil || !slices.Equal(lines(of), want) {
			t.Errorf("Methods of the child = %q, %v", lines(of), err)
		}
	})
}

func TestMethodsNeedTheLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		portal := &cred.Portal{
			Checkers: []cred.Checker{cred.AnonymousChecker{}},
			Realm: cred.RealmFunc(func(context.Context, cred.AvatarID, any) (any, func(), error) {
				return &clerk{}, nil, nil
			}),
		}
		c, _ := join(t, &pb.Node{}, &pb.Node{Root: &counter{}, Portal: portal})
		if _, err := c.Root().Methods(t.Context()); !errors.Is(err, pb.ErrNotLoggedIn) {
			t.Errorf("before the login: %v, want ErrNotLoggedIn", err)
		}
		avatar, err := c.Login(t.Context(), cred.Anonymous{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := avatar.Methods(t.Context())
		if want := []string{"File(string, ...int) bool"}; err != nil ||
			!slices.Equal(lines(got), want) {
			t.Errorf("Methods of the avatar = %q, %v, want %q", lines(got), err, want)
		}
		if got, err := c.Root().Methods(t.Context()); err != nil || len(got) == 0 {
			t.Errorf("Methods of the root after the login = %q, %v", lines(got), err)
		}
	})
}
