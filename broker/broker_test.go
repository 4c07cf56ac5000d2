package broker_test

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"perspective/broker"
)

// everywhere runs a test over each kind of connection.
func everywhere(t *testing.T, f func(t *testing.T, c, s net.Conn)) {
	t.Run("pipe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, s := net.Pipe()
			f(t, c, s)
		})
	})
	onSockets(t, f)
}

func TestCall(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		cb, sb := pair(t, c, s, broker.Config{Root: echo()}, broker.Config{Root: echo()})
		for _, want := range []any{int64(7), "seven", []byte("7"), nil} {
			got, err := ask(want).to(t, cb, "echo").wait(t)
			if err != nil || !equal(got, want) {
				t.Fatalf("echo(%v) = %v, %v", want, got, err)
			}
		}
		if got, err := ask("back").to(t, sb, "echo").wait(t); got != "back" || err != nil {
			t.Fatalf("echo from the acceptor = %v, %v", got, err)
		}
		q := ask().to(t, cb, "fail")
		if _, err := q.wait(t); !errors.Is(err, errTest) || q.outcome != broker.Executed {
			t.Fatalf("fail = %v, %v", err, q.outcome)
		}
		q = ask().to(t, cb, "nothing")
		if _, err := q.wait(t); !errors.Is(err, errNoMethod) || q.outcome != broker.NotExecuted {
			t.Fatalf("nothing = %v, %v", err, q.outcome)
		}
	})
}

func TestLong(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		cb, _ := pair(t, c, s, broker.Config{}, broker.Config{Root: echo()})
		<-cb.Greeted()
		for _, n := range []int{100, 60 << 10, 65 << 10, 600 << 10, 3 << 20} {
			want := bytes.Repeat([]byte("0123456789abcdef"), n/16)
			got, err := ask(want).to(t, cb, "echo").wait(t)
			if err != nil || !equal(got, want) {
				t.Fatalf("echo of %d bytes: %v", n, err)
			}
		}
	})
}

func equal(a, b any) bool {
	x, ok := a.([]byte)
	y, ok2 := b.([]byte)
	if ok && ok2 {
		return bytes.Equal(x, y)
	}
	return a == b
}
