package jelly

import (
	"reflect"
	"sync/atomic"
)

// A Codec encodes and decodes values of one type whose plan it keeps at hand. It comes from [For];
// any number of goroutines may use it at once, and it needs no ending.
type Codec[T any] struct {
	reg  *Registry
	held atomic.Pointer[heldPlan]
}

// A heldPlan is a plan as of one generation.
type heldPlan struct {
	generation uint64
	plan       *Plan
}

// For returns the Codec for T in r; nil is the default registry. If T cannot cross, Encode and
// Decode say so. Types may be registered afterwards, so For does for package variables.
func For[T any](r *Registry) *Codec[T] { return &Codec[T]{reg: r.orDefault()} }

func (c *Codec[T]) plan() (*Plan, error) {
	now := generation.Load()
	if h := c.held.Load(); h != nil && h.generation == now {
		return h.plan, nil
	}
	plan, err := c.reg.Plan(reflect.TypeFor[T]())
	if err == nil { // an error is not kept: its receiver may add to its path
		c.held.Store(&heldPlan{generation: now, plan: plan})
	}
	return plan, err
}

// Pure is that of the plan of T; false if there is none.
func (c *Codec[T]) Pure() bool {
	p, err := c.plan()
	return err == nil && p.pure
}

// Encode appends *v. What stands in interfaces inside *v is looked up in the Encoder's registry.
func (c *Codec[T]) Encode(e *Encoder, v *T) error {
	if v == nil {
		return nilTarget[T]()
	}
	p, err := c.plan()
	if err != nil {
		return err
	}
	return p.encodeAt(e, placeOf(v))
}

// Decode reads one value into *v.
func (c *Codec[T]) Decode(d *Decoder, v *T) error {
	if v == nil {
		return nilTarget[T]()
	}
	p, err := c.plan()
	if err != nil {
		return err
	}
	return p.decodeAt(d, placeOf(v))
}

func nilTarget[T any]() error {
	return &TypeError{Type: reflect.TypeFor[T](), Reason: "a Codec needs a pointer that is not nil"}
}
