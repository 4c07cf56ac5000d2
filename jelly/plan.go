package jelly

import (
	"io"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
)

// A Plan is how values of one type cross, worked out once for a registry and a type. Any number of
// goroutines may use it at once. It comes from [Registry.Plan].
type Plan struct {
	typ  reflect.Type
	size uintptr
	op   op   // what enc and dec do, if it is as simple as that
	pure bool // no method of the program is run
	mark bool // crosses by reference
	key  bool // may be the key of a map
	flat bool // the type has no pointers
	// hooked: a method of the program may see, and keep, the address of the value or of a part of
	// it.
	hooked bool

	// enc appends the value at v; after an error the outermost caller truncates the buffer. dec
	// reads into v and leaves nothing of the old value, even after an error.
	enc func(e *Encoder, v place) error
	dec func(d *Decoder, v place) error

	elem  *Plan   // of a pointer that is no reference, what it points to
	parts []*Plan // what it is made of

	scratch sync.Pool // of *scratch
}

// A planCache holds the plans of one registry as they were at one generation.
type planCache struct {
	generation uint64
	plans      sync.Map // reflect.Type -> *Plan
	// recent is a cache of plans by their type's address, for the lookup of each call.
	recent [64]atomic.Pointer[Plan]
}

// slot is where the plan of t stands if it came before others of its slot.
func (c *planCache) slot(t reflect.Type) *atomic.Pointer[Plan] {
	address := reflect.ValueOf(t).Pointer()
	return &c.recent[(address>>5^address>>11)%uintptr(len(c.recent))]
}

// Plan returns the plan for t, or a *TypeError if values of t cannot cross.
func (r *Registry) Plan(t reflect.Type) (*Plan, error) {
	if t == nil {
		return nil, &TypeError{Reason: "no type"}
	}
	r = r.orDefault()
	cache := r.cache()
	slot := cache.slot(t)
	if p := slot.Load(); p != nil && p.typ == t {
		return p, nil
	}
	if known, ok := cache.plans.Load(t); ok {
		p := known.(*Plan)
		// Two types of one slot that come in turn must not evict each other each time.
		slot.CompareAndSwap(nil, p)
		return p, nil
	}
	b := builder{reg: r, cache: cache, made: make(map[reflect.Type]*Plan)}
	p, err := b.plan(t)
	if err != nil {
		return nil, err
	}
	b.settlePure()
	for made, plan := range b.made {
		cache.plans.LoadOrStore(made, plan)
	}
	return p, nil
}

func (r *Registry) cache() *planCache {
	for {
		now, c := generation.Load(), r.plans.Load()
		if c != nil && c.generation == now {
			return c
		}
		next := &planCache{generation: now}
		if r.plans.CompareAndSwap(c, next) {
			return next
		}
	}
}

// A lastPlan is the plan that an Encoder or a Decoder used last. Many of them see one type again
// and again, and to look here costs a fraction of a look into the registry. Reset leaves it.
type lastPlan struct {
	reg        *Registry
	generation uint64
	plan       *Plan
}

func (l *lastPlan) is(r *Registry, t reflect.Type) bool {
	return l.plan != nil && l.plan.typ == t && l.reg == r && l.generation == generation.Load()
}

func (l *lastPlan) find(r *Registry, t reflect.Type) (*Plan, error) {
	now := generation.Load() // before the plan is asked for, which may be newer
	p, err := r.Plan(t)
	if err == nil {
		*l = lastPlan{r, now, p}
	}
	return p, err
}

func (e *Encoder) plan(t reflect.Type) (*Plan, error) {
	if e.last.is(e.reg, t) {
		return e.last.plan, nil
	}
	return e.last.find(e.reg, t)
}

func (d *Decoder) plan(t reflect.Type) (*Plan, error) {
	if d.last.is(d.reg, t) {
		return d.last.plan, nil
	}
	return d.last.find(d.reg, t)
}

// Type returns the type whose values the plan is for.
func (p *Plan) Type() reflect.Type { return p.typ }

// Pure reports whether encoding and decoding run no method of the program and meet no references,
// so that they may be done anywhere. What may stand in an interface is not known beforehand, so a
// type that holds one is not pure.
func (p *Plan) Pure() bool { return p.pure }

