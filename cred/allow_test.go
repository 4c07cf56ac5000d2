package cred_test

import (
	"context"
	"errors"
	"testing"

	"perspective/cred"
)

func TestAllow(t *testing.T) {
	one, two := cred.NodeIDOf(keyOf(1)), cred.NodeIDOf(keyOf(2))
	late := errors.New("not after six")
	yes := func(context.Context, *cred.Peer) error { return nil }
	no := func(context.Context, *cred.Peer) error { return late }
	key := &cred.Peer{Key: keyOf(1), NodeID: one}
	uid := &cred.Peer{UID: 1000, HasUID: true}
	tests := []struct {
		name  string
		allow cred.AllowFunc
		peer  *cred.Peer
		want  error
	}{
		{"listed key", cred.AllowKeys(two, one), key, nil},
		{"other key", cred.AllowKeys(two), key, cred.ErrNotAllowed},
		{"no keys listed", cred.AllowKeys(), key, cred.ErrNotAllowed},
		{"no key", cred.AllowKeys(one, ""), &cred.Peer{}, cred.ErrNotAllowed},
		{"node id without its key", cred.AllowKeys(one), &cred.Peer{NodeID: one},
			cred.ErrNotAllowed},
		{"another's node id", cred.AllowKeys(two), &cred.Peer{Key: keyOf(1), NodeID: two},
			cred.ErrNotAllowed},
		{"no peer, keys", cred.AllowKeys(one), nil, cred.ErrNotAllowed},
		{"listed uid", cred.AllowUIDs(1, 1000), uid, nil},
		{"other uid", cred.AllowUIDs(1), uid, cred.ErrNotAllowed},
		{"uid not known", cred.AllowUIDs(0), &cred.Peer{}, cred.ErrNotAllowed},
		{"no peer, uids", cred.AllowUIDs(0), nil, cred.ErrNotAllowed},
		{"any, first", cred.AllowAny(yes, no), key, nil},
		{"any, last", cred.AllowAny(no, yes), key, nil},
		{"any, neither", cred.AllowAny(no, no), key, cred.ErrNotAllowed},
		{"any of none", cred.AllowAny(), key, cred.ErrNotAllowed},
		{"all", cred.AllowAll(yes, yes), key, nil},
		{"all but one", cred.AllowAll(yes, no), key, late},
		{"all of none", cred.AllowAll(), key, cred.ErrNotAllowed},
		{"key or uid", cred.AllowAny(cred.AllowKeys(one), cred.AllowUIDs(1000)), uid, nil},
		{"key and uid", cred.AllowAll(cred.AllowKeys(one), cred.AllowUIDs(1000)), uid,
			cred.ErrNotAllowed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := test.allow(t.Context(), test.peer); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := cred.AllowAny(yes)(ctx, key); !errors.Is(err, context.Canceled) {
		t.Errorf("AllowAny with an ended context = %v, want context.Canceled", err)
	}
}
