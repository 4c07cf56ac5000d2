package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"perspective/cred"
	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/distrib"
)

// raceOptions spare every process of a test with the race detector the second
// that it sleeps at its end.
const raceOptions = "atexit_sleep_ms=0"

// lacking skips a test for want of something, or fails where the environment says that all must be
// there.
func lacking(t *testing.T, reason any) {
	t.Helper()
	if os.Getenv("PERSPECTIVE_REQUIRE") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

func TestMain(m *testing.M) {
	distrib.RunChild()
	if err := os.Setenv("GORACE", raceOptions); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){
		"pb": main,
		// The monitor starts the parts of the demo under their own names.
		"front": main, "site": main, "board": main,
		"pb-with-a-bug": func() {
			os.Exit(guarded(os.Stderr, func() int { panic("two and two are five") }))
		},
		"mounts-itself": mountItself,
	})
}

// mountItself is a program that serves a part of another program's site. It fails when it has
// logged something.
func mountItself() {
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		cancel()
		return os.Stderr.Write(p)
	}), nil)
	err := (&distrib.Mount{Logger: slog.New(log)}).Serve(ctx)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(1)
}

// A writerFunc is an io.Writer.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestScripts runs testdata/*.txt, each with peers of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: peers,
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs a command that must end with an exit code: exits CODE PROGRAM ARG….
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG…]")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			ts.Fatalf("%v", err)
		}
		got = ended.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// point is a type that pb itself does not know.
type point struct{ X, Y int }

type target struct {
	pb.Referenceable
	pb.Concurrent
}

func (*target) RemoteEcho(_ context.Context, values ...any) ([]any, error) { return values, nil }

func (*target) RemoteAdd(_ context.Context, a, b int) (int, error) { return a + b, nil }

func (*target) RemoteFail(context.Context) error { return errors.New("no \x1b[31mluck\u009b") }

func (*target) RemoteHangUp(ctx context.Context) error {
	_ = pb.ConnFrom(ctx).Close()
	return nil
}

// RemoteWait heeds no deadline: the caller's must end the waiting.
func (*target) RemoteWait(ctx context.Context) error {
	<-pb.ConnFrom(ctx).Done()
	return ctx.Err()
}

func (*target) RemoteBusy(context.Context) error { return nil } // refused before it begins

func (t *target) RemoteSelf(context.Context) (*target, error) { return t, nil }

func (*target) RemotePoint(context.Context) (point, error) { return point{1, 2}, nil }

func (*target) RemoteValues(context.Context) (map[string]any, error) {
	big, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	return map[string]any{
		"bytes": []byte("hi"), "time": time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		"duration": 1500 * time.Millisecond,
		"big":      big, "nan": math.NaN(), "by number": map[int]string{7: "seven"}, "html": "<b>",
		"bell": "\a\u202e", "nothing": nil,
	}, nil
}

type person struct {
	pb.Avatar
	name cred.AvatarID
}

func (p *person) PerspectiveWho(context.Context) (string, error) { return string(p.name), nil }

