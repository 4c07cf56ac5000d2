package pb

import (
	"context"
	"fmt"
	"reflect"

	"perspective/broker"
	"perspective/internal/guard"
	"perspective/jelly"
)

// refs is how references cross one connection. It is the jelly.Refs of all its
// messages; callRefs adds what a call's arguments may name.
type refs struct{ conn *Conn }

// Viewer is the avatar that values are encoded for.
func (r refs) Viewer() any { return r.conn.Avatar() }

// EncodeRef writes what stands for v: the peer's own object goes home, a
// promise goes as the answer that it waits for, anything else is lent.
func (r refs) EncodeRef(e *jelly.Encoder, v any) error {
	c := r.conn
	switch v := v.(type) {
	case *RemoteReference:
		if v.conn == c {
			if v.handle.Released() {
				return broker.ErrReleased
			}
			e.EncodeRef(jelly.Ref{Kind: jelly.RefYours, ID: v.handle.ID()})
			return nil
		}
		return c.lend(e, v, forwarder{v}) // another peer's object: calls go through this process
	case promise:
		return c.encodePromise(e, v)
	case *session:
		return c.lendAvatar(e, v)
	case stream:
		return c.lendStream(e, v)
	case Target:
		// the encoder sees the end of its goroutine
		ref, err := referenceOf(context.Background(), v, func(error) {})
		if err != nil {
			return err
		}
		return r.EncodeRef(e, ref)
	}
	return c.lend(e, identityOf(v), export(v, c.around))
}

// lend counts obj as sent and writes its reference.
func (c *Conn) lend(e *jelly.Encoder, key any, obj broker.Object) error {
	id, err := c.broker.Export(key, obj)
	if err != nil {
		return err
	}
	e.EncodeRef(jelly.Ref{Kind: jelly.RefExport, ID: id})
	return nil
}

func (c *Conn) encodePromise(e *jelly.Encoder, p promise) error {
	if v, err, ok := p.settled(); ok {
		if err != nil {
			return err
		}
		return e.Encode(v)
	}
	if r, ok := p.source().(remote); ok { //nolint:nestif // each step rules out one case
		if conn, wire := r.remoteCall(); conn == c {
			if q, ok := c.broker.Pinned(wire); ok {
				kind := jelly.RefAnswerValue
				if p.valueType() == reflect.TypeFor[*RemoteReference]() {
					kind = jelly.RefAnswer
				}
				e.EncodeRef(jelly.Ref{Kind: kind, ID: uint64(q)})
				return nil
			}
			if v, err, ok := p.settled(); ok { // fired since
				if err != nil {
					return err
				}
				return e.Encode(v)
			}
		}
	}
	return &jelly.TypeError{Type: reflect.TypeOf(p),
		Reason: "has not fired; wait for it, or pass it as an argument by itself"}
}

// pinArgs holds the answers that args name until the call has left. What has
// been answered meanwhile is waited for by its decoding, which is under way.
func (c *Conn) pinArgs(args []any) (pinned []*broker.Call) {
	for _, a := range args {
		p, ok := a.(promise)
		if !ok || isNilPointer(p) {
			continue
		}
		if _, _, ok := p.settled(); ok {
			continue
		}
		_, wire := p.source().(remote).remoteCall() // travels has seen to it
		if _, err := c.broker.Pin(wire); err == nil {
			pinned = append(pinned, wire)
			continue
		}
		fired := make(chan struct{})
		p.onDone(func() { close(fired) })
		<-fired // the answer has come, or the connection has ended: both fire it at once
	}
	return pinned
}

// DecodeRef gives what a reference stands for, if want takes it.
func (r refs) DecodeRef(d *jelly.Decoder, ref jelly.Ref, want reflect.Type) (reflect.Value, error) {
	c := r.conn
	var v any
	switch ref.Kind {
	case jelly.RefNone:
		if m, ok := reflect.TypeAssert[promiseMaker](reflect.Zero(want)); ok {
			return m.makeFrom(d)
		}
		return reflect.Value{}, &jelly.TypeError{
			Type:   want,
			Got:    d.Peek().String(),
			Reason: "only an object can be passed here",
		}
	case jelly.RefExport:
		rr, err := c.reference(ref.ID)
		if err != nil {
			return reflect.Value{}, err
		}
		v = rr
	case jelly.RefYours:
		key, ok := c.broker.Exported(ref.ID)
		if !ok {
			return reflect.Value{}, fmt.Errorf("%w: %d", broker.ErrNoSuchObject, ref.ID)
		}
		v = objectOf(key)
		if _, late := v.(*lateObject); late || ref.ID == 1 && !c.isAdmitted() {
			return reflect.Value{}, fmt.Errorf("%w: %d", broker.ErrNoSuchObject, ref.ID)
		}
	case jelly.RefStream:
		return c.decodeStream(ref.ID, want)
	default:
		return reflect.Value{}, &jelly.TypeError{Type: want,
			Reason: "an answer can be named in the arguments of a call only"}
	}
	return fit(v, want)
}

// objectOf is the object that an export's key stands for.
func objectOf(key any) any {
	switch k := key.(type) {
	case lentIdentity:
		return k.obj
	case *lent:
		return k.obj.Interface()
	}
	return key
}