// Encode appends v, which is of the plan's type. After an error the Encoder is as it was before.
func (p *Plan) Encode(e *Encoder, v reflect.Value) error {
	if !v.IsValid() || v.Type() != p.typ || !v.CanInterface() {
		return &TypeError{
			Type: p.typ,
			Reason: "the plan is for values of this type alone, not reached through an " +
				"unexported field",
		}
	}
	return p.encodeWhole(e, v)
}

// encodeWhole is Encode for a value that was looked at.
func (p *Plan) encodeWhole(e *Encoder, v reflect.Value) error {
	if v.CanAddr() {
		return p.encodeAt(e, addressOf(v))
	}
	start, depth, nested := len(e.b), e.depth, e.nested
	err := p.encodeValue(e, v)
	if err != nil {
		e.undo(start, depth, nested)
	}
	return err
}

// encodeAt is Encode for the value at v.
func (p *Plan) encodeAt(e *Encoder, v place) error {
	start, depth, nested := len(e.b), e.depth, e.nested
	err := p.encode(e, v)
	if err != nil {
		e.undo(start, depth, nested)
	}
	return err
}

// Decode reads one value into v, which is of the plan's type and can be set. Nothing of what v held
// is left, even after an error, when v holds a part of what came.
func (p *Plan) Decode(d *Decoder, v reflect.Value) error {
	if !v.CanSet() || v.Type() != p.typ {
		return &TypeError{Type: p.typ,
			Reason: "the plan is for values of this type alone that can be set"}
	}
	return p.decodeAt(d, addressOf(v))
}

// decodeAt is Decode for the value at v.
func (p *Plan) decodeAt(d *Decoder, v place) error {
	nested := d.nested
	err := p.decode(d, v)
	d.nested = nested
	return err
}

// encode appends the value at v. Scalars among fields and elements may be appended without it: they
// have nothing inside.
func (p *Plan) encode(e *Encoder, v place) error {
	if e.nested >= maxNested {
		return p.tooDeep()
	}
	if len(e.b) > e.room {
		if err := e.grow(0); err != nil {
			return err
		}
	}
	e.nested++
	err := p.enc(e, v)
	e.nested--
	return err
}

// decode is encode the other way.
func (p *Plan) decode(d *Decoder, v place) error {
	if d.atExt() && !p.mark && d.atRef() {
		into := valueAt(p.typ, v)
		into.SetZero()
		return d.settle(into)
	}
	if d.nested >= maxNested {
		p.wipe(v)
		return p.tooDeep()
	}
	d.nested++
	err := p.dec(d, v)
	d.nested--
	return err
}

func (p *Plan) tooDeep() error {
	return &TypeError{Type: p.typ, Reason: "nested too deep, or a cycle"}
}

// encodeValue is encode for a value that may have no address: then it is copied to where there is
// one.
func (p *Plan) encodeValue(e *Encoder, v reflect.Value) error {
	switch {
	case v.CanAddr():
		return p.encode(e, addressOf(v))
	case p.elem != nil && !v.IsNil():
		e.nested++ // the pointer's own
		err := p.elem.encode(e, pointee(v))
		e.nested--
		return err
	case p.hooked:
		own := newScratch(p.typ)
		own.value.Set(v)
		return p.encode(e, own.place)
	}
	s, _ := p.scratch.Get().(*scratch)
	if s == nil {
		s = newScratch(p.typ)
	}
	s.value.Set(v)
	err := p.encode(e, s.place)
	s.value.SetZero()
	p.scratch.Put(s)
	return err
}

// A scratch is somewhere to put a value of one type.
type scratch struct {
	value reflect.Value
	place place
}

func newScratch(t reflect.Type) *scratch {
	v := reflect.New(t).Elem()
	return &scratch{v, addressOf(v)}
}

// A builder makes the plans that one plan needs. They may refer to one another in circles, so none
// is seen by others before all are there.
type builder struct {
	reg   *Registry
	cache *planCache
	made  map[reflect.Type]*Plan
}

