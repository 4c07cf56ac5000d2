package pb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"perspective/jelly"
)

// surfaceIncoming is a call without a connection.
type surfaceIncoming struct {
	ctx       context.Context
	args      *jelly.Decoder
	oneway    bool
	cancelled bool // Begin says false

	begun    bool
	answers  chan struct{} // one for each answer
	returned []byte
	failed   error
	refused  error
}

func (in *surfaceIncoming) Context() context.Context   { return in.ctx }
func (in *surfaceIncoming) Args() *jelly.Decoder       { return in.args }
func (in *surfaceIncoming) Oneway() bool               { return in.oneway }
func (in *surfaceIncoming) OnEnd(func(Outcome, error)) {}
func (in *surfaceIncoming) Begin() bool                { in.begun = !in.cancelled; return in.begun }

func (in *surfaceIncoming) Return(encode func(*jelly.Encoder) error) {
	var e jelly.Encoder
	e.Reset(nil, surfaceRefs{})
	if err := encode(&e); err != nil {
		in.Fail(err)
		return
	}
	in.returned = slices.Clone(e.Buffer())
	in.answers <- struct{}{}
}

func (in *surfaceIncoming) Fail(err error) {
	in.failed = surfaceCross(err)
	in.answers <- struct{}{}
}
func (in *surfaceIncoming) Refuse(err error) {
	in.refused = surfaceCross(err)
	in.answers <- struct{}{}
}

// surfaceCross returns err as it comes out of the other side.
func surfaceCross(err error) error {
	c := errorCodec{tracebacks: true}
	var e jelly.Encoder
	e.Reset(nil, nil)
	c.EncodeError(&e, err)
	if _, err := jelly.Scan(e.Buffer(), nil); err != nil {
		return fmt.Errorf("cannot be scanned: %w", err)
	}
	var d jelly.Decoder
	d.Reset(nil, nil, e.Buffer(), nil)
	out := c.DecodeError(&d)
	if d.More() {
		return errors.New("something is left after the error")
	}
	return out
}

func surfaceArgs(t testing.TB, args ...any) *jelly.Decoder {
	t.Helper()
	var e jelly.Encoder
	e.Reset(nil, nil)
	e.EncodeArrayLen(len(args))
	for _, a := range args {
		if err := e.Encode(a); err != nil {
			t.Fatal(err)
		}
	}
	return surfaceDecoder(t, e.Buffer())
}

func surfaceDecoder(t testing.TB, b []byte) *jelly.Decoder {
	t.Helper()
	if _, err := jelly.Scan(b, nil); err != nil {
		t.Fatalf("Scan(%x) = %v", b, err)
	}
	d := new(jelly.Decoder)
	d.Reset(nil, nil, b, nil)
	return d
}

func surfaceIn(t testing.TB, args ...any) *surfaceIncoming {
	t.Helper()
	return &surfaceIncoming{
		ctx:     t.Context(),
		args:    surfaceArgs(t, args...),
		answers: make(chan struct{}, 9),
	}
}

// surfaceInvoke calls obj and waits for the answer.
func surfaceInvoke(t testing.TB, x *exported, in *surfaceIncoming, name string) {
	t.Helper()
	m, err := x.method([]byte(name))
	if err != nil {
		t.Fatal(err)
	}
	m.invoke(in)
	<-in.answers
	if len(in.answers) > 0 {
		t.Errorf("%s: answered twice", name)
	}
}

func (in *surfaceIncoming) String() string {
	switch {
	case in.refused != nil:
		return "refused: " + in.refused.Error()
	case in.failed != nil:
		return "failed: " + in.failed.Error()
	}
	var d jelly.Decoder
	d.Reset(nil, nil, in.returned, nil)
	v, err := d.DecodeAny()
	if err != nil {
		return "undecodable: " + err.Error()
	}
	return fmt.Sprintf("%v", v)
}

type surfaceBoard struct {
	Referenceable

	posts []string
	later *Deferred[string]
}

