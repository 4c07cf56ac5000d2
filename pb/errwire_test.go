package pb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"perspective/jelly"
)

var (
	errSurfaceSoldOut = errors.New("surface: sold out")
	errSurfaceCode    = surfaceCode(7)
)

type (
	surfaceCode   int
	surfaceStock  struct{ Item string }
	surfaceStocks struct{ Item []string } // registered by value, and not comparable
	surfaceOuter  struct {
		Op    string
		inner error
	}
	surfaceNeedy struct {
		Op    string
		inner error
	}
	surfaceUnknownFields struct{ C string } // has a name as an error, none as a value
	surfaceLoose         []string
	surfaceDeep          struct{ V any }
)

func (c surfaceCode) Error() string   { return fmt.Sprintf("surface: code %d", int(c)) }
func (s *surfaceStock) Error() string { return "surface: no " + s.Item }
func (s surfaceStocks) Error() string {
	return "surface: none of " + strings.Join(s.Item, ", ")
}
func (o *surfaceOuter) Error() string         { return fmt.Sprintf("%s: %v", o.Op, o.inner) }
func (o *surfaceNeedy) Error() string         { return "needy: " + o.inner.Error() }
func (o *surfaceNeedy) Unwrap() error         { return o.inner }
func (o *surfaceOuter) Unwrap() error         { return o.inner }
func (s *surfaceUnknownFields) Error() string { return "surface: " + s.C }
func (s surfaceLoose) Error() string          { return s[0] }
func (s *surfaceDeep) Error() string          { return "surface: deep" }

func init() {
	RegisterError("surface.SoldOut", errSurfaceSoldOut, "surface.Shop", "surface.Error")
	RegisterError("surface.Code", errSurfaceCode)
	RegisterError("surface.Stock", (*surfaceStock)(nil), "surface.Shop")
	RegisterError("surface.Stocks", surfaceStocks{})
	RegisterError("surface.Outer", (*surfaceOuter)(nil))
	RegisterError("surface.UnknownFields", (*surfaceUnknownFields)(nil), "surface.Error")
	RegisterError("surface.Needy", (*surfaceNeedy)(nil), "surface.Error")
	jelly.Register[surfaceNeedy]("surface.Needy")
	RegisterError("surface.Deep", (*surfaceDeep)(nil))
	jelly.Register[surfaceStock]("surface.Stock")
	jelly.Register[surfaceStocks]("surface.Stocks")
	jelly.Register[surfaceOuter]("surface.Outer")
	jelly.Register[surfaceDeep]("surface.Deep")
}

func TestErrorsCrossAsThemselves(t *testing.T) {
	for _, err := range []error{
		errSurfaceSoldOut, errSurfaceCode, context.Canceled, context.DeadlineExceeded, io.EOF,
		io.ErrUnexpectedEOF, os.ErrNotExist,
		os.ErrPermission, ErrOverloaded, ErrNoAvatar, ErrCancelled, ErrNoSuchObject,
	} {
		for hops, got := 1, surfaceCross(err); hops <= 2; hops, got = hops+1, surfaceCross(got) {
			if got != err { //nolint:errorlint // itself, not something that wraps it
				t.Errorf("%v after %d hops = %#v, want itself", err, hops, got)
			}
		}
	}
	for _, err := range []error{
		&surfaceStock{"tea"}, surfaceStocks{[]string{"a", "b"}},
		&NoSuchMethodError{"x", []string{"y"}}, &NoSuchMethodError{"x", nil},
		&ArgumentError{"m", 1, 2}, &jelly.ScanError{Offset: 3,
			Reason: "r"}, &Failure{Type: "exceptions.KeyError", Message: "'k'",
			Traceback: "tb", Parents: []string{"exceptions.LookupError"}},
	} {
		for hops, got := 1, surfaceCross(err); hops <= 2; hops, got = hops+1, surfaceCross(got) {
			if !reflect.DeepEqual(got, err) { //nolint:govet // all of it, not what it wraps
				t.Errorf("%#v after %d hops = %#v", err, hops, got)
			}
		}
	}
	typeErr := &jelly.TypeError{
		Path:   "field X",
		Type:   reflect.TypeFor[int8](),
		Got:    "300",
		Reason: "out of range",
	}
	got := surfaceCross(typeErr)
	if te := (*jelly.TypeError)(nil); !errors.As(got, &te) || te.Path != "field X" ||
		got.Error() != typeErr.Error() {
		t.Errorf("TypeError = %#v, want the text %q", got, typeErr)
	}
}

