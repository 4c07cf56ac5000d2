package broker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"perspective/broker/link"
	"perspective/broker/wire"
	"perspective/internal/lines"
	"perspective/jelly"
)

// Config is what a connection needs from the layer above. The zero value of a
// field is as said; Errors is needed.
type Config struct {
	// Dialer is true on the side that opened the connection.
	Dialer bool
	// Limits of this side; zero fields are defaults.
	Limits Limits
	// Node is the name this side goes by in its preface; empty: none.
	Node string
	// Types is the registry of copied values; nil: the default one.
	Types *jelly.Registry
	// Refs is how references cross; nil: they do not.
	Refs jelly.Refs
	// CallRefs gives Refs for a call whose arguments name earlier answers.
	CallRefs func(*Incoming) jelly.Refs
	// Errors turns errors into values and back.
	Errors Errors
	// Forward makes an Object that passes calls on to the peer's own object
	// id; nil: such calls are refused.
	Forward func(id uint64) Object
	// Refused is told of each call of the peer's that ends before a method has asked for its end
	// with Incoming.OnEnd, and why, just before the caller is; nil: nobody is told. It is called
	// without a lock but perhaps by the reader, so it must not block.
	Refused func(in *Incoming, err error)
	// Stranger, if not nil, says what is taken from the peer until Trust is
	// called.
	Stranger *Stranger
	// Memory is what the calls of this connection and of others take together;
	// nil: a Memory of 256 MiB for this one.
	Memory *Memory
	// Boot and Root are the exports 0 and 1; nil: there is none yet.
	Boot, Root Object
	// Context has the values of every method's context; nil: none.
	Context context.Context //nolint:containedctx // a source of values, as net/http's BaseContext
	// Ended is called once, after Done was closed, on a goroutine of the
	// connection's; nil: nothing is.
	Ended func()
	// Logger gets what an administrator should know; nil: slog.Default.
	Logger *slog.Logger
}

// A Broker runs one connection. Make it with New; it ends with Close,
// Shutdown, the peer's leaving, or a broken rule; Done is closed then. All its
// methods may be called from several goroutines at once.
type Broker struct {
	config Config
	limits Limits
	log    *slog.Logger

	wire      wire.Wire
	questions questions
	answers   answers
	exports   exports
	imports   imports
	permits   permits
	account   account
	syncs     syncs
	stats     stats

	born   time.Time
	clock  atomic.Uint32 // since then, in clockUnit, as of the last sweep
	reader atomic.Pointer[reader]

	inlineWatched atomic.Bool // the watchdog looks at the reader
	inlineTimer   *time.Timer // under endMu
	inlineSeen    *Incoming   // the watchdog's own: what it saw the last time
	inlineIdle    bool

	strange  atomic.Pointer[Stranger] // nil: the peer is none
	greeting chan struct{}            // closed when the peer's preface was read
	away     atomic.Bool              // GOAWAY was sent
	peerAway atomic.Bool              // GOAWAY came
	watching atomic.Bool
	idle     chan struct{} // gets a value when a shutdown may go on

	endMu     sync.Mutex
	err       error
	polite    atomic.Bool // the end waits for the peer to read what was sent
	done      chan struct{}
	workers   workers // what users' methods may keep alive
	ticker    *time.Timer
	pinged    bool // the ticker's own, like silent: ticks since it found something heard
	silent    int
	flushing  atomic.Bool // lateFlush runs
	lateFlush *time.Timer // under endMu
}

// New starts a broker over conn, which it owns from now on: it closes conn at
// the end. The preface leaves at once, with the first calls behind it.
func New(conn io.ReadWriteCloser, config Config) (*Broker, error) {
	b, err := prepare(config)
	if err != nil {
		return nil, err
	}
	w, err := link.New(conn, link.Config{
		Dialer: config.Dialer, Limits: b.limits.ofLink(), Node: config.Node, Types: config.Types,
		Refs: config.Refs, Errors: config.Errors, Account: &b.account.Account, Logger: b.log,
	})
	if err != nil {
		return nil, err
	}
	b.serve(w)
	return b, nil
}

// NewOver starts a broker over a wire that is not the native one.
func NewOver(w wire.Wire, config Config) (*Broker, error) {
	b, err := prepare(config)
	if err != nil {
		return nil, err
	}
	b.serve(w)
	return b, nil
}

// prepare makes a broker that has no wire yet.
func prepare(config Config) (*Broker, error) {
	if config.Errors == nil {
		return nil, errors.New("broker: Config.Errors is nil")
	}
	if config.Context == nil {
		config.Context = context.Background()
	}
	if config.Memory == nil {
		config.Memory = NewMemory(defaultMemory)
	}
	b := &Broker{
		config:   config,
		limits:   config.Limits.withDefaults(),
		born:     time.Now(),
		log:      new(lines.Log).Logger(config.Logger),
		greeting: make(chan struct{}),
		done:     make(chan struct{}),
		idle:     make(chan struct{}, 1),
	}
	b.account.init(config.Memory)
	b.reader.Store(new(reader))
	b.questions.limitN, b.questions.limitB = earlyCalls, earlyBytes
	b.answers.init(b)
	b.exports.init(b)
	b.imports.byID = make(map[uint64]*imported)
	b.imports.dropped = new(dropped)
	b.permits.b = b
	if config.Boot != nil {
		b.SetFixed(0, &b.exports, config.Boot)
	}
	if config.Root != nil {
		b.SetFixed(1, config.Root, config.Root)
	}
	return b, nil
}