// peers starts the nodes that the scripts call, with their URLs in $URL (no
// login), $LOGIN (a portal, where ann's password is "sesame"), $TLS, $UNIX, $ALLOW
// and $ALLOWPLAIN (nodes that let nobody in, whose log is allow.log).
func peers(env *testscript.Env) error {
	types := &jelly.Registry{}
	jelly.RegisterIn[point](types, "test.Point")
	busy := func(
		ctx context.Context, call *pb.CallInfo, next func(context.Context) (any, error),
	) (any, error) {
		if call.Method == "Busy" {
			return nil, pb.ErrOverloaded
		}
		return next(ctx)
	}
	phc, err := cred.Hash("sesame", &cred.HashParams{BcryptCost: 4})
	if err != nil {
		return err
	}
	file := filepath.Join(env.WorkDir, "users")
	if err := cred.WriteEntry(file, "ann", phc); err != nil {
		return err
	}
	portal := &cred.Portal{
		Checkers: []cred.Checker{&cred.PasswordFile{Path: file}},
		Realm: cred.RealmFunc(func(
			_ context.Context, id cred.AvatarID, _ any,
		) (any, func(), error) {
			return &person{name: id}, nil, nil
		}),
	}
	web := httptest.NewServer(http.NotFoundHandler())
	env.Defer(web.Close)
	env.Setenv("WEB", "pb+tcp://"+web.Listener.Addr().String())
	env.Setenv("WEBHOST", web.Listener.Addr().String())
	told, err := os.Create(filepath.Join(env.WorkDir, "allow.log"))
	if err != nil {
		return err
	}
	env.Defer(func() { _ = told.Close() })
	telling := slog.New(slog.NewTextHandler(told, nil))
	env.Setenv("GORACE", raceOptions)
	env.Setenv("DEEP", strings.Repeat("[", 100)+strings.Repeat("]", 100))
	quiet := slog.New(slog.DiscardHandler)
	for name, peer := range map[string]struct {
		node *pb.Node
		url  string
	}{
		"URL": {&pb.Node{Root: &target{}, Types: types, Around: busy, Logger: quiet},
			"pb+tcp://127.0.0.1:0"},
		"LOGIN": {&pb.Node{Root: &target{}, Portal: portal, Logger: quiet}, "pb+tcp://127.0.0.1:0"},
		"ALLOW": {&pb.Node{Root: &target{}, Allow: cred.AllowKeys(), Logger: telling},
			"pb://127.0.0.1:0"},
		"ALLOWPLAIN": {&pb.Node{Root: &target{}, Allow: cred.AllowKeys(), Logger: telling},
			"pb+tcp://127.0.0.1:0"},
		"TLS": {&pb.Node{Root: &target{}, Logger: quiet}, "pb://127.0.0.1:0"},
		"UNIX": {&pb.Node{Root: &target{}, Logger: quiet},
			"pb+unix://" + filepath.Join(env.WorkDir, "socket")},
	} {
		ln, err := peer.node.Listen(peer.url)
		if err != nil {
			return err
		}
		env.Setenv(name, peer.node.URLOf(ln))
		env.Setenv(name+"HOST", ln.Addr().String())
		served := make(chan struct{})
		go func() { // ends with the node
			defer close(served)
			_ = peer.node.Serve(ln)
		}()
		env.Defer(func() {
			_ = peer.node.Close()
			<-served
		})
	}
	return nil
}

func TestParseArg(t *testing.T) {
	huge, _ := new(big.Int).SetString("-18446744073709551616", 10)
	for _, c := range []struct {
		arg  string
		want any
	}{
		{"hello", "hello"},
		{`"hello"`, "hello"},
		{"5", int64(5)},
		{"-5", int64(-5)},
		{`"5"`, "5"},
		{"1.0", 1.0},
		{"1e3", 1000.0},
		{"9223372036854775807", int64(math.MaxInt64)},
		{"18446744073709551615", uint64(math.MaxUint64)},
		{"-18446744073709551616", huge},
		{"1e999", "1e999"},
		{"null", nil},
		{"true", true},
		{"", ""},
		{"5 6", "5 6"},
		{" 5 ", int64(5)},
		{"[1, [\"a\"]]", []any{int64(1), []any{"a"}}},
		{`{"k": {"n": 2}}`, map[string]any{"k": map[string]any{"n": int64(2)}}},
		{"[1", "[1"},
		{"01", "01"},
		{"NaN", "NaN"},
	} {
		t.Run(c.arg, func(t *testing.T) {
			if got := parseArg(c.arg); fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v",
				c.want, c.want) {
				t.Errorf("parseArg(%q) = %T %v, want %T %v", c.arg, got, got, c.want, c.want)
			}
		})
	}
}

func FuzzParseArg(f *testing.F) {
	for _, s := range []string{"5", `{"a":[1,2.5,null]}`, "123456789012345678901234567890",
		`"\ud800"`, "[[[["} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "?")
		line, err := resultLine(parseArg(s))
		if err != nil {
			t.Fatalf("resultLine(parseArg(%q)): %v", s, err)
		}
		for _, r := range line {
			if r != ' ' && !harmless(r) {
				t.Fatalf("parseArg(%q) is shown as %q", s, line)
			}
		}
		again, err := resultLine(parseArg(line))
		if err != nil || again != line {
			t.Errorf("%q is shown as %q, which is shown as %q, %v", s, line, again, err)
		}
	})
}

func TestCodeOfErrors(t *testing.T) {
	if got := codeOf(nil); got != exitDone {
		t.Errorf("no error: %d", got)
	}
	if got := codeOf(errors.New("disk full")); got != exitFailed {
		t.Errorf("an error of the command itself: %d", got)
	}
	var b bytes.Buffer
	if got := guarded(&b, func() int { panic("x") }); got != exitBug || b.Len() == 0 {
		t.Errorf("a panic: %d, %q", got, b.String())
	}
}
