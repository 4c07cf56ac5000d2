package guard

import (
	"errors"
	"runtime"
	"strings"
	"testing"
)

var errPlain = errors.New("plain")

// ends are the ways in which a program's function can end.
var ends = []struct {
	name string
	f    func() error
	want func(error) bool
}{
	{"value", func() error { return nil }, func(err error) bool { return err == nil }},
	//nolint:errorlint // itself
	{"error", func() error { return errPlain }, func(err error) bool { return err == errPlain }},
	{"panic", func() error { panic("boom") }, func(err error) bool {
		p, ok := errors.AsType[*PanicError](err)
		return ok && p.Value == "boom" && p.Error() == "panic "+p.ID+": boom" &&
			strings.Contains(string(p.Stack()), "guard_test.go")
	}},
	{"panic with an error", func() error { panic(errPlain) }, func(err error) bool {
		_, ok := errors.AsType[*PanicError](err)
		return ok && !errors.Is(err, errPlain)
	}},
	{"Goexit", func() error { runtime.Goexit(); return nil }, func(err error) bool {
		p, ok := errors.AsType[*PanicError](err)
		return ok && p.ID != "" && errors.Is(err, ErrGoexit)
	}},
}

func TestRun(t *testing.T) {
	for _, test := range ends {
		t.Run(test.name, func(t *testing.T) {
			if err := Run(test.f); !test.want(err) {
				t.Errorf("Run = %v", err)
			}
		})
	}
}

func TestCall(t *testing.T) {
	for _, test := range ends {
		t.Run(test.name, func(t *testing.T) {
			var got, gone error
			returned := false
			done := make(chan struct{})
			go func() {
				defer close(done)
				got = Call(test.f, func(err error) { gone = err })
				returned = true
			}()
			<-done
			if exits := test.name == "Goexit"; exits == returned {
				t.Errorf("Call returned: %v", returned)
			} else if exits {
				got = gone
			}
			if !test.want(got) {
				t.Errorf("Call = %v", got)
			}
		})
	}
}

type badText struct{ f func() string }

func (b badText) Error() string { return b.f() }

func TestText(t *testing.T) {
	tests := []struct {
		name string
		v    any
		want string
	}{
		{"string", "s", "s"},
		{"nil", nil, "<nil>"},
		{"number", 7, "7"},
		{"error", errPlain, "plain"},
		{"slice", []int{1}, "[1]"},
		{"Error panics", badText{func() string { panic("x") }}, "a guard.badText without a text"},
		{"Error ends its goroutine", badText{func() string { runtime.Goexit(); return "" }},
			"a guard.badText without a text"},
		{"Goexit", ErrGoexit, ErrGoexit.Error()},
	}
	for _, test := range tests {
		if got := Text(test.v); got != test.want {
			t.Errorf("%s: Text = %q, want %q", test.name, got, test.want)
		}
	}
}