func TestErrorTrees(t *testing.T) {
	errPlain := errors.New("plain")
	_, noFile := os.Open("/does/not/exist")
	for name, c := range map[string]struct {
		err error
		is  []error
		not []error
		typ string // of the outermost, if it is a Failure

		unnamed bool   // the outermost is a Failure without a type
		kind    string // IsType
	}{
		"plain": {err: errPlain, not: []error{errPlain}, unnamed: true},
		"wrapped": {
			err:     fmt.Errorf("x: %w", errSurfaceSoldOut),
			is:      []error{errSurfaceSoldOut},
			unnamed: true,
			kind:    "surface.Error",
		},
		"twice": {
			err:     fmt.Errorf("y: %w", fmt.Errorf("x: %w", io.EOF)),
			is:      []error{io.EOF},
			unnamed: true,
		},
		"two": {
			err:     fmt.Errorf("%w and %w", io.EOF, errSurfaceCode),
			is:      []error{io.EOF, errSurfaceCode},
			unnamed: true,
		},
		"joined": {
			err:     errors.Join(errPlain, errSurfaceSoldOut, nil),
			is:      []error{errSurfaceSoldOut},
			unnamed: true,
		},
		"path error": {err: noFile, is: []error{fs.ErrNotExist}, unnamed: true},
		"errno":      {err: syscall.EPERM, is: []error{fs.ErrPermission}, unnamed: true},
		"type and cause": {
			err:  &surfaceOuter{"buy", errSurfaceSoldOut},
			is:   []error{errSurfaceSoldOut},
			kind: "surface.Outer",
		},
		"deep in a type": {
			err: fmt.Errorf("z: %w",
				&surfaceOuter{"buy", fmt.Errorf("q: %w", &surfaceStock{"tea"})}),
			kind:    "surface.Shop",
			unnamed: true,
		},
		"fields unknown": {
			err:  &surfaceUnknownFields{"lost"},
			typ:  "surface.UnknownFields",
			kind: "surface.Error",
		},
		"text needs more": {
			err:  &surfaceNeedy{"x", io.EOF},
			is:   []error{io.EOF},
			typ:  "surface.Needy",
			kind: "surface.Error",
		},
		"call": {
			err: wrapCall("Get", "", NotExecuted, ErrOverloaded),
			is:  []error{ErrOverloaded},
			typ: "pb.CallError",
		},
		"not comparable": {err: surfaceLoose{"loose"}, unnamed: true},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.err
			for hop := 1; hop <= 3; hop++ {
				got = surfaceCross(got)
				if got.Error() != c.err.Error() {
					t.Fatalf("hop %d: text %q, want %q", hop, got, c.err)
				}
				for _, e := range c.is {
					if !errors.Is(got, e) {
						t.Errorf("hop %d: %#v is not %v any more", hop, got, e)
					}
				}
				for _, e := range c.not {
					if errors.Is(got, e) {
						t.Errorf("hop %d: %#v is %v", hop, got, e)
					}
				}
				//nolint:errorlint // the outermost
				if f, ok := got.(*Failure); (c.typ != "" || c.unnamed) && (!ok || f.Type != c.typ) {
					t.Errorf("hop %d: %#v, want a Failure of type %q", hop, got, c.typ)
				}
				if c.kind != "" && !IsType(got, c.kind) {
					t.Errorf("hop %d: IsType(%#v, %q) = false", hop, got, c.kind)
				}
				if IsType(got, "nothing") || OutcomeOf(got) != MaybeExecuted {
					t.Errorf("hop %d: IsType(nothing) = %v, outcome %v", hop,
						IsType(got, "nothing"), OutcomeOf(got))
				}
			}
		})
	}
	var stock *surfaceStock
	if got := surfaceCross(&surfaceOuter{"buy", &surfaceStock{"tea"}}); !errors.As(got, &stock) ||
		stock.Item != "tea" {
		t.Errorf("%#v has lost its *surfaceStock", got)
	}
	var outer *surfaceOuter
	if got := surfaceCross(surfaceCross(&surfaceOuter{"buy", io.EOF})); !errors.As(got, &outer) ||
		outer.Op != "buy" {
		t.Errorf("%#v has lost its *surfaceOuter", got)
	}
}

