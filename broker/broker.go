package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

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
	dialer bool
	conn   io.ReadWriteCloser
	log    *slog.Logger

	out       out
	in        in
	dec       *jelly.Decoder // the reader's
	questions questions
	answers   answers
	exports   exports
	imports   imports
	slots     slots
	parts     parts
	streams   streams
	guard     bucket
	account   account
	syncs     syncs
	stats     stats

	heard  atomic.Bool // something came since the last tick
	born   time.Time
	clock  atomic.Uint32 // since then, in clockUnit, as of the last sweep
	reader atomic.Pointer[reader]

	inlineWatched atomic.Bool // the watchdog looks at the reader
	inlineTimer   *time.Timer // under endMu
	inlineSeen    *Incoming   // the watchdog's own: what it saw the last time
	inlineIdle    bool

	strange  atomic.Pointer[Stranger] // nil: the peer is none
	peer     atomic.Pointer[Peer]
	greeting chan struct{} // closed when the peer's preface was read
	away     atomic.Bool   // GOAWAY was sent
	peerAway atomic.Bool   // GOAWAY came
	watching atomic.Bool
	idle     chan struct{} // gets a value when a shutdown may go on

	endMu     sync.Mutex
	err       error
	over      atomic.Bool // err is set
	polite    atomic.Bool // the end waits for the peer to read what was sent
	done      chan struct{}
	wg        sync.WaitGroup // reader, drain, teardown: what ends with the connection
	workers   workers        // what users' methods may keep alive
	ticker    *time.Timer
	deaf      *time.Timer // runs when the connection can not be written to
	pinged    bool        // the ticker's own, like silent: ticks since it found something heard
	silent    int
	hello     *time.Timer
	flushing  atomic.Bool // lateFlush runs
	lateFlush *time.Timer // under endMu
}

// New starts a broker over conn, which it owns from now on: it closes conn at
// the end. The preface leaves at once, with the first calls behind it.
func New(conn io.ReadWriteCloser, config Config) (*Broker, error) {
	if config.Errors == nil {
		return nil, errors.New("broker: Config.Errors is nil")
	}
	if config.Context == nil {
		config.Context = context.Background()
	}
	conn = takeSealed(conn)
	b := &Broker{
		config:   config,
		limits:   config.Limits.withDefaults(),
		dialer:   config.Dialer,
		conn:     conn,
		born:     time.Now(),
		log:      new(lines.Log).Logger(config.Logger),
		dec:      newDecoder(),
		greeting: make(chan struct{}),
		done:     make(chan struct{}),
		idle:     make(chan struct{}, 1),
	}
	preface, err := b.preface()
	if err != nil {
		return nil, err
	}
	if config.Memory == nil {
		config.Memory = NewMemory(defaultMemory)
	}
	b.account.init(config.Memory)
	if config.Stranger != nil {
		b.distrust(*config.Stranger)
	}
	b.out.init(b, conn)
	b.in.init(b, conn)
	b.reader.Store(b.in.me)
	b.questions.limitN, b.questions.limitB = earlyCalls, earlyBytes
	b.answers.init(b)
	b.exports.init(b)
	b.imports.byID = make(map[uint64]*imported)
	b.imports.dropped = new(dropped)
	b.slots.b = b
	b.parts.b = b
	b.streams.init(b)
	b.guard.init(b.limits.Control)
	if config.Boot != nil {
		b.SetFixed(0, &b.exports, config.Boot)
	}
	if config.Root != nil {
		b.SetFixed(1, config.Root, config.Root)
	}
	b.out.first = preface
	if b.dialer {
		b.out.first = appendHeader(preface, header{kind: frameWindow, flags: flagSYN, stream: callStream})
		b.out.open = true
	}
	b.hello = time.AfterFunc(b.limits.Handshake, b.lateHello)
	b.startTicker()
	b.wg.Go(b.read)                   // ends with the connection
	b.wg.Go(func() { b.out.flush() }) // ends when the preface is handed to a write
	return b, nil
}

// read is the reader's goroutine.
func (b *Broker) read() {
	me, err := b.in.me, errGone
	defer func() {
		if err == errGone && b.reader.Load() == me { //nolint:errorlint // run has not returned, and nobody else reads
			b.parts.end()
			b.end(err)
		}
	}()
	err = b.in.run(me)
	for errors.Is(err, errVacant) {
		if !b.nap() {
			return
		}
		err = b.in.run(me)
	}
	if !errors.Is(err, errStolen) {
		b.readEnded(err)
	}
}

