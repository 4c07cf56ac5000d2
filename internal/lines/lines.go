// Package lines stands between this module and the loggers that programs give it. What peers cause
// can neither fill a log nor get into it raw, and what a logger does can harm nobody:
//
//   - of each kind of line and each address there is one a second; the next one tells, as "more",
//     how many were left out
//   - a value is cut at [MaxValue] bytes, a stack at [MaxStack]; nothing is quoted here, for
//     handlers quote
//   - a handler that panics or ends its goroutine costs the line, no more
package lines

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"perspective/internal/guard"
)

const (
	// Every is the time in which there is one line of a kind and an address.
	Every = time.Second
	// MaxEntries is how many kinds and addresses are told apart at once. When there are more, those
	// that find no place have one line a second for each kind together.
	MaxEntries = 256
	// MaxValue is how many bytes of a value are logged.
	MaxValue = 1 << 10
	// MaxStack is how many bytes of the value named "stack" are logged: enough for the frames that
	// matter.
	MaxStack = 16 << 10
)

// whom and code are the attributes by which lines of one kind are told apart: the peer they are
// about, and the code of the program, where a receiver says that it is the program's. An IP address
// of the peer's alone identifies it, for names and keys cost a peer nothing.
var (
	whom = []string{"addr", "peer", "conn", "member", "back", "part"}
	code = []string{"method", "receiver"}
)

// Log is what an owner of a logger (a Node, a Portal, a Site) has beside it. The zero value is
// ready; it must not be copied once used. It has no goroutine and no timer. Its methods may be
// called from several goroutines at once.
type Log struct {
	mu    sync.Mutex
	made  *slog.Logger // for base
	base  *slog.Logger
	last  map[string]*entry
	swept time.Time
}

// entry is what was logged lately of one kind and address.
type entry struct {
	at    time.Time
	more  int // left out since
	level slog.Level
	kind  string
	who   []slog.Attr
	next  slog.Handler
}

// Logger returns a logger that writes to base as the package says; nil stands for slog.Default,
// whatever that is at the time of each line. A logger that came from here is returned as it is.
func (l *Log) Logger(base *slog.Logger) *slog.Logger {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.made != nil && l.base == base {
		return l.made
	}
	h := &handler{log: l, next: current{}}
	l.made, l.base = slog.New(h), base
	if base != nil {
		h.next = base.Handler()
		if _, ok := h.next.(*handler); ok {
			l.made = base
		}
	}
	return l.made
}

// Flush logs how many lines were left out and not told yet, for the end of the owner.
func (l *Log) Flush() {
	l.mu.Lock()
	owed := l.sweepLocked(time.Now().Add(2 * Every))
	l.mu.Unlock()
	tell(owed)
}

// take says whether a line may be written, and how many like it were left out before.
func (l *Log) take(key string, e entry) (more int, ok bool, owed []*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if age := e.at.Sub(l.swept); age >= Every || age < 0 {
		owed = l.sweepLocked(e.at)
		// What is owed of this very kind and address is told with the line.
		owed = slices.DeleteFunc(owed, func(o *entry) bool {
			if o.key() != key {
				return false
			}
			more = o.more
			return true
		})
		l.swept = e.at
	}
	old := l.last[key]
	if old == nil && len(l.last) >= MaxEntries {
		key = e.kind
		old = l.last[key]
		e.who = nil
	}
	if old != nil && !old.expired(e.at) {
		old.more++
		return 0, false, owed
	}
	if old != nil {
		more = old.more
	}
	if l.last == nil {
		l.last = make(map[string]*entry)
	}
	l.last[key] = &e
	return more, true, owed
}

func (e *entry) expired(now time.Time) bool {
	age := now.Sub(e.at)
	return age >= Every || age < 0 // a clock that was set back
}

// sweepLocked takes out what is older than Every, and returns that of which lines were left out.
func (l *Log) sweepLocked(now time.Time) (owed []*entry) {
	for key, e := range l.last {
		if !e.expired(now) {
			continue
		}
		delete(l.last, key)
		if e.more > 0 {
			owed = append(owed, e)
		}
	}
	slices.SortFunc(owed, func(a, b *entry) int {
		return cmp.Or(a.at.Compare(b.at), strings.Compare(a.key(), b.key()))
	})
	return owed
}

func (e *entry) key() string { return keyOf(e.kind, e.who) }

// about gives those of attrs by which a line is told apart, and cuts them.
func about(attrs []slog.Attr) []slog.Attr {
	var who, what []slog.Attr
	address := -1
	known := slices.ContainsFunc(attrs, func(a slog.Attr) bool { return a.Key == "receiver" })
	for i, a := range attrs {
		switch {
		case known && slices.Contains(code, a.Key):
			attrs[i].Value = cutValue(a.Key, a.Value)
			what = append(what, attrs[i])
		case slices.Contains(whom, a.Key):
			attrs[i].Value = cutValue(a.Key, a.Value)
			place, isIP := placeOf(attrs[i].Value.String())
			if isIP && address < 0 {
				address = len(who)
			}
			who = append(who, slog.String(a.Key, place))
		}
	}
	if address >= 0 {
		who = who[address : address+1]
	}
	return append(who, what...)
}

// placeOf is the part of an address that costs something to change: not the port, not what one
// subscriber has of IPv6, not the number of a process.
func placeOf(s string) (place string, isIP bool) {
	ip, err := netip.ParseAddr(s)
	if at, bad := netip.ParseAddrPort(s); bad == nil {
		ip, err = at.Addr(), nil
	}
	if err != nil {
		place, _, _ = strings.Cut(s, ", pid ")
		return place, false
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		return netip.PrefixFrom(ip, 64).Masked().String(), true
	}
	return ip.String(), true
}

