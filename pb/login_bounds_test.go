package pb_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"perspective/cred"
	"perspective/pb"
	"perspective/pb/pbtest"
)

// seat is an avatar; every login has its own.
type seat struct {
	pb.Avatar
	n int
}

func (s *seat) PerspectiveNumber(context.Context) (int, error) { return s.n, nil }

// hall is a realm that gives seats and keeps the numbers of those left.
type hall struct {
	mu    sync.Mutex
	given int
	left  []int
}

func (h *hall) RequestAvatar(_ context.Context, _ cred.AvatarID, _ any) (any, func(), error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.given++
	s := &seat{n: h.given}
	return s, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.left = append(h.left, s.n)
	}, nil
}

func (h *hall) counts() (given int, left []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.given, slices.Clone(h.left)
}

func newHall() (*pb.Node, *hall) {
	h := &hall{}
	return &pb.Node{
		Root:   &echoes{},
		Portal: &cred.Portal{Realm: h, Checkers: []cred.Checker{cred.AnonymousChecker{}}},
		Logger: silent(),
	}, h
}

// A connection has 64 logins at once. One more is refused and logged out again;
// there is room when an avatar was let go of.
func TestLoginsAreBounded(t *testing.T) {
	const most = 64
	node, h := newHall()
	c, _ := pbtest.Join(t, &pb.Node{}, node)
	ctx := t.Context()
	var all []*pb.RemoteReference
	for i := range most {
		me, err := c.Login(ctx, cred.Anonymous{}, nil)
		if err != nil {
			t.Fatalf("login %d: %v", i+1, err)
		}
		all = append(all, me)
	}
	for range 3 {
		if _, err := c.Login(ctx, cred.Anonymous{}, nil); !errors.Is(err, pb.ErrOverloaded) {
			t.Errorf("one login more than %d: %v", most, err)
		}
	}
	if given, left := h.counts(); given != most+3 ||
		!slices.Equal(left, []int{most + 1, most + 2, most + 3}) {
		t.Errorf("of %d avatars %v are logged out, want those that were refused", given, left)
	}
	for i, me := range all {
		if n, err := pb.Do[int](ctx, me, "number"); n != i+1 || err != nil {
			t.Errorf("avatar %d says %d, %v", i+1, n, err)
		}
	}
	all[9].Release()
	// the logout has a goroutine of its own
	for began := time.Now(); time.Since(began) < time.Minute; {
		if _, left := h.counts(); len(left) == 4 {
			break
		}
		if err := c.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
	if _, left := h.counts(); len(left) != 4 || left[3] != 10 {
		t.Errorf("%v are logged out, want 10 too", left)
	}
	again, err := c.Login(ctx, cred.Anonymous{}, nil)
	if err != nil {
		t.Errorf("after one was let go of: %v", err)
	}
	runtime.KeepAlive(again)
	runtime.KeepAlive(all)
}

// A login that wants no answer is none: nobody could ever let go of its avatar.
func TestOnewayLogin(t *testing.T) {
	node, h := newHall()
	c, s := pbtest.Join(t, &pb.Node{}, node)
	for range 100 {
		if err := pb.Boot(c).Send(t.Context(), "login", pb.CredentialsOnWire(cred.Anonymous{}), nil,
			[]byte(nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Sync(t.Context()); err != nil { // now they are there
		t.Fatal(err)
	}
	for range 10_000 {
		if s.Stats().Unanswered == 0 {
			break
		}
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if given, _ := h.counts(); given != 0 || s.Avatar() != nil {
		t.Errorf("%d avatars were given, the peer's is %v", given, s.Avatar())
	}
	if _, err := pb.Do[string](t.Context(), c.Root(),
		"echo", "x"); !errors.Is(err, pb.ErrNotLoggedIn) {
		t.Errorf("the root after oneway logins: %v", err)
	}
	me, err := c.Login(t.Context(), cred.Anonymous{}, nil)
	if err != nil {
		t.Error(err)
	}
	runtime.KeepAlive(me)
}

// The same call with an answer is a login, so what is refused above is that it
// has none.
func TestLoginByHand(t *testing.T) {
	node, h := newHall()
	c, _ := pbtest.Join(t, &pb.Node{}, node)
	me, err := pb.Do[*pb.RemoteReference](t.Context(), pb.Boot(c), "login",
		pb.CredentialsOnWire(cred.Anonymous{}), nil, []byte(nil))
	if given, _ := h.counts(); err != nil || given != 1 {
		t.Errorf("%d avatars were given, %v", given, err)
	}
	runtime.KeepAlive(me)
}