func (b *surfaceBoard) RemotePost(_ context.Context, author, text string) error {
	if text == "" {
		return errors.New("board: empty text")
	}
	b.posts = append(b.posts, author+": "+text)
	return nil
}
func (b *surfaceBoard) RemoteGet_All(context.Context) ([]string, error) { return b.posts, nil }
func (b *surfaceBoard) RemoteSum(_ context.Context, start int8, more ...int64) (int64, error) {
	s := int64(start)
	for _, n := range more {
		s += n
	}
	return s, nil
}
func (b *surfaceBoard) RemoteLater(context.Context) *Deferred[string] { return b.later }
func (b *surfaceBoard) RemoteMaybe(_ context.Context, ok bool) (*Deferred[string], error) {
	if !ok {
		return nil, errors.New("board: not now")
	}
	return b.later, nil
}
func (b *surfaceBoard) RemoteAny(_ context.Context, v any) (any, error) { return v, nil }
func (b *surfaceBoard) RemoteBroken(context.Context) (any, error) {
	return make(chan int), nil
}
func (b *surfaceBoard) RemotePanic(context.Context) error {
	panic("secret /etc/path")
}
func (b *surfaceBoard) RemoteÜber(context.Context) error { return nil }
func (b *surfaceBoard) Remotely(context.Context) error   { return nil }
func (b *surfaceBoard) Remote(context.Context) error     { return nil }
func (b *surfaceBoard) Close() error                     { return nil }
func (b *surfaceBoard) PerspectiveX()                    {}

func TestMethods(t *testing.T) {
	var got []string
	for _, m := range Methods(&surfaceBoard{}) {
		got = append(got, m.Prefix+" "+m.String())
	}
	want := []string{
		"Remote Any(any) any",
		"Remote Broken() any",
		"Remote Get_All() []string",
		"Remote Later() string",
		"Remote Maybe(bool) string",
		"Remote Panic()",
		"Remote Post(string, string)",
		"Remote Sum(int8, ...int64) int64",
		"Remote Über()",
	}
	if !slices.Equal(got, want) {
		t.Errorf("Methods(*surfaceBoard) =\n%s\nwant\n%s", strings.Join(got, "\n"),
			strings.Join(want, "\n"))
	}
}