// keyOf is what a line is counted by. A value holds no NUL when it comes here.
func keyOf(kind string, who []slog.Attr) string {
	if len(who) == 0 {
		return kind
	}
	var b strings.Builder
	b.WriteString(kind)
	for _, a := range who {
		b.WriteByte(0)
		b.WriteString(a.Key)
		b.WriteByte('=')
		b.WriteString(a.Value.String())
	}
	return b.String()
}

// tell logs what was left out.
func tell(owed []*entry) {
	for _, e := range owed {
		r := slog.NewRecord(time.Now(), e.level, e.kind, 0)
		r.AddAttrs(e.who...)
		r.AddAttrs(slog.Int("more", e.more))
		// a logger has nobody to tell
		_ = guard.Run(func() error { return e.next.Handle(context.Background(), r) })
	}
}

// handler is the slog.Handler behind Log.Logger.
type handler struct {
	log    *Log
	next   slog.Handler
	attrs  []slog.Attr
	groups []string
}

// Enabled asks the program's handler.
func (h *handler) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	_ = guard.Run(func() error {
		enabled = h.next.Enabled(ctx, level)
		return nil
	})
	return enabled
}

// WithAttrs keeps attrs for each line, so that the program's handler is called for lines alone.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	made := *h
	made.attrs = append(slices.Clone(h.attrs), h.grouped(attrs)...)
	return &made
}

// WithGroup keeps the name.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	made := *h
	made.groups = append(slices.Clone(h.groups), name)
	return &made
}

// grouped puts attrs into the groups that are open.
func (h *handler) grouped(attrs []slog.Attr) []slog.Attr {
	for _, name := range slices.Backward(h.groups) {
		attrs = []slog.Attr{{Key: name, Value: slog.GroupValue(attrs...)}}
	}
	return attrs
}

// Handle writes r, or counts it.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	var owed []*entry
	err := guard.Run(func() error { // the values' methods are a program's too
		attrs := make([]slog.Attr, 0, r.NumAttrs())
		r.Attrs(func(a slog.Attr) bool {
			attrs = append(attrs, a)
			return true
		})
		attrs = append(slices.Clone(h.attrs), h.grouped(attrs)...)
		e := entry{at: time.Now(), level: r.Level, kind: r.Message, next: h.next}
		e.who = about(attrs)
		if finer, ok := ctx.Value(apartKey{}).(slog.Attr); ok {
			finer.Value = cutValue(finer.Key, finer.Value)
			e.who = append(e.who, finer)
		}
		more, ok, left := h.log.take(keyOf(e.kind, e.who), e)
		if owed = left; !ok {
			return nil
		}
		for i, a := range attrs {
			attrs[i].Value = cutValue(a.Key, a.Value)
		}
		if more > 0 {
			attrs = append(attrs, slog.Int("more", more))
		}
		whole := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
		whole.AddAttrs(attrs...)
		return h.next.Handle(ctx, whole)
	})
	tell(owed)
	return err
}

type apartKey struct{}

// Apart returns a ctx whose lines are told apart from others of their kind and address by one
// attribute more, which no peer may be able to choose: an account that was proved, say.
func Apart(ctx context.Context, by slog.Attr) context.Context {
	return context.WithValue(ctx, apartKey{}, by)
}

// cutValue is v, of a length that a log can bear.
func cutValue(key string, v slog.Value) slog.Value {
	most := MaxValue
	if key == "stack" {
		most = MaxStack
	}
	switch v = v.Resolve(); v.Kind() {
	case slog.KindString:
		return slog.StringValue(cut(v.String(), most))
	case slog.KindGroup:
		group := slices.Clone(v.Group())
		for i, a := range group {
			group[i].Value = cutValue(a.Key, a.Value)
		}
		return slog.GroupValue(group...)
	case slog.KindAny:
		switch x := v.Any().(type) {
		case nil:
			return v
		case []byte:
			return slog.StringValue(cut(string(x[:min(len(x), most+utf8.UTFMax)]), most))
		default:
			return slog.StringValue(cut(guard.Text(x), most))
		}
	default: // numbers and times
		return v
	}
}

// cut returns at most n bytes of s, as UTF-8 without NUL.
func cut(s string, n int) string {
	const more = "…"
	long := len(s) > n
	s = strings.ToValidUTF8(s[:min(len(s), n+utf8.UTFMax)], "\uFFFD")
	s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	if !long && len(s) <= n {
		return s
	}
	n = min(n, len(s)+len(more)) - len(more)
	for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + more
}

// current is slog's default handler at the time of each line.
type current struct{}

func (current) Enabled(ctx context.Context, level slog.Level) bool {
	return slog.Default().Handler().Enabled(ctx, level)
}

func (current) Handle(ctx context.Context, r slog.Record) error {
	return slog.Default().Handler().Handle(ctx, r)
}

func (c current) WithAttrs([]slog.Attr) slog.Handler { return c } // Log keeps them

func (c current) WithGroup(string) slog.Handler { return c }

// Fault logs that what a program gave (a checker, a hook, …) panicked or ended its goroutine, if
// err is a *guard.PanicError itself, and reports whether it is. args are as those of
// slog.Logger.Log.
func Fault(ctx context.Context, logger *slog.Logger, what string, err error, args ...any) bool {
	//nolint:errorlint // guard gives it bare; methods of other errors are not asked
	p, ok := err.(*guard.PanicError)
	if ok {
		args = append(args, "id", p.ID, "panic", p.Text(), "stack", string(p.Stack()))
		//nolint:sloglint // what is a constant of the caller's
		logger.Log(ctx, slog.LevelError, what+" panicked", args...)
	}
	return ok
}