// serve has w deliver to b.
func (b *Broker) serve(w wire.Wire) {
	b.wire = w
	if s := b.config.Stranger; s != nil {
		b.distrust(*s)
	}
	w.Start((*session)(b))
	b.startTicker()
}

// Greeted is closed when the peer's preface has come.
func (b *Broker) Greeted() <-chan struct{} { return b.greeting }

// peerMessage is how large a message the peer takes.
func (b *Broker) peerMessage() int {
	if p := b.wire.Peer(); p != nil {
		return p.Message
	}
	return wholeSize
}

// distrust has no more taken from the peer than s says.
func (b *Broker) distrust(s Stranger) {
	s = s.withDefaults()
	s.Message, s.Queued = min(s.Message, b.limits.Message), min(s.Queued, b.limits.Queued)
	s.Calls, s.CallBytes = min(s.Calls, b.limits.Calls), min(s.CallBytes, b.limits.CallBytes)
	b.account.Cap(int64(s.Memory))
	b.strange.Store(&s)
	b.wire.Restrict(&wire.Strict{
		Message:   s.Message,
		Calls:     s.Calls,
		CallBytes: s.CallBytes,
		Queued:    s.Queued,
	})
}

// Trust ends what Config.Stranger began: from now on Limits hold.
func (b *Broker) Trust() {
	b.account.Cap(0)
	b.strange.Store(nil)
	b.wire.Restrict(nil)
}

// messageLimit is how large a message may be that is taken from the peer.
func (b *Broker) messageLimit() int {
	if s := b.strange.Load(); s != nil {
		return s.Message
	}
	return b.limits.Message
}

// queuedLimit is how much may wait to be written to the peer.
func (b *Broker) queuedLimit() int {
	if s := b.strange.Load(); s != nil {
		return s.Queued
	}
	return b.limits.Queued
}

// stranger reports whether the peer has not logged in yet.
func (b *Broker) stranger() bool { return b.strange.Load() != nil }

// runner runs f on a goroutine of the workers'; after the end it starts none,
// and says so.
func (b *Broker) runner(f func()) bool { return b.workers.run(f) }

// end ends the connection for the first reason that is given.
func (b *Broker) end(reason error) {
	b.endMu.Lock()
	if b.err != nil {
		b.endMu.Unlock()
		return
	}
	b.err = reason
	b.wire.Stop()
	b.endMu.Unlock()
	go b.teardown(reason) // ends soon: it closes done, which Wait waits for
}

// teardown is where everything that belongs to the connection ends.
func (b *Broker) teardown(reason error) {
	rule := b.brokenRule(reason)
	if rule != "" {
		b.sendAbort(rule, reason)
	}
	b.stopTicker()
	b.stopInline()
	b.permits.stop()
	b.wire.Shut(reason)
	// a silent peer does not read either
	if rule != "" && !errors.Is(reason, ErrTimeout) || b.polite.Load() {
		b.wire.Linger()
	}
	b.wire.Close()
	b.failQuestions(reason)
	b.answers.end(reason)
	b.exports.clear(reason)
	b.imports.clear(reason)
	b.workers.stop()
	close(b.done)
	if b.config.Ended != nil {
		b.config.Ended()
	}
}

// brokenRule is the rule of the wire that the peer has broken, if that is why
// the connection ends. One line says so, here and on the peer's side.
func (b *Broker) brokenRule(reason error) string {
	if a, ok := errors.AsType[*AbortError](reason); ok {
		b.log.Warn("the peer ended the connection: it says that this side broke a rule of the wire",
			"rule", a.Reason)
		return ""
	}
	var rule string
	switch p, ok := errors.AsType[*ProtocolError](reason); {
	case ok:
		b.stats.violations.Add(1)
		rule = p.Reason
	case errors.Is(reason, ErrTimeout), errors.Is(reason, wire.ErrCallStreamClosed):
		rule = strings.TrimPrefix(reason.Error(), "broker: ")
	default:
		return ""
	}
	b.log.Warn("connection ended: the peer broke a rule of the wire", "rule", rule)
	return rule
}

// Done is closed when the connection has ended: every question is finished and
// every method's context is cancelled then.
func (b *Broker) Done() <-chan struct{} { return b.done }

// Err says why the connection ended; nil while it lives.
func (b *Broker) Err() error {
	b.endMu.Lock()
	defer b.endMu.Unlock()
	return b.err
}

// Close ends the connection at once. Calls in flight fail.
func (b *Broker) Close() error {
	b.end(ErrClosed)
	<-b.done
	return nil
}

// Wait returns when, after the end, the last method of the peer's calls has
// returned too.
func (b *Broker) Wait() {
	<-b.done
	b.wire.Wait()
	b.workers.wait()
}
