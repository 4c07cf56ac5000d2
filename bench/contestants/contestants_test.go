package contestants_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	_ "bench/contestants"
	"bench/harness"
)

// TestEcho has every contestant answer many callers at once, beside calls that
// take their time.
func TestEcho(t *testing.T) {
	for _, c := range harness.Contestants() {
		t.Run(c.Name, func(t *testing.T) {
			client := connect(t, c)
			sizes := []int{0, 1, 64, 70_000, 1 << 20}
			var wg sync.WaitGroup
			for i, size := range sizes {
				wg.Go(func() { expectEcho(t, client, int64(i), size) })
			}
			if s, ok := client.(harness.Sibling); ok {
				sibling, err := s.Sibling(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() { expectEcho(t, sibling, -1000, 64) })
			}
			wg.Wait()
		})
	}
}

func TestChain(t *testing.T) {
	for _, c := range harness.Contestants() {
		client := connect(t, c)
		chainer, ok := client.(harness.Chainer)
		if !ok {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			if got, err := chainer.Chain(t.Context(), 40, 8); err != nil || got != 48 {
				t.Errorf("Chain(40, 8) = %d, %v, want 48", got, err)
			}
		})
	}
}

// TestOursIsThere fails if the contestant that all this is about goes by
// another name than the tables expect.
func TestOursIsThere(t *testing.T) {
	if first := harness.Contestants()[0].Name; !strings.HasPrefix(first, "perspective") {
		t.Errorf("the first contestant is %s", first)
	}
}

// connect starts a server that lasts as long as the test program.
func connect(t *testing.T, c *harness.Contestant) harness.Client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends when the listener is closed
		if err := c.Serve(ln); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Logf("%s: Serve: %v", c.Name, err)
		}
	}()
	client, err := c.Dial(harness.DialerTo(ln.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func expectEcho(t *testing.T, c harness.Client, id int64, size int) {
	m := &harness.Msg{ID: id, Name: "name", Payload: bytes.Repeat([]byte{byte(size)}, size)}
	got, err := c.Echo(context.Background(), m)
	if err != nil {
		t.Errorf("Echo of %d bytes: %v", size, err)
		return
	}
	if got.ID != id || got.Name != m.Name || !bytes.Equal(got.Payload, m.Payload) {
		t.Errorf("Echo of %d, %d bytes gave %d, %q, %d bytes", id, size, got.ID, got.Name,
			len(got.Payload))
	}
}
