package pb_test

import (
	"context"
	"strings"
	"testing"

	"perspective/pb"
	"perspective/pb/pbtest"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// traced answers with the trace that it is called with.
type traced struct {
	pb.Referenceable
	n int
}

func (*traced) RemoteTrace(ctx context.Context) (string, error) { return pb.TraceFrom(ctx), nil }

// RemoteBack asks its caller's object, with the ctx as it came, with another trace, and without.
func (*traced) RemoteBack(ctx context.Context, r *pb.RemoteReference) ([]string, error) {
	defer r.Release()
	var all []string
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, ctx := range []context.Context{ctx, within, pb.WithTrace(ctx, "span"),
		pb.WithTrace(ctx, ""), context.Background()} {
		s, err := pb.Do[string](ctx, r, "trace")
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func TestTrace(t *testing.T) {
	root := pbtest.Connect(t, &traced{n: 1})
	ctx := pb.WithTrace(t.Context(), traceparent)
	if got := pb.TraceFrom(ctx); got != traceparent {
		t.Errorf("TraceFrom = %q", got)
	}
	for name, tt := range map[string]struct {
		ctx  context.Context
		want string
	}{
		"given":        {ctx, traceparent},
		"none":         {t.Context(), ""},
		"empty":        {pb.WithTrace(ctx, ""), ""},
		"the longest":  {pb.WithTrace(ctx, strings.Repeat("a", 256)), strings.Repeat("a", 256)},
		"any bytes":    {pb.WithTrace(ctx, "\x00\x1b"), "\x00\x1b"},
		"the last one": {pb.WithTrace(ctx, "b"), "b"},
	} {
		if got, err := pb.Do[string](tt.ctx, root, "trace"); got != tt.want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if got, err := pb.Call[string](tt.ctx, root, "trace").Wait(t.Context()); got != tt.want ||
			err != nil {
			t.Errorf("%s, by Call: %q, %v", name, got, err)
		}
	}
	_, err := pb.Do[string](pb.WithTrace(ctx, strings.Repeat("a", 257)), root, "trace")
	if err == nil || pb.OutcomeOf(err) != pb.NotExecuted {
		t.Errorf("a trace of 257 bytes: %v, want an error before the call", err)
	}
}

// TestTraceOfNestedCalls: a method's calls carry the trace that it was called with.
func TestTraceOfNestedCalls(t *testing.T) {
	root := pbtest.Connect(t, &traced{n: 1})
	for _, trace := range []string{traceparent, ""} {
		got, err := pb.Do[[]string](pb.WithTrace(t.Context(), trace), root, "back", &traced{n: 2})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{trace, trace, "span", "", ""}; strings.Join(got,
			",") != strings.Join(want, ",") {
			t.Errorf("called with %q: the nested calls have %q, want %q", trace, got, want)
		}
	}
}