type surfacePanicky struct{}

func (*surfacePanicky) Error() string { panic("no text") }

type surfaceCycle struct{ more []error }

func (*surfaceCycle) Error() string     { return strings.Repeat("long ", 10_000) + "\xff" }
func (c *surfaceCycle) Unwrap() []error { return c.more }

func TestErrorsThatHurt(t *testing.T) {
	cycle := &surfaceCycle{}
	for range 100 {
		cycle.more = append(cycle.more, cycle, nil)
	}
	deep := io.EOF
	for range 40 {
		deep = fmt.Errorf("%w", deep)
	}
	nest := any(1)
	for range 50 {
		nest = []any{nest}
	}
	nested := error(&surfaceDeep{nest})
	for range 12 {
		nested = fmt.Errorf("%w", nested)
	}
	for name, err := range map[string]error{
		"nil": nil, "text panics": &surfacePanicky{}, "typed nil": (*surfaceStock)(nil),
		"nil Failure": (*Failure)(nil),
		"nil panic":   (*PanicError)(nil), "cycle": cycle, "deep": deep, "deep value": nested,
		"wide Failure": &Failure{
			Type:      strings.Repeat("t", 999),
			Message:   strings.Repeat("m", 99_999),
			Traceback: strings.Repeat("ü", 99_999),
			Parents:   make([]string, 99),
		}, "empty": &Failure{}, "not text": errors.New("a\xffb"),
		"value refused": &surfaceStock{"a\xffb"},
		"long argument": &NoSuchMethodError{strings.Repeat("m", 999), make([]string, 9)},
		"extreme":       &ArgumentError{"", math.MinInt, math.MaxInt},
	} {
		t.Run(name, func(t *testing.T) {
			got := surfaceCross(err)
			if got == nil || IsType(got, "pb.MalformedError") ||
				strings.HasPrefix(got.Error(), "cannot be") || got.Error() == "" {
				t.Errorf("crossed as %#v", got)
			}
			if !utf8.ValidString(got.Error()) || len(got.Error()) > maxErrorMessage+64 {
				t.Errorf("text of %d bytes, UTF-8 %v", len(got.Error()),
					utf8.ValidString(got.Error()))
			}
		})
	}
}

func TestPanicsStayHidden(t *testing.T) {
	p := newPanicError("secret")
	for _, err := range []error{p, fmt.Errorf("x: %w", p), errors.Join(io.EOF, p),
		wrapCall("M", "", Executed, p)} {
		var e jelly.Encoder
		errorCodec{}.EncodeError(&e, err)
		if b := e.Buffer(); bytes.Contains(b, []byte("secret")) ||
			bytes.Contains(b, []byte(".go:")) || !bytes.Contains(b, []byte("id "+p.ID)) {
			t.Errorf("%v crosses as %q", err, b)
		}
		e.Reset(nil, nil)
		errorCodec{tracebacks: true}.EncodeError(&e, p)
		if !bytes.Contains(e.Buffer(), []byte("panic: secret")) ||
			!bytes.Contains(e.Buffer(), []byte(".go:")) {
			t.Errorf("with tracebacks %v crosses as %q", err, e.Buffer())
		}
	}
}

