package pb

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"perspective/jelly"
)

func TestPanicIsLoggedAndHidden(t *testing.T) {
	var log bytes.Buffer
	x := export(&surfaceBoard{},
		&surroundings{logger: slog.New(slog.NewTextHandler(&log, nil)), peer: "bob"})
	in := surfaceIn(t)
	surfaceInvoke(t, x, in, "Panic")
	var f *Failure
	if !errors.As(in.failed, &f) || f.Type != internalErrorType ||
		strings.Contains(f.Message, "secret") {
		t.Fatalf("answer = %#v, want an internal error that tells nothing", in.failed)
	}
	id := f.Message[strings.LastIndex(f.Message, " ")+1:]
	for _, want := range []string{"id=" + id, "secret /etc/path", "method=RemotePanic", "peer=bob",
		"RemotePanic("} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log has no %q:\n%s", want, &log)
		}
	}
	if !strings.HasPrefix(f.Traceback, "panic: secret /etc/path\n") {
		t.Errorf("traceback begins with %.40q", f.Traceback)
	}
}

type surfaceRude struct{ Referenceable }

type surfaceRudeValue struct{ When string }

func (v surfaceRudeValue) AppendJelly(e *jelly.Encoder) error {
	if v.When == "encode" {
		panic("rude encode")
	}
	e.EncodeString(v.When)
	return nil
}

func (v *surfaceRudeValue) ReadJelly(d *jelly.Decoder) error {
	s, err := d.DecodeString()
	if s == "decode" {
		panic("rude decode")
	}
	v.When = s
	return err
}

func (surfaceRude) RemoteEcho(_ context.Context, v surfaceRudeValue) (surfaceRudeValue, error) {
	return v, nil
}
func (surfaceRude) RemoteExit(context.Context) error         { runtime.Goexit(); return nil }
func (surfaceRude) RemoteNil(context.Context) *Deferred[int] { return nil }
func (surfaceRude) RemoteAfter(
	_ context.Context, v surfaceRudeValue,
) (*Deferred[surfaceRudeValue], error) {
	return Succeed(v), nil
}

// RemoteObject returns an object that cannot be exported, which shows when its reference is
// encoded.
func (surfaceRude) RemoteObject(context.Context) (*surfaceNoErr, error) {
	return &surfaceNoErr{}, nil
}

type surfaceRefs struct{ jelly.Refs }

func (surfaceRefs) EncodeRef(e *jelly.Encoder, v any) error {
	export(v, &surroundings{})
	e.EncodeNil()
	return nil
}

func TestInvokeRude(t *testing.T) {
	x := export(&surfaceRude{}, &surroundings{})
	for _, c := range []struct {
		method string
		args   []any
		want   string
	}{
		{"Echo", []any{"fine"}, "fine"},
		{"Echo", []any{"decode"},
			"refused: pb: argument 1 of Echo: jelly: pb.surfaceRudeValue: ReadJelly panicked"},
		{"Echo", []any{"encode"},
			"failed: pb: result of Echo: jelly: pb.surfaceRudeValue: AppendJelly panicked"},
		{"After", []any{"encode"},
			"failed: pb: result of After: jelly: pb.surfaceRudeValue: AppendJelly panicked"},
		{"Object", nil, "failed: internal error, id "},
		{"Nil", nil, "failed: pb: Nil returned a nil *pb.Deferred[int]"},
		{"Exit", nil, "failed: internal error, id "},
	} {
		in := surfaceIn(t, c.args...)
		var done sync.WaitGroup
		done.Go(func() { // Exit ends the goroutine
			m, err := x.method([]byte(c.method))
			if err != nil {
				t.Error(err)
				return
			}
			m.invoke(in)
		})
		done.Wait()
		if got := in.String(); !strings.HasPrefix(got, c.want) || len(in.answers) != 1 {
			t.Errorf("%s(%v) = %q, %d answers, want %q", c.method, c.args, got,
				len(in.answers), c.want)
		}
	}
}