// readEnded ends the connection because nothing more can be read.
func (b *Broker) readEnded(err error) {
	b.parts.end()
	if _, ok := errors.AsType[*ProtocolError](err); !ok {
		err = readError(err)
	}
	b.end(err)
}

// readError says what the end of reading means.
func readError(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, ErrPeerClosed):
		return err0(err, ErrPeerClosed)
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return ErrClosed
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%w in the middle of a frame", ErrPeerClosed)
	}
	return fmt.Errorf("%w: %w", ErrPeerClosed, err)
}

// err0 keeps an error that says more than the plain one.
func err0(err, plain error) error {
	if errors.Is(err, plain) {
		return err
	}
	return plain
}

func writeError(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrPeerClosed, err)
}

func (b *Broker) lateHello() {
	if b.peer.Load() == nil {
		b.end(fmt.Errorf("%w: no preface came within %v", ErrTimeout, b.limits.Handshake))
	}
}

// greeted takes in the peer's preface.
func (b *Broker) greeted(p *Peer) {
	b.hello.Stop()
	b.peer.Store(p)
	close(b.greeting)
	b.questions.limits(p.calls, p.callBytes)
}

// Peer is what the peer's preface said; nil until it came.
func (b *Broker) Peer() *Peer { return b.peer.Load() }

// Greeted is closed when the peer's preface has come.
func (b *Broker) Greeted() <-chan struct{} { return b.greeting }

// peerMessage is how large a message the peer takes.
func (b *Broker) peerMessage() int {
	if p := b.peer.Load(); p != nil {
		return p.message
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
}

// Trust ends what Config.Stranger began: from now on Limits hold.
func (b *Broker) Trust() {
	b.account.Cap(0)
	b.strange.Store(nil)
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

// peerFlag is what the peer's first frame of the call stream carries.
func (b *Broker) peerFlag() uint16 {
	if b.dialer {
		return flagACK
	}
	return flagSYN
}

// busy reports whether several calls are under way, so that waiting a moment
// before a write gathers more of them.
func (b *Broker) busy() bool { return b.questions.many.Load() || b.answers.many.Load() }

// checkBacklog ends the connection with a peer that reads less than it asks
// for. Calls of ours that wait to be written do not count: credit bounds them.
func (b *Broker) checkBacklog() {
	n := b.out.shorts()
	b.questions.mu.Lock()
	n -= b.questions.bytes
	b.questions.mu.Unlock()
	if n > b.queuedLimit() {
		b.end(ErrSlowReader)
	}
}

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
	b.over.Store(true)
	b.endMu.Unlock()
	go b.teardown(reason) // ends soon: it closes done, which Wait waits for
}

// teardown is where everything that belongs to the connection ends.
func (b *Broker) teardown(reason error) {
	rule := b.brokenRule(reason)
	if rule != "" {
		b.sendAbort(rule, reason)
	}
	b.hello.Stop()
	b.stopTicker()
	b.stopInline()
	b.slots.stop()
	b.streams.shut(reason)
	b.out.fail(reason)
	if rule != "" && !errors.Is(reason, ErrTimeout) || b.polite.Load() { // a silent peer does not read either
		b.linger()
	}
	_ = b.conn.Close() // nothing is left to lose
	b.streams.end()
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
		b.log.Warn("the peer ended the connection: it says that this side broke a rule of the wire", "rule", a.Reason)
		return ""
	}
	var rule string
	switch p, ok := errors.AsType[*ProtocolError](reason); {
	case ok:
		b.stats.violations.Add(1)
		rule = p.Reason
	case errors.Is(reason, ErrTimeout), errors.Is(reason, errCallStreamClosed):
		rule = strings.TrimPrefix(reason.Error(), "broker: ")
	default:
		return ""
	}
	b.log.Warn("connection ended: the peer broke a rule of the wire", "rule", rule)
	return rule
}

// errCallStreamClosed ends a connection whose peer has closed the stream that it
// lives by; the peer may still read.
var errCallStreamClosed = fmt.Errorf("%w: FIN or RST on the call stream", ErrPeerClosed)

// writeFailed ends the connection because it can not be written to. What the
// peer said last, the reason perhaps, may still lie unread: the reader has a
// moment to find it.
func (b *Broker) writeFailed(err error) {
	reason := writeError(err)
	b.out.fail(reason)
	b.endMu.Lock()
	defer b.endMu.Unlock()
	if b.err == nil && b.deaf == nil {
		b.deaf = time.AfterFunc(abortTime, func() { b.end(reason) }) // stopped by teardown
	}
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
	b.wg.Wait()
	b.workers.wait()
}
