package pb_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"perspective/broker"
	"perspective/cred"
	"perspective/jelly"
	"perspective/pb"
)

var errTranscript = errors.New("pb_test: of the transcript")

// transcribed is a value of a registered type.
type transcribed struct {
	Name string
	N    int
	More any
}

// transcribedError is an error of a registered type.
type transcribedError struct{ Code int }

func (e *transcribedError) Error() string { return fmt.Sprintf("code %d", e.Code) }

func init() {
	jelly.Register[transcribed]("pb_test.transcribed")
	pb.RegisterError("pb_test.transcript", errTranscript, "pb_test.Wider")
	jelly.Register[transcribedError]("pb_test.transcribedError")
	pb.RegisterError("pb_test.transcribedError", (*transcribedError)(nil))
}

// actor is an object of either side.
type actor struct {
	pb.Referenceable
	name  string
	gates map[string]chan struct{} // what Wait waits for; nil: nothing
	kept  []*pb.RemoteReference
}

func newActor(name string, gates ...string) *actor {
	a := &actor{name: name, gates: make(map[string]chan struct{})}
	for _, g := range gates {
		a.gates[g] = make(chan struct{})
	}
	return a
}

// opens has the methods go on that wait at a gate.
func (a *actor) opens(gate string) func() { return func() { close(a.gates[gate]) } }