// fit makes v, a reference or an object that came home, into a want.
func fit(v any, want reflect.Type) (reflect.Value, error) {
	rv := reflect.ValueOf(v)
	if rv.Type().AssignableTo(want) {
		return rv, nil
	}
	if m, ok := reflect.TypeAssert[promiseMaker](reflect.Zero(want)); ok {
		return m.makeOf(v)
	}
	return reflect.Value{}, &jelly.TypeError{
		Type:   want,
		Got:    rv.Type().String(),
		Reason: "this object does not fit here",
	}
}

// promiseMaker is a *Deferred of any type, nil too, that makes others like it.
type promiseMaker interface {
	makeOf(v any) (reflect.Value, error)
	makeFrom(d *jelly.Decoder) (reflect.Value, error)
	makeLater(in *broker.Incoming, q uint32, own jelly.Refs) (reflect.Value, error)
}

func (d *Deferred[T]) makeOf(v any) (reflect.Value, error) {
	t, ok := v.(T)
	if !ok {
		return reflect.Value{}, &jelly.TypeError{
			Type:   reflect.TypeFor[T](),
			Got:    fmt.Sprintf("%T", v),
			Reason: "this object does not fit here",
		}
	}
	return reflect.ValueOf(Succeed(t)), nil
}

func (d *Deferred[T]) makeFrom(dec *jelly.Decoder) (reflect.Value, error) {
	var v T
	if err := dec.Decode(&v); err != nil {
		return reflect.Value{}, err
	}
	return reflect.ValueOf(Succeed(v)), nil
}

// makeLater makes a Deferred that fires with the answer to the call q.
func (d *Deferred[T]) makeLater(
	in *broker.Incoming, q uint32, own jelly.Refs,
) (reflect.Value, error) {
	later := &Deferred[T]{}
	err := in.OnAnswer(q, func(raw []byte, failed bool) {
		// Decoding may run a user's code: not on the goroutine that answers.
		go func() { // ends when the answer is decoded
			var v T
			err := guard.Call(func() error { return own.(ownRefs).read(raw, failed, &v) },
				func(err error) { later.fire(*new(T), err) })
			later.fire(v, err)
		}()
	})
	if err != nil {
		return reflect.Value{}, err
	}
	return reflect.ValueOf(later), nil
}

// callRefs are refs for a call that has answers among its arguments.
type callRefs struct {
	refs
	in *broker.Incoming
}

// DecodeRef gives a promise where the method takes one, and waits for the
// answer where it takes the value.
func (r callRefs) DecodeRef(
	d *jelly.Decoder, ref jelly.Ref, want reflect.Type,
) (reflect.Value, error) {
	if ref.Kind != jelly.RefAnswer && ref.Kind != jelly.RefAnswerValue {
		return r.refs.DecodeRef(d, ref, want)
	}
	if len(ref.Path) > 0 {
		return reflect.Value{}, &jelly.TypeError{Type: want,
			Reason: "paths into an answer are not taken as arguments"}
	}
	q := uint32(ref.ID) //nolint:gosec // the broker has found it
	own := ownRefs{r.refs}
	if want == reflect.TypeFor[Target]() {
		want = reflect.TypeFor[*Deferred[any]]()
	}
	if m, ok := reflect.TypeAssert[promiseMaker](reflect.Zero(want)); ok {
		return m.makeLater(r.in, q, own)
	}
	type answer struct {
		raw    []byte
		failed bool
	}
	got := make(chan answer, 1)
	if err := r.in.OnAnswer(q,
		func(raw []byte, failed bool) { got <- answer{raw, failed} }); err != nil {
		return reflect.Value{}, err
	}
	a, ended := answer{}, false
	if len(got) > 0 {
		a = <-got
	} else {
		back := r.in.StepAside()
		select {
		case a = <-got:
		case <-r.in.Context().Done():
			ended = true
		}
		back()
	}
	if ended {
		return reflect.Value{}, context.Cause(r.in.Context())
	}
	v := reflect.New(want)
	if err := own.read(a.raw, a.failed, v.Interface()); err != nil {
		return reflect.Value{}, err
	}
	return v.Elem(), nil
}

// ownRefs read what this side has encoded for the peer: what was lent is its
// own object, what went home is the peer's.
type ownRefs struct{ refs }

// DecodeRef turns the kinds round.
func (r ownRefs) DecodeRef(
	d *jelly.Decoder, ref jelly.Ref, want reflect.Type,
) (reflect.Value, error) {
	switch ref.Kind {
	case jelly.RefExport:
		ref.Kind = jelly.RefYours
	case jelly.RefYours:
		ref.Kind = jelly.RefExport
	default: // the others have one side only
	}
	return r.refs.DecodeRef(d, ref, want)
}

// read decodes an answer of this side into the pointer v.
func (r ownRefs) read(raw []byte, failed bool, v any) error {
	d := jelly.GetDecoder()
	defer jelly.PutDecoder(d)
	d.Reset(r.conn.node.Types, r, raw, nil)
	if failed {
		return r.conn.errors.DecodeError(d)
	}
	return d.Decode(v)
}
