package pb_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

var (
	tablesSeed = flag.Uint64("tables.seed", 0,
		"the first program of TestTables; 0: one that the clock chooses")
	tablesPrograms = flag.Int("tables.programs", 1000, "how many programs TestTables plays")
)

// tabled answers the calls of a program, in each of the ways in which calls end.
type tabled struct {
	pb.Referenceable
	mu      sync.Mutex
	sources []*source // that went as results
	sinks   []*sink
}

func (*tabled) RemoteTake(context.Context, any) error { return nil }

func (*tabled) RemoteFail(context.Context, any) error { return errOdd }

func (*tabled) RemoteNumber(context.Context, int) error { return nil }

func (*tabled) RemoteMixed(context.Context, any, int) error { return nil }

func (*tabled) RemoteCarry(context.Context, any) error {
	return &carrierError{With: &callback{n: 1}}
}

func (*tabled) RemoteHold(ctx context.Context, _ any) error {
	<-ctx.Done()
	return ctx.Err()
}

func (*tabled) RemoteGive(context.Context, any) (*callback, error) { return &callback{n: 1}, nil }

// RemoteStream gives a stream, one way or the other.
func (o *tabled) RemoteStream(context.Context, any) (any, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.sinks) < len(o.sources) {
		s := newSink()
		o.sinks = append(o.sinks, s)
		return pb.Writer(s), nil
	}
	s := newSource(len(o.sources)%4 == 0)
	o.sources = append(o.sources, s)
	return pb.Reader(s), nil
}

func (*tabled) RemoteUse(ctx context.Context, v any) error {
	switch v := v.(type) {
	case *pb.ByteStream:
		_, err := io.Copy(io.Discard, v)
		return err
	case *pb.RemoteReference:
		_, err := pb.Do[any](ctx, v, "anything", &callback{n: 1}) // it has no methods
		v.Release()
		return err
	}
	return nil
}

func (*tabled) RemoteFill(_ context.Context, v any) error {
	s, ok := v.(*pb.ByteStream)
	if !ok {
		return errOdd
	}
	for {
		if _, err := s.Write(make([]byte, 1<<10)); err != nil {
			return err
		}
	}
}

