package pb

import (
	"context"

	"perspective/broker"
)

// WithTrace is ctx for calls that carry trace, most often the traceparent of W3C's Trace Context
// ("00-" trace id "-" parent id "-" flags). It is at most 256 bytes, and a call with a longer one
// fails as not executed. An empty one has the calls carry none.
//
// A trace goes on by itself: calls that a method makes with its ctx, or one made from it, carry
// the one that the method was called with. A program that makes spans of its own puts theirs in
// with WithTrace.
func WithTrace(ctx context.Context, trace string) context.Context {
	return broker.WithTrace(ctx, []byte(trace))
}

// TraceFrom is the trace of the calls that are made with ctx: what WithTrace gave, or of a
// method's ctx what its caller sent; empty if there is none. A peer may send any 256 bytes, so
// they are to be checked before they are believed.
func TraceFrom(ctx context.Context) string { return string(broker.TraceFrom(ctx)) }