func (b *builder) plan(t reflect.Type) (*Plan, error) {
	if p := b.made[t]; p != nil {
		return p, nil
	}
	if p, ok := b.cache.plans.Load(t); ok {
		return p.(*Plan), nil
	}
	p := &Plan{typ: t, size: t.Size(), pure: true, flat: pointerFree(t)}
	b.made[t] = p
	if err := b.fill(p); err != nil {
		return nil, err
	}
	return p, nil
}

// part is plan for something that p is made of.
func (b *builder) part(p *Plan, t reflect.Type) (*Plan, error) {
	part, err := b.plan(t)
	if err == nil {
		p.parts = append(p.parts, part)
	}
	return part, err
}

// settlePure makes everything impure that has an impure part, however far inside.
func (b *builder) settlePure() {
	for changed := true; changed; {
		changed = false
		for _, p := range b.made {
			for _, part := range p.parts {
				if p.pure && !part.pure {
					p.pure, changed = false, true
				}
			}
		}
	}
}

func (b *builder) fill(p *Plan) error {
	t := p.typ
	switch {
	case t.Implements(typeReference):
		p.reference()
		return nil
	case t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(typeReference):
		return &TypeError{Type: t,
			Reason: "passed by value; pass a pointer, so that it crosses by reference"}
	}
	if p.plain() {
		return nil
	}
	known := b.reg.registered(t)
	isCustom := t.Kind() != reflect.Interface && t.Kind() != reflect.Pointer &&
		reflect.PointerTo(t).Implements(typeCustom)
	switch {
	case known == nil && isCustom:
		p.custom()
		return nil
	case known == nil && t.Kind() == reflect.Struct:
		return unregistered(t)
	case known == nil:
		return b.fillKind(p)
	case isCustom:
		p.custom()
		p.name(known)
	case t.Kind() == reflect.Struct:
		if err := b.fillStruct(p, known); err != nil {
			return err
		}
	default:
		if err := b.fillKind(p); err != nil {
			return err
		}
		p.name(known)
	}
	p.hooks()
	return nil
}

// fillKind makes a plan for t by what it is, whatever it is called.
func (b *builder) fillKind(p *Plan) error {
	switch p.typ.Kind() {
	case reflect.Pointer:
		return b.fillPointer(p)
	case reflect.Interface:
		p.anything()
		return nil
	case reflect.Slice, reflect.Array:
		return b.fillSequence(p)
	case reflect.Map:
		return b.fillMap(p)
	}
	if p.scalar() {
		return nil
	}
	return &TypeError{Type: p.typ,
		Reason: "a " + p.typ.Kind().String() + " cannot cross" + insteadOf(p.typ)}
}

// insteadOf says what to do in place of sending a t, if that is known.
func insteadOf(t reflect.Type) string {
	pointer := reflect.PointerTo(t)
	reads := t.Implements(reflect.TypeFor[io.Reader]()) ||
		pointer.Implements(reflect.TypeFor[io.Reader]())
	writes := t.Implements(reflect.TypeFor[io.Writer]()) ||
		pointer.Implements(reflect.TypeFor[io.Writer]())
	switch {
	case reads && writes:
		return "; it is a byte stream: wrap it in pb.Reader for the peer to read from it, or in " +
			"pb.Writer for the peer to write to it"
	case reads:
		return "; it is a byte stream: wrap it in pb.Reader, and the peer reads from it"
	case writes:
		return "; it is a byte stream: wrap it in pb.Writer, and the peer writes to it"
	case t.Kind() == reflect.Chan:
		return "; give the peer an object to call for each value, or send notes with pb.Note"
	case t.Kind() == reflect.Func:
		return "; make it a method of an object that embeds pb.Referenceable, and pass a pointer " +
			"to that"
	}
	return ""
}

func unregistered(t reflect.Type) error {
	if hint := insteadOf(t); hint != "" {
		return &TypeError{Type: t, Reason: "it cannot cross as a value" + hint}
	}
	if t.Name() == "" {
		return &TypeError{Type: t,
			Reason: "a struct without a name cannot cross; define a type and register it"}
	}
	return &TypeError{Type: t,
		Reason: "not registered and no reference; call jelly.Register[" + t.String() + "](" +
			strconv.Quote(t.String()) + "), or embed pb.Referenceable and pass a pointer"}
}
