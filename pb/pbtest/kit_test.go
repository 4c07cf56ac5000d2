package pbtest_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// verdict is a test that another test looks at.
type verdict struct {
	testing.TB
	failed  strings.Builder
	cleanup []func()
}

func (v *verdict) Helper() {}

func (v *verdict) Errorf(format string, args ...any) { fmt.Fprintf(&v.failed, format, args...) }

func (v *verdict) Fatalf(format string, args ...any) { v.Errorf(format, args...) }

func (v *verdict) Cleanup(f func()) { v.cleanup = append(v.cleanup, f) }

func (v *verdict) end() string {
	for len(v.cleanup) > 0 {
		last := v.cleanup[len(v.cleanup)-1]
		v.cleanup = v.cleanup[:len(v.cleanup)-1]
		last()
	}
	return v.failed.String()
}

// lender gives objects away.
type lender struct{ pb.Referenceable }

func (*lender) RemoteLend(context.Context) (*echo, error) { return &echo{}, nil }

func (*lender) RemoteHang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestConnect(t *testing.T) {
	t.Run("outside of a bubble", func(t *testing.T) {
		pbtest.NoLeaks(t)
		ref := pbtest.Connect(t, &echo{})
		if s, err := pb.Do[string](t.Context(), ref, "echo", "hi"); s != "hi" || err != nil {
			t.Fatalf("echo = %q, %v", s, err)
		}
	})
	t.Run("in a bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			pbtest.NoLeaks(t)
			lent, err := pb.Do[*pb.RemoteReference](t.Context(),
				pbtest.Connect(t, &lender{}), "lend")
			if err != nil {
				t.Fatal(err)
			}
			if s, err := pb.Do[string](t.Context(), lent, "echo", "hi"); s != "hi" || err != nil {
				t.Fatalf("echo = %q, %v", s, err)
			}
		})
	})
}

func TestEmptyTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := pbtest.Join(t, &pb.Node{}, &pb.Node{Root: &lender{}})
		kept, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "lend")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		d := pb.Call[any](ctx, c.Root(), "hang")
		v := &verdict{TB: t}
		pbtest.Empty(v, c, s)
		for _, want := range []string{"asked 1, unanswered 0", "imports 1",
			"exports 1", "methods 1"} {
			if !strings.Contains(v.failed.String(), want) {
				t.Errorf("Empty says %q, want %q in it", v.failed.String(), want)
			}
		}
		cancel()
		<-d.Done()
		kept.Release()
	})
}

func TestNoLeaksTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &verdict{TB: t}
		pbtest.NoLeaks(v)
		stay := make(chan struct{})
		defer close(stay)
		go func() { <-stay }()
		if failed := v.end(); !strings.Contains(failed, "TestNoLeaksTells") {
			t.Errorf("a goroutine was left and NoLeaks says %q", failed)
		}
	})
}

func TestSurface(t *testing.T) {
	pbtest.Surface(t, &lender{}, "testdata/lender.surface")
	if flag.Lookup("update").Value.String() == "true" {
		return // the files below are not to be written
	}
	t.Run("changed", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "x.surface")
		if err := os.WriteFile(file, []byte("RemoteHang()\nRemoteGone()\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		v := &verdict{TB: t}
		pbtest.Surface(v, &lender{}, file)
		said := v.failed.String()
		if !strings.Contains(said, "  - RemoteGone()\n") || !strings.Contains(said,
			"  + RemoteLend() *pbtest_test.echo\n") || strings.Contains(said, "Hang") {
			t.Errorf("Surface says %q", said)
		}
	})
	t.Run("missing", func(t *testing.T) {
		v := &verdict{TB: t}
		pbtest.Surface(v, &lender{}, filepath.Join(t.TempDir(), "x.surface"))
		if !strings.Contains(v.failed.String(), "-update") {
			t.Errorf("Surface says %q", v.failed.String())
		}
	})
}
