package prefix_test

import (
	"errors"
	"io"
	"testing"

	"perspective/internal/prefix"
)

func TestOnce(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"pb: no root", "pb: no root"},
		{"pb: call x: pb: no root", "pb: call x: no root"},
		{"pb: pb: pb: no root", "pb: no root"},
		{"pb: call x on y: broker: closed: broker: pb: why",
			"pb: call x on y: broker: closed: why"},
		{"distrib: link a: pb: call x: distrib: no such mount",
			"distrib: link a: pb: call x: no such mount"},
		{"no file: cred: line 1: cred: no colon", "no file: cred: line 1: no colon"},
		{"dial pb://a: it said pb: no", "dial pb://a: it said pb: no"},
		{"pb: dial httppb: x", "pb: dial httppb: x"},
	} {
		if got := prefix.Once(c.text); got != c.want {
			t.Errorf("Once(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

func TestErrorf(t *testing.T) {
	inner := errors.New("pb: inner")
	err := prefix.Errorf("pb: outer: %w", inner)
	//nolint:errorlint // it itself
	if err.Error() != "pb: outer: inner" || errors.Unwrap(err) != inner {
		t.Errorf("one: %v", err)
	}
	err = prefix.Errorf("pb: outer: %w: %w", inner, io.EOF)
	if err.Error() != "pb: outer: inner: EOF" || !errors.Is(err, inner) || !errors.Is(err, io.EOF) {
		t.Errorf("two: %v", err)
	}
	err = prefix.Errorf("pb: outer: %w", io.EOF)
	if err.Error() != "pb: outer: EOF" || !errors.Is(err, io.EOF) {
		t.Errorf("nothing to change: %v", err)
	}
	if err := prefix.Errorf("pb: %s: pb: x", "a"); err.Error() != "pb: a: x" ||
		errors.Unwrap(err) != nil {
		t.Errorf("none: %v", err)
	}
}
