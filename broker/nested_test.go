package broker_test

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"perspective/broker"
)

// asking is a method that calls name of the peer's root and answers with its
// answer. The turn ends with the wait.
func asking(name string) method {
	return func(in *broker.Incoming, args []any) {
		q := ask(args...)
		err := in.Broker().Ask(in.Context(),
			&broker.Header{Export: 1, Method: name, Flags: broker.FlagFinal, Call: &q.call}, q)
		if err == nil {
			in.EndTurn()
			<-q.done
			err = q.err
		}
		if err != nil {
			in.Fail(err)
			return
		}
		in.Return(value(q.result))
	}
}

// TestNestedBehindWaiting: a call made while handling a call never waits for
// room among the handlers, also not behind others of its object that do: those
// that have the room may wait for it.
func TestNestedBehindWaiting(t *testing.T) {
	const handlers, reserve = 2, 256
	for name, calls := range map[string]int{"few": 40,
		"more than the reserve": handlers + reserve + 300} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, c, s net.Conn) {
				var begun, touched, inversions atomic.Int64
				root := &methods{m: map[string]method{
					"ask": func(in *broker.Incoming, args []any) {
						if begun.Add(1)-1 != args[0].(int64) {
							inversions.Add(1)
						}
						asking("bounce")(in, args)
					},
					"touch": func(in *broker.Incoming, args []any) {
						touched.Add(1)
						in.Return(value(args[0]))
					},
				}}
				peer := &methods{concurrent: true, m: map[string]method{"bounce": asking("touch")}}
				cb, sb := pair(t, c, s, broker.Config{Root: peer},
					broker.Config{Root: root, Limits: broker.Limits{Handlers: handlers}})
				<-cb.Greeted()
				var qs []*question
				for i := range calls {
					qs = append(qs, ask(i).to(t, cb, "ask"))
				}
				good := int64(0)
				for i, q := range qs {
					v, err := q.wait(t)
					switch {
					case err == nil && v == int64(i):
						good++
					case calls < reserve || !errors.Is(err, broker.ErrOverloaded):
						t.Errorf("call %d = %v, %v", i, v, err)
					}
				}
				if inversions.Load() != 0 || good != touched.Load() ||
					begun.Load() != int64(calls) {
					t.Errorf("%d calls began, %d of them out of order, %d of %d good ones touched",
						begun.Load(), inversions.Load(), touched.Load(), good)
				}
				settled(t, cb, sb)
			})
		})
	}
}
