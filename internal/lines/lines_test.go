package lines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// written is a log, what it writes to, and how to read that.
func written() (l *Log, logger *slog.Logger, read func() string) {
	var out bytes.Buffer
	l = new(Log)
	plain := slog.New(slog.NewTextHandler(
		&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
	return l, l.Logger(plain), func() string {
		defer out.Reset()
		return out.String()
	}
}

// TestOneLineASecond has a flood of one kind, which neither hides other kinds and addresses nor is
// forgotten.
func TestOneLineASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, logger, read := written()
		flood := func(n int) string {
			for range n {
				logger.Warn("refused", "peer", "1.2.3.4", "n", n)
			}
			return read()
		}
		want := func(got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("logged\n%swant\n%s", got, want)
			}
		}
		want(flood(1000), "level=WARN msg=refused peer=1.2.3.4 n=1000\n")
		logger.Warn("refused", "peer", "5.6.7.8")
		logger.With("peer", "9").Info("refused")
		logger.Warn("other", "peer", "1.2.3.4")
		want(read(),
			"level=WARN msg=refused peer=5.6.7.8\nlevel=INFO msg=refused peer=9\nlevel=WARN "+
				"msg=other peer=1.2.3.4\n")
		time.Sleep(Every - 1)
		want(flood(1), "")
		time.Sleep(time.Nanosecond)
		want(flood(5), "level=WARN msg=refused peer=1.2.3.4 n=5 more=1000\n")
		time.Sleep(Every)
		logger.Warn("third")
		want(read(), "level=WARN msg=third\nlevel=WARN msg=refused peer=1.2.3.4 more=4\n")
		_ = flood(3)
		l.Flush()
		want(read(), "level=WARN msg=refused peer=1.2.3.4 more=2\n")
		l.Flush()
		want(read(), "")
	})
}

// TestMany has more addresses than there is room for.
func TestMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, logger, read := written()
		for range 2 {
			for i := range 10 * MaxEntries {
				logger.Warn("refused", "peer", i)
			}
			if n := strings.Count(read(), "\n"); n < MaxEntries || n > 2*MaxEntries+2 {
				t.Errorf("%d lines, want one for each of %d and what was left out", n, MaxEntries)
			}
			if len(l.last) > MaxEntries+1 {
				t.Errorf("%d entries, want %d and one for the others", len(l.last), MaxEntries)
			}
			time.Sleep(Every)
		}
		l.Flush()
		if got := read(); !strings.Contains(got, fmt.Sprint("msg=refused more=", 9*MaxEntries-1)) {
			t.Errorf("at the end was logged %q", got)
		}
	})
}

// TestAddresses has what is free to change not tell lines apart.
func TestAddresses(t *testing.T) {
	tests := []struct {
		name string
		a, b []any
		one  bool
	}{
		{"ports", []any{"peer", "1.2.3.4:5"}, []any{"peer", "1.2.3.4:6"}, true},
		{"a mapped address", []any{"peer", "1.2.3.4:5"}, []any{"peer", "[::ffff:1.2.3.4]:5"}, true},
		{"others", []any{"peer", "1.2.3.4:5"}, []any{"peer", "1.2.3.5:5"}, false},
		{"one subscriber", []any{"peer", "[2001:db8::1]:5"},
			[]any{"peer", "[2001:db8::2%eth0]:5"}, true},
		{"two subscribers", []any{"peer", "[2001:db8::1]:5"},
			[]any{"peer", "[2001:db8:0:1::1]:5"}, false},
		{"keys of one address", []any{"conn", "k1", "addr", "1.2.3.4:5"},
			[]any{"conn", "k2", "addr", "1.2.3.4:6"}, true},
		{"processes", []any{"conn", "the peer with uid 7, pid 1"},
			[]any{"conn", "the peer with uid 7, pid 2"}, true},
		{"users", []any{"conn", "the peer with uid 7, pid 1"},
			[]any{"conn", "the peer with uid 8, pid 1"}, false},
		{"methods", []any{"addr", "1.2.3.4:5", "method", "a", "receiver", "T"},
			[]any{"addr", "1.2.3.4:5", "method", "b", "receiver", "T"}, false},
		{"methods of nobody", []any{"addr", "1.2.3.4:5", "method", "a"},
			[]any{"addr", "1.2.3.4:5", "method", "b"}, true},
		{"other values", []any{"peer", "1.2.3.4:5", "err", "a"},
			[]any{"peer", "1.2.3.4:5", "err", "b"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, logger, read := written()
			logger.Warn("m", test.a...)
			logger.With(test.b...).Warn("m")
			if got := strings.Count(read(), "\n"); (got == 1) != test.one {
				t.Errorf("%d lines", got)
			}
		})
	}
}