func TestDeferredResults(t *testing.T) {
	for name, c := range map[string]struct {
		fire func(d *Deferred[string], cancel context.CancelFunc)
		want string
	}{
		"fires": {func(d *Deferred[string], _ context.CancelFunc) { d.Callback("x") }, "x"},
		"fails": {func(d *Deferred[string], _ context.CancelFunc) { d.Errback(errors.New("no")) },
			"failed: no"},
		"caller gone": {func(_ *Deferred[string], cancel context.CancelFunc) { cancel() },
			"failed: context canceled"},
		"gone and fires": {
			func(d *Deferred[string], cancel context.CancelFunc) {
				cancel()
				synctest.Wait()
				d.Callback("x")
			}, "failed: context canceled",
		},
		"fires and gone": {
			func(d *Deferred[string], cancel context.CancelFunc) {
				d.Callback("x")
				synctest.Wait()
				cancel()
			}, "x",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &surfaceBoard{later: new(Deferred[string])}
				in := surfaceIn(t)
				ctx, cancel := context.WithCancel(in.ctx)
				defer cancel()
				in.ctx = ctx
				m, err := export(b, &surroundings{}).method([]byte("Later"))
				if err != nil {
					t.Fatal(err)
				}
				m.invoke(in)
				if len(in.answers) != 0 {
					t.Fatal("answered before the Deferred fired")
				}
				c.fire(b.later, cancel)
				synctest.Wait()
				if got := in.String(); got != c.want || len(in.answers) != 1 {
					t.Errorf("answer = %q, %d of them, want %q", got, len(in.answers), c.want)
				}
				if _, err, fired := b.later.Result(); fired && errors.Is(err, ErrCancelled) {
					t.Error("the caller's end cancelled a Deferred that is the object's own")
				}
			})
		})
	}
}

func TestInterceptor(t *testing.T) {
	type key struct{}
	for name, c := range map[string]struct {
		around Interceptor
		method string
		args   []any
		want   string
	}{
		"through": {func(
			ctx context.Context, _ *CallInfo, next func(context.Context) (any, error),
		) (any, error) {
			return next(context.WithValue(ctx, key{}, 1))
		}, "Any", []any{"v"}, "v"},
		"sees": {func(
			_ context.Context, c *CallInfo, _ func(context.Context) (any, error),
		) (any, error) {
			_, isBoard := c.Target.(*surfaceBoard)
			return nil, errors.Join(errors.New(c.Method), errors.New(c.Peer),
				errors.New(c.Args()[1].(string)),
				map[bool]error{true: errors.New("board")}[isBoard])
		}, "post", []any{"a", "b"}, "refused: Post\nbob\nb\nboard"},
		"replaces": {func(
			ctx context.Context, _ *CallInfo, next func(context.Context) (any, error),
		) (any, error) {
			v, err := next(ctx)
			return map[string]any{"v": v}, err
		}, "Sum", []any{1}, "map[v:1]"},
		"no result": {func(
			ctx context.Context, _ *CallInfo, next func(context.Context) (any, error),
		) (any, error) {
			return next(ctx)
		}, "Post", []any{"a", "b"}, "<nil>"},
		"method's error": {func(
			ctx context.Context, _ *CallInfo, next func(context.Context) (any, error),
		) (any, error) {
			return next(ctx)
		}, "Post", []any{"a", ""}, "failed: board: empty text"},
		"deferred": {func(
			ctx context.Context, _ *CallInfo, next func(context.Context) (any, error),
		) (any, error) {
			return next(ctx)
		}, "Later", nil, "now"},
		"answers itself": {
			func(context.Context, *CallInfo, func(context.Context) (any, error)) (any, error) {
				return "cached", nil
			}, "Later", nil, "cached"},
		"panics": {
			func(context.Context, *CallInfo, func(context.Context) (any, error)) (any, error) {
				panic("x")
			}, "Later", nil, "failed: internal error, id "},
		"panic within": {func(
			ctx context.Context, _ *CallInfo, next func(context.Context) (any, error),
		) (any, error) {
			return next(ctx)
		}, "Panic", nil, "failed: internal error, id "},
		"twice": {func(
			ctx context.Context, _ *CallInfo, next func(context.Context) (any, error),
		) (any, error) {
			if _, err := next(ctx); err != nil {
				return nil, err
			}
			return next(ctx)
		}, "Sum", []any{2, 3}, "5"},
	} {
		t.Run(name, func(t *testing.T) {
			x := export(&surfaceBoard{later: Succeed("now")},
				&surroundings{around: c.around, peer: "bob"})
			in := surfaceIn(t, c.args...)
			surfaceInvoke(t, x, in, c.method)
			if got := in.String(); got != c.want &&
				(!strings.HasSuffix(c.want, " ") || !strings.HasPrefix(got, c.want)) {
				t.Errorf("%s(%v) = %q, want %q", c.method, c.args, got, c.want)
			}
		})
	}
}