// TestTables plays random programs: calls that succeed, that fail, that are refused in each way,
// given up at any point or over at their deadline, some of them oneway, with objects and byte
// streams among arguments and results, over connections that may be cut. At the end of each nothing
// may be left of it: the tables of both sides, exports, imports, questions, answers, streams and
// the methods that run, are empty though nothing more is said, and every source and sink was
// closed, once.
//
// It fails if b.settleMentions or in.settleArgs does nothing (objects stay lent and streams open),
// if Link.FailStreams and Link.CancelStreams do nothing (sources of calls that were given up are
// never closed), if surroundings.dropUnsent does nothing (those of calls and results that are not
// sent are not), or if Broker.flushLater does nothing (what is given back is not told).
func TestTables(t *testing.T) {
	programs := *tablesPrograms
	// under the detector it takes ten times as long, and runs again and again
	if raceEnabled || testing.Short() {
		programs = max(programs/5, 1)
	}
	seed := *tablesSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	play := func(from, to int) {
		next := make(chan int)
		var players sync.WaitGroup
		for range 32 {
			players.Go(func() { // ends with the programs
				for i := range next {
					if err := playTables(t.Context(), seed+uint64(i)); err != nil {
						t.Errorf("-tables.seed=%d -tables.programs=1: %v", seed+uint64(i), err)
					}
				}
			})
		}
		for i := from; i < to && !t.Failed(); i++ {
			next <- i
		}
		close(next)
		players.Wait()
	}
	memory := func() uint64 {
		var m runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	first := min(programs, 100) // after these what is kept for all connections is there
	play(0, first)
	before := memory()
	play(first, programs)
	// A connection is kept for a moment after its end by the look at its turns, which ends by
	// itself.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	after := memory()
	for looks := 0; after > before+8<<20 && looks < 100; looks++ {
		<-tick.C
		after = memory()
	}
	if after > before+8<<20 {
		t.Errorf("%d bytes are in use after the programs, %d were before", after, before)
	}
	t.Logf("%d bytes are in use after the programs, %d were before", after, before)
}

// A tablesProgram is one of them while it runs.
type tablesProgram struct {
	ctx     context.Context
	rand    *rand.Rand
	root    *pb.RemoteReference
	object  *tabled // what root leads to
	sources []*source
	sinks   []*sink
	said    []string
	cancels []context.CancelFunc
	calls   []*pb.Deferred[any]
}

func playTables(ctx context.Context, seed uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	silent := pb.Limits{Keepalive: time.Hour} // else it would tell what nothing else does
	client := &pb.Node{Logger: quiet, Limits: silent}
	object := &tabled{}
	server := &pb.Node{Logger: quiet, Limits: silent, Root: object}
	defer client.Close() //nolint:errcheck // it never fails
	defer server.Close() //nolint:errcheck // it never fails
	wire := pbtest.NewWire()
	a, b := wire.Ends()
	s, err := server.Attach(ctx, b, pb.Acceptor)
	if err != nil {
		return err
	}
	c, err := client.Attach(ctx, a, pb.Dialer)
	if err != nil {
		return err
	}
	p := &tablesProgram{
		ctx:    ctx,
		rand:   rand.New(rand.NewPCG(seed, 1)),
		root:   c.Root(),
		object: object,
	}
	for range 1 + p.rand.IntN(8) {
		p.step()
	}
	end := p.rand.IntN(4)
	switch end {
	case 0:
		wire.Cut()
	case 1:
		_ = c.Close()
	}
	for i, cancel := range p.cancels {
		cancel()
		if v, err := p.calls[i].Wait(ctx); err == nil {
			p.letGo(v)
		}
	}
	if end > 1 { // the last that is said on a connection that lives on
		r, err := pb.Do[*pb.RemoteReference](ctx, p.root, "give", nil)
		if err != nil {
			return fmt.Errorf("%v, end %d: %w", p.said, end, err)
		}
		r.Release()
	}
	if err := p.closed(); err != nil {
		return fmt.Errorf("%v, end %d: %w", p.said, end, err)
	}
	if err := emptied(ctx, c, s); err != nil {
		return fmt.Errorf("%v, end %d: %w", p.said, end, err)
	}
	return nil
}

// step makes a call, and may give it up.
func (p *tablesProgram) step() {
	methods := []string{"take", "fail", "number", "mixed", "carry", "hold", "give", "stream",
		"stream", "use", "fill", "noSuch"}
	method := methods[p.rand.IntN(len(methods))]
	args := []any{p.argument()}
	for p.rand.IntN(4) == 0 {
		args = append(args, p.argument()) // too many
	}
	ctx, cancel := context.WithCancel(p.ctx)
	oneway := p.rand.IntN(6) == 0
	if oneway || p.rand.IntN(6) == 0 { // nothing else ends a oneway call
		cancel()
		ctx, cancel = context.WithTimeout(p.ctx, time.Duration(p.rand.IntN(4000))*time.Microsecond)
	}
	p.said = append(p.said,
		fmt.Sprintf("%s(%d arguments, %T, oneway %v)", method, len(args), args[0], oneway))
	if oneway {
		_ = p.root.Send(ctx, method, args...) // it may be refused, and then has given all back
		cancel()
		return
	}
	var on pb.Target = p.root
	if p.rand.IntN(8) == 0 {
		on = pb.Call[*pb.RemoteReference](p.ctx, p.root, "fail", nil) // broken
	}
	d := pb.Call[any](ctx, on, method, args...)
	p.cancels, p.calls = append(p.cancels, cancel), append(p.calls, d)
	switch p.rand.IntN(4) {
	case 0:
		cancel()
	case 1:
		for range p.rand.IntN(50) {
			runtime.Gosched()
		}
		cancel()
	case 2: // it may be over before the next
		short, stop := context.WithTimeout(ctx, time.Millisecond)
		_, _ = d.Wait(short)
		stop()
	}
}

// letGo gives a result back, when it may have been used.
func (p *tablesProgram) letGo(v any) {
	switch v := v.(type) {
	case *pb.RemoteReference:
		v.Release()
	case *pb.ByteStream:
		if p.rand.IntN(2) == 0 {
			_, _ = v.Write(make([]byte, p.rand.IntN(10<<10))) // to a source nobody reads it
		}
		_ = v.CloseWithError(errOdd)
	}
}

// argument makes one that has something to give back.
func (p *tablesProgram) argument() any {
	switch p.rand.IntN(6) {
	case 0, 1:
		return &callback{n: 1}
	case 2:
		s := newSource(p.rand.IntN(2) == 0)
		p.sources = append(p.sources, s)
		return pb.Reader(s)
	case 3:
		s := newSink()
		p.sinks = append(p.sinks, s)
		return pb.Writer(s)
	case 4:
		return pb.Reader(bytes.NewReader(make([]byte, p.rand.IntN(100<<10))))
	}
	return []any{&callback{n: 1}, make([]byte, p.rand.IntN(200<<10)), &callback{n: 2}}
}

// closed waits until every source and sink is, and looks whether it was closed once.
func (p *tablesProgram) closed() error {
	p.object.mu.Lock()
	sources, sinks := slices.Concat(p.sources,
		p.object.sources), slices.Concat(p.sinks, p.object.sinks)
	p.object.mu.Unlock()
	for i, s := range sources {
		select {
		case <-s.gone:
		case <-p.ctx.Done():
			return fmt.Errorf("source %d of %d given and %d lent was not closed", i, len(p.sources),
				len(p.object.sources))
		}
		if n := s.closed.Load(); n != 1 {
			return fmt.Errorf("source %d was closed %d times", i, n)
		}
	}
	for i, s := range sinks {
		select {
		case <-s.gone:
		case <-p.ctx.Done():
			return fmt.Errorf("sink %d was not closed", i)
		}
		if n := s.closed.Load(); n != 1 || s.err == nil ||
			errors.Is(s.err, io.EOF) && !errors.Is(s.err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("sink %d was closed %d times, with %w", i, n, s.err)
		}
	}
	return nil
}

// emptied waits until nothing is in the tables. It says nothing to the peer.
func emptied(ctx context.Context, conns ...*pb.Conn) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for looks := 0; ; looks++ {
		left := ""
		for _, c := range conns {
			s := c.Stats()
			s.Sent, s.Received, s.Queued = 0, 0, 0
			if s != (pb.Stats{}) {
				left += fmt.Sprintf(" %v: %+v", c, s)
			}
		}
		if left == "" {
			return nil
		}
		if looks%40 == 39 {
			runtime.GC() // references that were given to no code that releases them
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the tables hold%s", left)
		}
	}
}