func (a *actor) await(ctx context.Context, gate string) error {
	select {
	case <-a.gates[gate]:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *actor) RemoteName(context.Context) (string, error) { return a.name, nil }

func (*actor) RemoteEcho(_ context.Context, v any) (any, error) { return v, nil }

func (*actor) RemoteAdd(_ context.Context, a, b int) (int, error) { return a + b, nil }

func (*actor) RemoteFail(_ context.Context, how string) error {
	switch how {
	case "named":
		return errTranscript
	case "wrapped":
		return fmt.Errorf("around: %w", errors.Join(errTranscript, io.EOF))
	case "typed":
		return &transcribedError{Code: 7}
	}
	return errors.New("has no name")
}

// RemoteWait answers with v when the gate is open; until then it has the turn.
func (a *actor) RemoteWait(ctx context.Context, gate string, v any) (any, error) {
	return v, a.await(ctx, gate)
}

// RemoteAside is RemoteWait without the turn.
func (a *actor) RemoteAside(ctx context.Context, gate string, v any) (any, error) {
	pb.Yield(ctx)
	return v, a.await(ctx, gate)
}

// RemoteLend lends a new object when the gate is open.
func (a *actor) RemoteLend(ctx context.Context, gate string) (*actor, error) {
	pb.Yield(ctx)
	if gate != "" {
		if err := a.await(ctx, gate); err != nil {
			return nil, err
		}
	}
	return &actor{name: "lent", gates: a.gates}, nil
}

// RemoteAsk calls back.
func (a *actor) RemoteAsk(
	ctx context.Context, r *pb.RemoteReference, method string, args []any,
) (any, error) {
	a.kept = append(a.kept, r)
	return pb.Do[any](ctx, r, method, args...)
}

// RemoteDrop lets go of what others lent.
func (a *actor) RemoteDrop(context.Context) error {
	for _, r := range a.kept {
		r.Release()
	}
	a.kept = nil
	return nil
}

// RemoteBoth begins at once and waits for what was promised itself.
func (a *actor) RemoteBoth(
	ctx context.Context, gate string, first *pb.Deferred[string], second string,
) (string, error) {
	s, err := first.Wait(ctx)
	return s + second, errors.Join(err, a.await(ctx, gate))
}

func (a *actor) RemoteTell(ctx context.Context) (string, error) {
	if err := pb.Note(ctx, "one"); err != nil {
		return "", err
	}
	if err := a.await(ctx, "tell"); err != nil {
		return "", err
	}
	if err := pb.Note(ctx, transcribed{Name: "two"}); err != nil {
		return "", err
	}
	return "told", a.await(ctx, "told")
}

// RemoteEarly answers before it returns.
func (a *actor) RemoteEarly(ctx context.Context) (string, error) {
	if err := pb.Reply(ctx, "early"); err != nil {
		return "", err
	}
	<-a.gates["early"]
	return "late", nil
}

func (*actor) RemoteLong(_ context.Context, n int) (string, error) {
	return strings.Repeat("r", n), nil
}

// RemoteLength answers when the gate is open.
func (a *actor) RemoteLength(ctx context.Context, s, gate string) (int, error) {
	pb.Yield(ctx)
	if gate != "" {
		return len(s), a.await(ctx, gate)
	}
	return len(s), nil
}

// player is the avatar of a user that has logged in.
type player struct {
	pb.Avatar
	actor *actor
	mind  any
}

func (p *player) PerspectiveActor(context.Context) (*actor, error) { return p.actor, nil }

func (p *player) PerspectiveTellMind(ctx context.Context) (any, error) {
	return pb.Do[any](ctx, p.mind.(pb.Target), "name")
}

// doorman knows one password.
type doorman struct{}

func (doorman) Kinds() []cred.Kind { return []cred.Kind{cred.UsernamePassword{}.Kind()} }

func (doorman) Check(_ context.Context, c cred.Credentials, _ *cred.Peer) (cred.AvatarID, error) {
	if u, ok := c.(cred.UsernamePassword); ok && string(u.Password) == "secret" {
		return cred.AvatarID(u.Username), nil
	}
	return "", cred.ErrUnauthorized
}

// transcriptCalls is a session with a login, and one of everything that is not long.
func transcriptCalls(s *transcript) {
	ctx := context.Background()
	far := newActor("far", "first", "second", "third", "lend", "hold", "value", "arg", "both",
		"tell", "told", "early", "held", "behind", "last")
	near, mine := newActor("near"), newActor("mine", "back")
	realm := cred.RealmFunc(func(
		_ context.Context, _ cred.AvatarID, mind any,
	) (any, func(), error) {
		return &player{actor: far, mind: mind}, nil, nil
	})
	portal := &cred.Portal{Realm: realm, Checkers: []cred.Checker{doorman{}}, Logger: silent()}
	acceptor := &pb.Node{Root: far, Portal: portal, Logger: silent()}
	conn, back := s.begin(&pb.Node{Root: near, Logger: silent()}, acceptor)
	root := conn.Root()

	var d *pb.Deferred[any]
	s.step("the root without a login", func() { d = s.call(ctx, root, "name") })
	s.fails(d, pb.ErrNotLoggedIn)
	login := func(password string, mind any) func() {
		return func() {
			d = &pb.Deferred[any]{}
			s.kept = append(s.kept, d)
			go func(d *pb.Deferred[any]) { // ends with the answer
				r, err := conn.Login(ctx,
					cred.UsernamePassword{Username: "ann", Password: cred.Password(password)}, mind)
				if err != nil {
					d.Errback(err)
				} else {
					d.Callback(r)
				}
			}(d)
		}
	}
	s.step("a login with a wrong password", login("guess", nil))
	s.fails(d, cred.ErrUnauthorized)
	s.step("a login with a mind", login("secret", mine))
	avatar := s.got(d).(*pb.RemoteReference)
	s.step("the avatar asks the mind", func() { d = s.call(ctx, avatar, "tell_mind") })
	s.step("60 ms: what waits for company leaves", s.pass(60*time.Millisecond))
	//nolint:errcheck // the transcript has what came
	s.step("what can be called on the root", func() { go root.Methods(ctx) })

	s.step("a call", func() { d = s.call(ctx, root, "echo", "hi") })
	s.step("60 ms: its FINISH", s.pass(60*time.Millisecond))
	s.step("a call whose caller waits", s.does(root, "Add", 2, 3))
	s.step("a call on the peer's root, the other way", s.calls(back.Root(), "name"))
	s.step("values", s.calls(root, "echo", []any{
		nil, true, 1, -1, 300, int64(1) << 40, 1.5, float32(0.25), "text", []byte("bytes"),
		map[string]any{"key": []any{1, 2}},
		time.Unix(1700000000, 5).UTC(), 90 * time.Second, new(big.Int).Lsh(big.NewInt(1), 70),
		transcribed{"name", 3, &transcribed{Name: "inner"}}, errTranscript,
	}))
	s.step("an error with a name", s.calls(root, "fail", "named"))
	s.step("one that wraps others", s.calls(root, "fail", "wrapped"))
	s.step("one with fields", s.calls(root, "fail", "typed"))
	s.step("one without a name", s.calls(root, "fail", ""))
	s.step("no such method", s.calls(root, "ad", 1, 2))
	s.step("too few arguments", s.calls(root, "add", 1))
	s.step("an argument of another type", s.calls(root, "add", "1", 2))
	s.step("a type that cannot be sent: nothing leaves", s.calls(root, "echo", struct{ N int }{1}))
	s.step("60 ms", s.pass(60*time.Millisecond))

	s.step("an object is lent", func() { d = s.call(ctx, root, "lend", "") })
	lent := s.got(d).(*pb.RemoteReference)
	s.step("a call on it", s.calls(lent, "name"))
	s.step("it goes home, and comes again", s.calls(root, "echo", lent))
	s.step("60 ms", s.pass(60*time.Millisecond))
	s.step("it is released", lent.Release)
	s.step("60 ms: the RELEASE, if it has not left", s.pass(60*time.Millisecond))
	s.step("an object of the caller's, which is called back",
		s.calls(root, "ask", mine, "name", []any{}))
	s.step("once more, so that it was sent twice", s.calls(root, "ask", mine, "add", []any{4, 5}))
	s.step("its method's error", s.calls(root, "ask", mine, "fail", []any{"named"}))
	s.step("the peer lets go of it", s.calls(root, "drop"))
	s.step("60 ms: the RELEASE", s.pass(60*time.Millisecond))

	lending := new(pb.Deferred[any])
	s.step("a promise: lend waits at a gate",
		func() { lending = s.call(ctx, root, "lend", "lend") })
	s.step("two calls on it, and one with it as an argument",
		s.calls(lending, "wait", "first", 1), s.calls(lending, "wait", "second", 2),
		func() { s.call(ctx, root, "aside", "third", lending) })
	s.step("the gate opens: the promise is kept, the first call begins", far.opens("lend"))
	s.step("the first call ends", far.opens("first"))
	s.step("the second call ends", far.opens("second"))
	s.step("the third call answers with the object", far.opens("third"))
	s.step("60 ms", s.pass(60*time.Millisecond))
	value := new(pb.Deferred[any])
	s.step("a promise of a value", func() { value = s.call(ctx, root, "aside", "value", "v") })
	s.step("it is an argument, by itself and for a parameter that takes promises",
		func() { s.call(ctx, root, "aside", "arg", value) },
		func() { s.call(ctx, root, "both", "both", value, "w") })
	s.step("it is kept", far.opens("value"))
	s.step("the first answers", far.opens("arg"))
	s.step("the second", far.opens("both"))
	s.step("60 ms", s.pass(60*time.Millisecond))
	broken := new(pb.Deferred[any])
	s.step("a call on a promise that is broken",
		func() { broken = s.call(ctx, root, "aside", "hold", nil) }, s.calls(broken, "name"))
	s.step("a call on what is no object", s.calls(value, "name"))
	s.step("its promise is no object", far.opens("hold"))

	notes := func() {
		d = s.call(pb.WithNotes(ctx, func(any) {}), root, "tell")
	}
	s.step("a method that tells before it answers", notes)
	s.step("it tells more", far.opens("tell"))
	s.step("it answers", far.opens("told"))
	s.step("an answer before the method returns", s.calls(root, "early"))
	s.step("the method returns", far.opens("early"))
	s.step("a call that wants no answer", func() { _ = root.Send(ctx, "name") })
	s.step("a second one, with what must be given back",
		func() { _ = root.Send(ctx, "echo", mine) })
	s.step("60 ms", s.pass(60*time.Millisecond))
	s.step("a turn that is held, and a call behind it", s.calls(root, "wait", "held", 1),
		s.calls(root, "wait", "behind", 2))
	s.step("the turn ends", far.opens("held"))
	s.step("the next one", far.opens("behind"))

	short, cancel := context.WithTimeout(ctx, 10*time.Second)
	s.step("a call with a deadline, whose method calls back with it", func() {
		d = s.call(short, root, "ask", mine, "wait", []any{"back", nil})
	})
	s.step("1 s", s.pass(time.Second))
	s.step("it is answered in time", mine.opens("back"))
	s.step("one that is not answered, and has less left",
		func() { d = s.call(short, root, "aside", "never", nil) })
	s.step("9 s: the deadline", s.pass(9*time.Second))
	cancel()
	s.fails(d, context.DeadlineExceeded)
	s.step("the peer lets go of what it was lent", s.calls(root, "drop"))
	s.step("60 ms", s.pass(60*time.Millisecond))
	over, cancel := context.WithCancel(ctx)
	s.step("a call that is given up", func() { d = s.call(over, root, "aside", "never", nil) })
	s.step("FINISH before RETURN", cancel)
	s.fails(d, context.Canceled)
	s.step("31 s of silence: PING and PONG of both", s.pass(31*time.Second))
	s.step("the avatar is let go of: the login ends", avatar.Release)
	s.step("60 ms", s.pass(60*time.Millisecond))
	s.step("the root after it", func() { d = s.call(ctx, root, "name") })
	s.fails(d, pb.ErrNotLoggedIn)

	s.step("another login", login("secret", nil))
	s.got(d)
	s.step("a call under way at the end", s.calls(root, "aside", "last", "over"))
	s.step("the acceptor shuts down, and a call crosses its GOAWAY",
		//nolint:errcheck // the transcript has what came
		func() { go back.Shutdown(ctx) }, func() { d = s.call(ctx, root, "name") })
	s.fails(d, broker.ErrGoingAway)
	s.step("the last answer", far.opens("last"))
	s.step("10 s", s.pass(10*time.Second))
}

// transcriptCredit is a session with a peer that takes few calls at once.
func transcriptCredit(s *transcript) {
	ctx := context.Background()
	far := newActor("far", "a", "b", "c", "d", "e")
	near := newActor("near", "back")
	few := pb.Limits{Calls: 2, CallBytes: 4096, Message: 16 << 10, Streams: 3}
	conn, _ := s.begin(&pb.Node{Root: near, Logger: silent()},
		&pb.Node{Root: far, Limits: few, Logger: silent()})
	root := conn.Root()
	s.step("two calls, and a third that waits for credit", s.does(root, "aside", "a", 1),
		s.does(root, "aside", "b", 2), s.does(root, "add", 1, 2))
	s.step("one is answered", far.opens("a"))
	s.step("the other", far.opens("b"))
	s.step("one that wants no answer counts until it has ended, and two that do wait",
		func() { _ = root.Send(ctx, "aside", "c", 3) }, s.does(root, "aside", "d", 4),
		s.does(root, "add", 3, 4))
	s.step("it ends", far.opens("c"))
	s.step("the other ends", far.opens("d"))
	s.step("what is nested has credit of its own", s.does(root, "ask", near, "name", []any{}))
	s.step("a call of more bytes than two may have goes alone",
		s.does(root, "length", strings.Repeat("a", 8<<10), ""))
	s.step("one that is over the peer's limit: nothing leaves",
		s.does(root, "length", strings.Repeat("a", 16<<10), ""))
	s.step("the credit is used up at the end", s.does(root, "aside", "e", 5))
	s.step("the node closes", func() { _ = conn.Close() })
}

// transcriptLong is a session with messages in pieces.
func transcriptLong(s *transcript) {
	far, near := newActor("far", "name", "add", "c", "g", "h"), newActor("near")
	conn, back := s.begin(&pb.Node{Root: near, Logger: silent()},
		&pb.Node{Root: far, Logger: silent()})
	root := conn.Root()
	s.step("a message of nearly 64 KiB",
		s.does(root, "length", strings.Repeat("a", 64<<10-100), ""))
	s.step("one over it, in pieces", s.does(root, "length", strings.Repeat("b", 64<<10), ""))
	s.step("half the window, and calls between the pieces",
		s.does(root, "length", strings.Repeat("c", 150<<10), "c"),
		s.does(root, "aside", "name", 1), s.does(root, "aside", "add", 2))
	s.step("an answer", far.opens("add"))
	s.step("another", far.opens("name"))
	s.step("the one to the long call", far.opens("c"))
	s.step("more than the window", s.does(root, "length", strings.Repeat("d", 300<<10), ""))
	s.step("60 ms", s.pass(60*time.Millisecond))
	s.step("bytes, which are written from where they lie",
		s.does(root, "echo", bytes.Repeat([]byte("e"), 100<<10)))
	s.step("a long answer", s.does(root, "long", 200<<10))
	s.step("a long call of the acceptor's",
		s.does(back.Root(), "length", strings.Repeat("f", 400<<10), ""))
	s.step("two long messages at once",
		s.does(root, "length", strings.Repeat("g", 80<<10), "g"),
		s.does(root, "length", strings.Repeat("h", 80<<10), "h"))
	s.step("the second is answered", far.opens("h"))
	s.step("the first", far.opens("g"))
	s.step("60 ms", s.pass(60*time.Millisecond))
	s.step("one that is larger than the peer takes: nothing leaves",
		s.does(root, "length", strings.Repeat("i", 4<<20), ""))
	s.step("a call afterwards", s.does(root, "name"))
	s.step("the acceptor closes", func() { _ = back.Close() })
}

// transcriptPreface is the shortest preface.
const transcriptPreface = "PB\x01\n\x00\x0a\x81\xa7version\x01"

// transcriptRoomy is one of a side that takes large messages: 4 MiB, as a whole and together.
const transcriptRoomy = "PB\x01\n\x00\x2a\x82\xa7version\x01\xa6limits" +
	"\x82\xa7message\xce\x00\x40\x00\x00\xa5bytes\xce\x00\x40\x00\x00"

// transcriptMessage is a frame with one message.
func transcriptMessage(text string) []byte {
	m := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	return vectorFrame(0, 0, 1, m, []byte(text))
}

// vectorGrant is a frame that gives n bytes of the call stream's window.
func vectorGrant(n uint32) []byte {
	return binary.BigEndian.AppendUint32(vectorFrame(1, 0, 1)[:8], n)
}

// transcriptBrokenByDialer has an acceptor end the session.
func transcriptBrokenByDialer(s *transcript) {
	s.begin(nil, &pb.Node{Root: newActor("far"), Logger: silent()})
	s.step("the dialer's preface and SYN", s.write(0, []byte(transcriptPreface)),
		s.write(0, vectorFrame(1, 1, 1)))
	s.step("a call of its name", s.write(0, transcriptMessage("\x96\x01\x01\x04\x01\xa4name\x90")))
	s.step("yamux's ping", s.write(0, binary.BigEndian.AppendUint32(vectorFrame(2, 1, 0)[:8], 9)))
	s.step("a PING", s.write(0, transcriptMessage("\x93\x0a\x00\x07")))
	s.step("a call whose method is bin",
		s.write(0, transcriptMessage("\x96\x01\x02\x04\x01\xc4\x04name\x90")))
	s.step("10 s", s.pass(10*time.Second))
}

// transcriptBudget is a session with a dialer that asks more than it may.
func transcriptBudget(s *transcript) {
	far := newActor("far", "a", "b", "c")
	few := pb.Limits{Calls: 4, Answers: 2, Arguments: 4}
	s.begin(nil, &pb.Node{Root: far, Limits: few, Logger: silent()})
	s.step("the dialer's preface and SYN", s.write(0, []byte(transcriptPreface)),
		s.write(0, vectorFrame(1, 1, 1)))
	says := func(text string) func() { return s.write(0, transcriptMessage(text)) }
	for q := '\x01'; q <= 4; q++ {
		s.step("a call that waits", says("\x96\x01"+string(q)+"\x04\x01\xa5aside\x92\xa1a\x01"))
	}
	s.step("the fifth is refused", says("\x96\x01\x05\x04\x01\xa5aside\x92\xa1a\x01"))
	s.step("one that is nested is taken",
		says("\x9a\x01\x06\x04\x01\xa5aside\x00\x01\xc0\xc0\x92\xa1b\x01"))
	s.step("the second of these is not",
		says("\x9a\x01\x07\x04\x01\xa5aside\x00\x01\xc0\xc0\x92\xa1b\x01"))
	s.step("one without an answer is dropped", says("\x96\x01\x00\x05\x01\xa4name\x90"))
	s.step("the nested one ends", far.opens("b"))
	s.step("the first of the others is given up", says("\x92\x03\x01"))
	s.step("and the second", says("\x92\x03\x02"))
	s.step("the third", says("\x92\x03\x03"))
	s.step("the last", says("\x92\x03\x04"))
	s.step("too many arguments", says("\x96\x01\x01\x04\x01\xa4name\x95\x01\x01\x01\x01\x01"))
	s.step("an object that is not there", says("\x96\x01\x01\x04\x09\xa4name\x90"))
	s.step("an object that is not there, as an argument",
		says("\x96\x01\x01\x04\x01\xa4echo\x91\xd4\x02\x09"))
	s.step("nested too deep", says("\x9a\x01\x01\x04\x01\xa4name\x00\x21\xc0\xc0\x90"))
	for q := '\x01'; q <= 3; q++ {
		s.step("an answer that is kept", says("\x96\x01"+string(q)+"\x00\x01\xa4lend\x91\xa0"))
	}
	s.step("a call on the first", says("\x96\x01\x04\x04\x92\x01\x90\xa4name\x90"))
	s.step("on the third, which was not kept", says("\x96\x01\x04\x04\x92\x03\x90\xa4name\x90"))
	s.step("FINISH", says("\x92\x03\x01"))
	s.step("a call on it", says("\x96\x01\x04\x04\x92\x01\x90\xa4name\x90"))
	s.step("RELEASE of one", says("\x94\x06\x00\x02\x01"))
	s.step("RELEASE of more than were sent", says("\x94\x06\x00\x03\x02"))
	s.step("10 s", s.pass(10*time.Second))
}

// transcriptBrokenByAcceptor has a dialer end the session.
func transcriptBrokenByAcceptor(s *transcript) {
	conn, _ := s.begin(&pb.Node{Root: newActor("near"), Logger: silent()}, nil)
	s.step("the acceptor's preface and ACK", s.write(1, []byte(transcriptRoomy)),
		s.write(1, vectorFrame(1, 2, 1)))
	s.step("a call", s.does(conn.Root(), "name"))
	s.step("its answer", s.write(1, transcriptMessage("\x93\x02\x01\xa4name")))
	over, cancel := context.WithCancel(context.Background())
	s.step("a long one that is given up while it is written", func() {
		//nolint:errcheck // ends by cancel
		go pb.Do[any](over, conn.Root(), "length", strings.Repeat("a", 200<<10))
	}, cancel)
	s.step("its number is free behind its FINISH",
		s.write(1, transcriptMessage("\x93\x02\x01\xc0")))
	s.step("a call of one more window", s.does(conn.Root(), "length", strings.Repeat("b", 200<<10)))
	s.step("a little of the window is given", s.write(1, vectorGrant(8<<10)))
	s.step("5 s", s.pass(5*time.Second))
	s.step("more of it", s.write(1, vectorGrant(8<<10)))
	s.step("all of it", s.write(1, vectorGrant(256<<10)))
	s.step("an answer to another question", s.write(1, transcriptMessage("\x93\x02\x09\xa4name")))
	s.step("10 s", s.pass(10*time.Second))
}

// transcriptShutdown is a session that ends in order.
func transcriptShutdown(s *transcript) {
	far := newActor("far", "a")
	conn, _ := s.begin(&pb.Node{Root: newActor("near"), Logger: silent()},
		&pb.Node{Root: far, Logger: silent()})
	s.step("a call", s.does(conn.Root(), "aside", "a", 1))
	//nolint:errcheck // the transcript has what came
	s.step("the dialer shuts down", func() { go conn.Shutdown(context.Background()) })
	s.step("the answer", far.opens("a"))
}