func TestApart(t *testing.T) {
	_, logger, read := written()
	for _, account := range []string{"a", "b", "a"} {
		logger.InfoContext(Apart(t.Context(), slog.String("account", account)), "logged in",
			"account", account)
	}
	if got := read(); got !=
		"level=INFO msg=\"logged in\" account=a\nlevel=INFO msg=\"logged in\" account=b\n" {
		t.Errorf("logged %q", got)
	}
}

// A sly value does what f does when it is logged.
type sly func() string

func (s sly) Error() string        { return s() }
func (s sly) LogValue() slog.Value { return slog.StringValue(s()) }

type slyError struct{ sly func() string }

func (s slyError) Error() string { return s.sly() }

func TestValues(t *testing.T) {
	long := strings.Repeat("é", MaxValue)
	tests := []struct {
		name  string
		attr  slog.Attr
		check func(string) bool
	}{
		{"quoted once", slog.String("v", "a\n\"b\x1b"),
			func(s string) bool { return strings.Contains(s, `v="a\n\"b\x1b"`) }},
		{"long", slog.String("v", long),
			func(s string) bool { return len(s) < MaxValue+100 && strings.Contains(s, "…") }},
		{"at the edge", slog.String("v", long[:MaxValue]),
			func(s string) bool { return strings.Contains(s, "v="+long[:MaxValue]+"\n") }},
		{"not UTF-8", slog.String("v", strings.Repeat("\xffa", MaxValue)),
			func(s string) bool { return len(s) < MaxValue+100 }},
		{"bytes", slog.Any("v", []byte(long)),
			func(s string) bool { return len(s) < MaxValue+100 }},
		{"error", slog.Any("v", errors.New(long)),
			func(s string) bool { return len(s) < MaxValue+100 }},
		{"in a group", slog.Group("g", "v", long),
			func(s string) bool { return len(s) < MaxValue+100 && strings.Contains(s, "g.v=") }},
		{"a stack", slog.String("stack", strings.Repeat("x", 1<<20)),
			func(s string) bool { return len(s) > MaxStack && len(s) < MaxStack+100 }},
		{"number", slog.Int("v", 7), func(s string) bool { return strings.Contains(s, "v=7") }},
		{"Error panics", slog.Any("v", slyError{func() string { panic("x") }}),
			func(s string) bool { return strings.Contains(s, "without a text") }},
		{"Error ends its goroutine", slog.Any("v",
			slyError{func() string { runtime.Goexit(); return "" }}), func(s string) bool {
			return strings.Contains(s, "without a text")
		}},
		{"LogValue panics", slog.Any("v", sly(func() string { panic("x") })),
			func(s string) bool { return strings.Contains(s, "msg=m") }},
		{"LogValue ends its goroutine", slog.Any("v",
			sly(func() string { runtime.Goexit(); return "" })), func(string) bool { return true }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, logger, read := written()
			logger.LogAttrs(t.Context(), slog.LevelInfo, "m", test.attr)
			if got := read(); !test.check(got) {
				t.Errorf("logged %.300q", got)
			}
		})
	}
}

// A slyHandler does what f does.
type slyHandler struct{ f func() }

func (h slyHandler) Enabled(context.Context, slog.Level) bool  { return true }
func (h slyHandler) Handle(context.Context, slog.Record) error { h.f(); return nil }
func (h slyHandler) WithAttrs([]slog.Attr) slog.Handler        { h.f(); return h }
func (h slyHandler) WithGroup(string) slog.Handler             { h.f(); return h }

type slyEnabled struct{ slyHandler }

func (h slyEnabled) Enabled(context.Context, slog.Level) bool { h.f(); return true }

func TestHandlers(t *testing.T) {
	for name, f := range map[string]func(){"panic": func() { panic("x") },
		"Goexit": runtime.Goexit} {
		for _, h := range []slog.Handler{slyHandler{f}, slyEnabled{slyHandler{f}}} {
			t.Run(fmt.Sprintf("%s %T", name, h), func(*testing.T) {
				var l Log
				logger := l.Logger(slog.New(h))
				logger.With("a", 1).WithGroup("g").Error("m", "b", 2)
				logger.Error("m")
				l.Flush()
			})
		}
	}
}

// TestLogger has nil stand for slog.Default, and loggers of Log not wrapped twice.
func TestLogger(t *testing.T) {
	var out bytes.Buffer
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	var l, other Log
	logger := l.Logger(nil)
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	logger.WithGroup("g").With("a", 1).Info("hello", "b", 2)
	if !strings.Contains(out.String(), "msg=hello g.a=1 g.b=2") {
		t.Errorf("logged %q", out.String())
	}
	if l.Logger(nil) != logger || other.Logger(logger) != logger {
		t.Error("a logger was wrapped twice")
	}
}