func TestSurfaceNames(t *testing.T) {
	s, err := surfaceOf(&surfaceBoard{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"GetAll": "RemoteGet_All", "Get_All": "RemoteGet_All", "get_all": "RemoteGet_All",
		"getAll":     "RemoteGet_All",
		"_GET__ALL_": "RemoteGet_All", "post": "RemotePost", "über": "RemoteÜber",
		"ÜBER": "RemoteÜber",
		"":     "", "_": "", "RemotePost": "", "remote_post": "", "ly": "", "Close": "", "pos": "",
		"X": "", "JellyReference": "",
		"post\xff": "", "\xff": "", strings.Repeat("_", 252) + "post": "RemotePost",
		strings.Repeat("_", 253) + "post": "",
	} {
		got := ""
		if m := s.lookup([]byte(name)); m != nil {
			got = m.goName
		}
		if got != want {
			t.Errorf("lookup(%q) = %q, want %q", name, got, want)
		}
	}
	names := [][]byte{[]byte("Post"), []byte("get_all"), []byte("nothing")}
	if n := testing.AllocsPerRun(100, func() {
		for _, name := range names {
			s.lookup(name)
		}
	}); n != 0 {
		t.Errorf("lookup allocates %v times, want 0", n)
	}
}

func TestNoSuchMethod(t *testing.T) {
	x := export(&surfaceBoard{}, &surroundings{})
	for name, near := range map[string][]string{
		"pots": {"Post"}, "get": {"Get_All"}, "PostAll": {"Post"}, "zzzzzz": nil, "": nil,
		"late_r": nil, "lat": {"Later"}, strings.Repeat("p", 300): nil,
	} {
		m, err := x.Method([]byte(name))
		var e *NoSuchMethodError
		switch {
		case name == "late_r":
			if m == nil || err != nil {
				t.Errorf("Method(%q) = %v, %v, want a method", name, m, err)
			}
		case !errors.As(err, &e) || m != nil:
			t.Errorf("Method(%q) = %v, %v, want a *NoSuchMethodError", name, m, err)
		case !slices.Equal(e.Near, near) || len(e.Method) > maxMethodName:
			t.Errorf("Method(%q) = %v, want near %q", name, e, near)
		}
	}
}

func TestInvoke(t *testing.T) {
	for _, c := range []struct {
		method string
		args   []any
		want   string
		begun  bool
	}{
		{"Post", []any{"ann", "hello"}, "<nil>", true},
		{"post", []any{"ann", ""}, "failed: board: empty text", true},
		{"GetAll", nil, "[bob: hi]", true},
		{"Sum", []any{int8(1)}, "1", true},
		{"Sum", []any{int8(1), int64(2), int64(3)}, "6", true},
		{"Any", []any{nil}, "<nil>", true},
		{"Any", []any{[]byte("x")}, "[120]", true},
		{"Later", nil, "now", true},
		{"Maybe", []any{true}, "now", true},
		{"Maybe", []any{false}, "failed: board: not now", true},
		{"Post", []any{"ann"}, "refused: pb: Post takes 2 arguments, got 1", false},
		{"Post", []any{"ann", "b", "c"}, "refused: pb: Post takes 2 arguments, got 3", false},
		{"GetAll", []any{1}, "refused: pb: Get_All takes 0 arguments, got 1", false},
		{"Sum", nil, "refused: pb: Sum takes 1 argument, got 0", false},
		{"Sum", []any{300}, "refused: pb: argument 1 of Sum: jelly: ", false},
		{"Sum", []any{1, 2, "x"}, "refused: pb: argument 3 of Sum: jelly: ", false},
		{"Post", []any{nil, "x"}, "refused: pb: argument 1 of Post: jelly: ", false},
		{"Broken", nil, "failed: pb: result of Broken: jelly: ", true},
		{"Panic", nil, "failed: internal error, id ", true},
	} {
		t.Run(c.method, func(t *testing.T) {
			x := export(&surfaceBoard{posts: []string{"bob: hi"}, later: Succeed("now")},
				&surroundings{})
			in := surfaceIn(t, c.args...)
			surfaceInvoke(t, x, in, c.method)
			if got := in.String(); got != c.want &&
				(c.want[len(c.want)-1] != ' ' || !strings.HasPrefix(got, c.want)) {
				t.Errorf("%s(%v) = %q, want %q", c.method, c.args, got, c.want)
			}
			if in.begun != c.begun {
				t.Errorf("%s(%v) begun = %v, want %v", c.method, c.args, in.begun, c.begun)
			}
		})
	}
}

func TestInvokeNotAnArray(t *testing.T) {
	x := export(&surfaceBoard{}, &surroundings{})
	in := surfaceIn(t)
	in.args = surfaceDecoder(t, []byte{0xc0})
	surfaceInvoke(t, x, in, "Post")
	if in.refused == nil || in.begun {
		t.Errorf("arguments nil: %v, want refused", in)
	}
}

func TestInvokeFramesAreFresh(t *testing.T) {
	x := export(&surfaceBoard{}, &surroundings{})
	in := surfaceIn(t, int8(1), int64(2), int64(3))
	surfaceInvoke(t, x, in, "Sum")
	in = surfaceIn(t, int8(1))
	surfaceInvoke(t, x, in, "Sum")
	if in.String() != "1" {
		t.Errorf("second Sum(1) = %v, want 1: arguments of the call before were left", in)
	}
}

func TestInvokeCancelledBeforeBegin(t *testing.T) {
	b := &surfaceBoard{}
	m, err := export(b, &surroundings{}).method([]byte("Post"))
	if err != nil {
		t.Fatal(err)
	}
	in := surfaceIn(t, "a", "b")
	in.cancelled = true
	m.invoke(in)
	if len(b.posts) != 0 || len(in.answers) != 0 {
		t.Errorf("cancelled call: posts %v, %d answers, want none of either", b.posts,
			len(in.answers))
	}
}

func BenchmarkInvoke(b *testing.B) {
	x := export(&surfaceBoard{}, &surroundings{})
	args := surfaceArgs(b, int8(1)).Remaining()
	var e jelly.Encoder
	var d jelly.Decoder
	in := &surfaceBenchIncoming{e: &e, d: &d, ctx: b.Context()}
	name := []byte("Sum")
	b.ReportAllocs()
	for b.Loop() {
		e.Reset(nil, nil)
		d.Reset(nil, nil, args, nil)
		m, err := x.method(name)
		if err != nil {
			b.Fatal(err)
		}
		m.invoke(in)
	}
	if in.err != nil {
		b.Fatal(in.err)
	}
}

type surfaceBenchIncoming struct {
	ctx context.Context
	e   *jelly.Encoder
	d   *jelly.Decoder
	err error
}

func (in *surfaceBenchIncoming) Context() context.Context                 { return in.ctx }
func (in *surfaceBenchIncoming) Args() *jelly.Decoder                     { return in.d }
func (in *surfaceBenchIncoming) Oneway() bool                             { return false }
func (in *surfaceBenchIncoming) OnEnd(func(Outcome, error))               {}
func (in *surfaceBenchIncoming) Begin() bool                              { return true }
func (in *surfaceBenchIncoming) Return(encode func(*jelly.Encoder) error) { in.err = encode(in.e) }
func (in *surfaceBenchIncoming) Fail(err error)                           { in.err = err }
func (in *surfaceBenchIncoming) Refuse(err error)                         { in.err = err }
