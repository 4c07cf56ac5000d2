// Package adapt does without reflection on both sides of a call: it is what pb gen writes. A
// program that is fast enough needs none of it, and neither side can tell whether the other
// uses it.
//
// Methods has an object's methods called without reflection:
//
//	func init() {
//		adapt.Methods(
//			adapt.Func1("RemoteCount", (*Board).RemoteCount),
//			adapt.Proc2("RemotePost", (*Board).RemotePost),
//		)
//	}
//
// Do1 to Do4 and Call1 to Call4 are pb.Do and pb.Call with that many arguments, which keep
// their types:
//
//	n, err := adapt.Do2[int](ctx, board, "Post", "ann", "hello")
package adapt

import (
	"fmt"
	"reflect"
	"runtime"

	"perspective/pb/internal/typed"
)

// Methods has the methods of all O that are given here called without reflection. Nothing else
// changes: which methods peers may call, what they may pass and what they are told stays as it
// is, and methods that are not given here are called by reflection. It is for init functions.
//
// For an interface O it is objects lent by pb.AsReferenceable[O] that are called so.
//
// Methods panics if peers cannot call one of the methods or it has other types, if a name is
// given with another of these methods, if objects of O have been exported already, and if it was
// called for O before. What a function around a method calls is not known, nor always what a
// method is that consists of a call of another.
func Methods[O any](methods ...Method[O]) {
	t := reflect.TypeFor[O]()
	plans := make([]*typed.Plan, len(methods))
	for i := range methods {
		plans[i] = &methods[i].typed.Plan
	}
	_, file, line, _ := runtime.Caller(1)
	typed.Adapt(t, fmt.Sprintf("adapt: Methods[%s]", t), fmt.Sprintf("%s:%d", file, line), plans)
}
