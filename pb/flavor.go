package pb

import (
	"reflect"

	"perspective/broker"
)

// Referenceable makes the struct that embeds it cross by reference: a peer gets a reference and may
// call the methods named Remote…. The zero value is ready. It holds nothing that changes, so it
// needs no guarding; it must not be passed by value.
type Referenceable struct{ _ address }

// An address gives what embeds a flavour an address of its own: to peers an object is its address,
// and Go gives one to all values of a type without size.
type address byte

// JellyReference marks what embeds Referenceable as a value that crosses by reference. It does
// nothing.
func (*Referenceable) JellyReference() {}

func (*Referenceable) isReferenceable() {}

// Viewable is a flavour whose methods, named View…, get the caller's avatar: it is their second
// parameter, behind the context. The parameter's type decides which avatars may call: a caller with
// another one, and a caller without one, is refused before the method begins. The zero value is
// ready.
type Viewable struct {
	viewableMark
	_ address
}

func (*Viewable) isViewable() {}

// Avatar is embedded by a perspective: the object that is what a logged-in peer may do. The peer
// calls its methods named Perspective…. The zero value is ready.
type Avatar struct {
	avatarMark
	_ address
}

func (*Avatar) isAvatar() {}

// The marks lie two levels apart for each flavour. Go drops a promoted method that two embedded
// fields offer at the same depth, so a struct that embeds two flavours, one perhaps through a base
// of its own, would otherwise have no mark.
type (
	mark         struct{}
	viewableMark struct{ mark }
	deeperMark   struct{ viewableMark }
	avatarMark   struct{ deeperMark }
)

// JellyReference marks what embeds a flavour as a value that crosses by reference. It does nothing.
func (*mark) JellyReference() {}

// Concurrent lets the calls to the object that embeds it, beside a flavour, run at once: they are
// not queued. The zero value is ready.
type Concurrent struct{}

func (*Concurrent) isConcurrent() {}

// A flavour is a set of methods that peers may call. The flavours are ordered as their methods are
// listed.
type flavour struct {
	prefix string
	mark   reflect.Type // the interface by which a type that embeds it is known
	viewer bool         // the avatar of the caller comes after the context
}

var flavours = [...]flavour{
	{prefix: "Remote", mark: reflect.TypeFor[interface{ isReferenceable() }]()},
	{prefix: "View", mark: reflect.TypeFor[interface{ isViewable() }](), viewer: true},
	{prefix: "Perspective", mark: reflect.TypeFor[interface{ isAvatar() }]()},
}

// hasFlavour says whether values of t may be exported.
func hasFlavour(t reflect.Type) bool {
	for i := range flavours {
		if t.Implements(flavours[i].mark) {
			return true
		}
	}
	return false
}

// disciplineOf says how the calls to objects of type t are put in order.
func disciplineOf(t reflect.Type) broker.Discipline {
	if t.Implements(reflect.TypeFor[interface{ isConcurrent() }]()) {
		return broker.Concurrent
	}
	return broker.Queued
}
