package jelly

import (
	"reflect"
	"strconv"
	"sync"
)

// A Plan is how values of one type cross, worked out once for a registry and a type. Any number of goroutines may use it
// at once. It comes from [Registry.Plan].
type Plan struct {
	typ  reflect.Type
	pure bool
	mark bool // crosses by reference
	key  bool // may be the key of a map
	enc  func(e *Encoder, v reflect.Value) error
	dec  func(d *Decoder, v reflect.Value) error

	parts []*Plan // what it is made of

	scratch sync.Pool // of *scratch
}

// A planCache holds the plans of one registry as they were at one generation.
type planCache struct {
	generation uint64
	plans      sync.Map // reflect.Type -> *Plan
}

// Plan returns the plan for t, or a *TypeError if values of t cannot cross.
func (r *Registry) Plan(t reflect.Type) (*Plan, error) {
	r = r.orDefault()
	cache := r.cache()
	if p, ok := cache.plans.Load(t); ok {
		return p.(*Plan), nil
	}
	if t == nil {
		return nil, &TypeError{Reason: "no type"}
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

// Type returns the type whose values the plan is for.
func (p *Plan) Type() reflect.Type { return p.typ }

// Pure reports whether encoding and decoding run no method of the program and meet no references, so that they may be
// done anywhere. What may stand in an interface is not known beforehand, so a type that holds one is not pure.
func (p *Plan) Pure() bool { return p.pure }

// Encode appends v, which is of the plan's type. After an error the Encoder is as it was before.
func (p *Plan) Encode(e *Encoder, v reflect.Value) error {
	start, depth, nested := len(e.b), e.depth, e.nested
	err := p.encode(e, v)
	e.depth, e.nested = depth, nested
	if err != nil {
		e.Truncate(min(start, len(e.b)))
	}
	return err
}

// Decode reads one value into v, which is of the plan's type and can be set. Nothing of what v held is left, even after
// an error, when v holds a part of what came.
func (p *Plan) Decode(d *Decoder, v reflect.Value) error {
	nested := d.nested
	err := p.decode(d, v)
	d.nested = nested
	return err
}

func (p *Plan) encode(e *Encoder, v reflect.Value) error {
	if e.nested >= maxNested {
		return &TypeError{Type: p.typ, Reason: "nested too deep, or a cycle"}
	}
	e.nested++
	err := p.enc(e, v)
	e.nested--
	return err
}

func (p *Plan) decode(d *Decoder, v reflect.Value) error {
	if !p.mark && d.atRef() {
		return d.settle(v)
	}
	if d.nested >= maxNested {
		return &TypeError{Type: p.typ, Reason: "nested too deep"}
	}
	d.nested++
	err := p.dec(d, v)
	d.nested--
	return err
}

// A builder makes the plans that one plan needs. They may refer to one another in circles, so none is seen by others
// before all are there.
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
	p := &Plan{typ: t, pure: true}
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
		return &TypeError{Type: t, Reason: "passed by value; pass a pointer, so that it crosses by reference"}
	}
	if p.plain() {
		return nil
	}
	known := b.reg.registered(t)
	isCustom := t.Kind() != reflect.Interface && t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(typeCustom)
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
	case t.Kind() == reflect.Struct:
		if err := b.fillStruct(p); err != nil {
			return err
		}
	default:
		if err := b.fillKind(p); err != nil {
			return err
		}
	}
	p.name(known)
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
	return &TypeError{Type: p.typ, Reason: "a " + p.typ.Kind().String() + " cannot cross"}
}

func unregistered(t reflect.Type) error {
	if t.Name() == "" {
		return &TypeError{Type: t, Reason: "a struct without a name cannot cross; define a type and register it"}
	}
	return &TypeError{Type: t, Reason: "not registered and no reference; call jelly.Register[" + t.String() + "](" +
		strconv.Quote(t.String()) + "), or embed pb.Referenceable and pass a pointer"}
}