func TestMalformedErrors(t *testing.T) {
	for name, write := range map[string]func(e *jelly.Encoder){
		"nil":        func(e *jelly.Encoder) { e.EncodeNil() },
		"string":     func(e *jelly.Encoder) { e.EncodeString("x") },
		"empty":      func(e *jelly.Encoder) { e.EncodeArrayLen(0) },
		"name alone": func(e *jelly.Encoder) { e.EncodeArrayLen(1); e.EncodeString("x") },
		"number": func(e *jelly.Encoder) {
			e.EncodeArrayLen(2)
			e.EncodeInt(1)
			e.EncodeString("x")
		},
		"long name": func(e *jelly.Encoder) {
			e.EncodeArrayLen(2)
			e.EncodeString(strings.Repeat("x", 257))
			e.EncodeNil()
		},
		"long text": func(e *jelly.Encoder) {
			e.EncodeArrayLen(2)
			e.EncodeNil()
			e.EncodeString(strings.Repeat("x", 8193))
		},
		"deep": func(e *jelly.Encoder) { surfaceErrorChain(e, 17) },
		"wide": func(e *jelly.Encoder) { surfaceErrorFan(e, 64) },
		"cause alone": func(e *jelly.Encoder) {
			e.EncodeArrayLen(5)
			surfaceNils(e, 4)
			e.EncodeString("cause")
		},
		"parents": func(e *jelly.Encoder) {
			e.EncodeArrayLen(4)
			surfaceNils(e, 3)
			e.EncodeArrayLen(17)
			surfaceNils(e, 17)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var e jelly.Encoder
			e.EncodeArrayLen(2)
			write(&e)
			e.EncodeInt(7)
			d := surfaceDecoder(t, e.Buffer())
			if _, err := d.DecodeArrayLen(); err != nil {
				t.Fatal(err)
			}
			if got := (errorCodec{}).DecodeError(d); !IsType(got, "pb.MalformedError") {
				t.Errorf("DecodeError = %#v, want a malformed error", got)
			}
			if n, err := d.DecodeInt(); n != 7 || err != nil {
				t.Errorf("behind the error = %v, %v, want 7: the error was not read whole", n, err)
			}
		})
	}
	for name, write := range map[string]func(e *jelly.Encoder){
		"deep": func(e *jelly.Encoder) { surfaceErrorChain(e, 16) },
		"wide": func(e *jelly.Encoder) { surfaceErrorFan(e, 63) },
		"two":  func(e *jelly.Encoder) { e.EncodeArrayLen(2); surfaceNils(e, 2) },
		"more": func(e *jelly.Encoder) { e.EncodeArrayLen(9); surfaceNils(e, 9) },
		"bad value": func(e *jelly.Encoder) {
			e.EncodeArrayLen(6)
			e.EncodeString("surface.Stock")
			e.EncodeString("text")
			surfaceNils(e, 3)
			e.EncodeInt(3)
		},
		"value unknown": func(e *jelly.Encoder) {
			e.EncodeArrayLen(6)
			e.EncodeString("unheard.Of")
			e.EncodeString("text")
			surfaceNils(e, 3)
			e.EncodeArrayLen(1)
			e.EncodeInt(3)
		},
		"bad builtin": func(e *jelly.Encoder) {
			e.EncodeArrayLen(6)
			e.EncodeString("pb.ArgumentError")
			e.EncodeString("text")
			surfaceNils(e, 3)
			e.EncodeArrayLen(1)
			e.EncodeInt(3)
		},
	} {
		t.Run("good "+name, func(t *testing.T) {
			var e jelly.Encoder
			write(&e)
			d := surfaceDecoder(t, e.Buffer())
			got := (errorCodec{}).DecodeError(d)
			//nolint:errorlint // the outermost
			if _, ok := got.(*Failure); !ok || IsType(got, "pb.MalformedError") || d.More() {
				t.Errorf("DecodeError = %#v, left %v, want a Failure and nothing left",
					got, d.More())
			}
		})
	}
}

func surfaceNils(e *jelly.Encoder, n int) {
	for range n {
		e.EncodeNil()
	}
}

func surfaceErrorChain(e *jelly.Encoder, n int) {
	for range n - 1 {
		e.EncodeArrayLen(5)
		surfaceNils(e, 4)
		e.EncodeArrayLen(1)
	}
	e.EncodeArrayLen(2)
	surfaceNils(e, 2)
}

func surfaceErrorFan(e *jelly.Encoder, n int) {
	e.EncodeArrayLen(5)
	surfaceNils(e, 4)
	e.EncodeArrayLen(n)
	for range n {
		e.EncodeArrayLen(2)
		surfaceNils(e, 2)
	}
}

func TestRegisterErrorPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"nil":         func() { RegisterError("surface.x", nil) },
		"name taken":  func() { RegisterError("io.EOF", errors.New("x")) },
		"error taken": func() { RegisterError("surface.x", io.EOF) },
		"type taken":  func() { RegisterError("surface.x", (*surfaceStock)(nil)) },
		"no name":     func() { RegisterError("", errors.New("x")) },
		"long name":   func() { RegisterError(strings.Repeat("x", 257), errors.New("x")) },
		"bad parent":  func() { RegisterError("surface.x", errors.New("x"), "a\xff") },
		"parents": func() {
			RegisterError("surface.x", errors.New("x"),
				strings.Split(strings.Repeat("p ", 16)+"p", " ")...)
		},
		"loose": func() { RegisterError("surface.x", surfaceLoose{"x"}) },
	} {
		if got := surfacePanic(f); !strings.HasPrefix(got, "pb: RegisterError ") {
			t.Errorf("%s: panic %q", name, got)
		}
	}
	if errorNames.named("surface.x") != nil {
		t.Error("a refused name was kept")
	}
}

func TestOutcomeOf(t *testing.T) {
	nested := wrapCall("A", "p", NotExecuted, wrapCall("B", "", MaybeExecuted, io.EOF))
	for _, c := range []struct {
		err  error
		want Outcome
	}{
		{nil, Executed},
		{io.EOF, MaybeExecuted},
		{nested, NotExecuted},
		{fmt.Errorf("x: %w", nested), NotExecuted},
		{wrapCall("A", "", Executed, io.EOF), Executed},
		{surfaceCross(nested), MaybeExecuted},
		{wrapCall("A", "", Executed, surfaceCross(nested)), Executed},
	} {
		if got := OutcomeOf(c.err); got != c.want {
			t.Errorf("OutcomeOf(%v) = %v, want %v", c.err, got, c.want)
		}
	}
	if got, want := nested.Error(), "pb: call A on p: call B: EOF"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
}

func FuzzDecodeError(f *testing.F) {
	for _, err := range []error{io.EOF, &surfaceStock{"x"},
		fmt.Errorf("y: %w", &surfaceOuter{"o", io.EOF}), &ArgumentError{"m", 1, 2},
		&jelly.TypeError{Reason: "r"},
		&Failure{Type: "t", Message: "m", Parents: []string{"p"}, Traceback: "tb"}} {
		var e jelly.Encoder
		errorCodec{tracebacks: true}.EncodeError(&e, err)
		f.Add(e.Buffer())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := jelly.Scan(b, nil); err != nil {
			return
		}
		var d jelly.Decoder
		d.Reset(nil, nil, b, nil)
		first := errorCodec{}.DecodeError(&d)
		if first == nil {
			t.Fatal("DecodeError = nil")
		}
		second := surfaceCross(first)
		if third := surfaceCross(second); third.Error() != second.Error() {
			t.Fatalf("text changed between hops: %q, then %q", second, third)
		}
	})
}
