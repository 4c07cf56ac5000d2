package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// caller is a client process: the clients it has open. One request at a time
// uses it.
type caller struct {
	contestant *Contestant
	clients    []Client // the newest last
}

// serve starts a contestant's server, which ends with the process.
func serve(c *Contestant, q *request) (*reply, error) {
	if err := needFiles(q.Count + spareFiles); err != nil {
		return nil, err
	}
	ln, err := c.listen(q)
	if err != nil {
		return nil, err
	}
	serving(c.Name, func() error { return c.Serve(ln) })
	return &reply{Addr: ln.Addr().String()}, nil
}

func (c *Contestant) listen(q *request) (net.Listener, error) {
	if q.Kind != "tls" || c.Listen == nil {
		return listen(q.Kind, q.Addr, q.TLS)
	}
	config, err := q.TLS.server()
	if err != nil {
		return nil, err
	}
	return c.Listen(q.Addr, config)
}

// spareFiles is what a process needs beside the connections it is asked for.
const spareFiles = 1024

// serving runs a server until the process ends; one that gives up ends it.
func serving(name string, f func() error) {
	go func() {
		err := f()
		fmt.Fprintf(os.Stderr, "%s: the server ended: %v\n", name, err)
		os.Exit(1)
	}()
}

// open opens clients, some at a time, and makes a call on each whose answer is
// looked at closely.
func (c *caller) open(q *request) (*reply, error) {
	const atOnce = 16
	n := max(q.Count, 1)
	if err := needFiles(n + len(c.clients) + spareFiles); err != nil {
		return nil, err
	}
	d := Dialer{kind: q.Kind, addr: q.Addr, id: q.TLS}
	slots := make(chan struct{}, atOnce)
	clients, errs := make([]Client, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() { // ends with the first call's answer
			defer func() { <-slots }()
			if clients[i], errs[i] = c.contestant.Dial(d); errs[i] == nil {
				errs[i] = check(clients[i], int64(i))
			}
		})
	}
	wg.Wait()
	for _, cl := range clients {
		if cl != nil {
			c.clients = append(c.clients, cl)
		}
	}
	for _, err := range errs {
		if err != nil {
			return nil, err // one is enough: they are all alike
		}
	}
	return &reply{}, nil
}

// pop closes the newest client.
func (c *caller) pop(*request) (*reply, error) {
	cl, err := c.newest()
	if err != nil {
		return nil, err
	}
	c.clients = c.clients[:len(c.clients)-1]
	// What a system says when its connection closes is no matter here.
	if err := cl.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		fmt.Fprintf(os.Stderr, "%s: close: %v\n", c.contestant.Name, err)
	}
	return &reply{}, nil
}

func (c *caller) newest() (Client, error) {
	if len(c.clients) == 0 {
		return nil, errors.New("harness: no client is open")
	}
	return c.clients[len(c.clients)-1], nil
}

// name16 is the name in every message: 16 bytes.
const name16 = "object-name-0016"

// payload makes n bytes that are not all the same.
func payload(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

// check makes one call and compares all of the answer.
func check(c Client, id int64) error {
	p := payload(300)
	r, err := c.Echo(context.Background(), &Msg{ID: id, Name: name16, Payload: p})
	if err != nil {
		return err
	}
	if r.ID != id || r.Name != name16 || string(r.Payload) != string(p) {
		return fmt.Errorf("harness: the echo of %d came back changed: %d, %q, %d bytes", id, r.ID,
			r.Name, len(r.Payload))
	}
	return nil
}

// chain makes chains of dependent calls on the newest client.
func (c *caller) chain(q *request) (*reply, error) {
	cl, err := c.newest()
	if err != nil {
		return nil, err
	}
	one := stepwise
	if ch, ok := cl.(Chainer); ok {
		one = func(ctx context.Context, _ Client, start int64, depth int) (int64, error) {
			return ch.Chain(ctx, start, depth)
		}
	}
	begin := time.Now()
	for i := range q.Count {
		start := int64(i * 1000)
		got, err := one(context.Background(), cl, start, q.Depth)
		if err != nil {
			return nil, err
		}
		if want := start + int64(q.Depth); got != want {
			return nil, fmt.Errorf("harness: a chain from %d gave %d, want %d", start, got, want)
		}
	}
	return &reply{Calls: int64(q.Count * q.Depth), Seconds: time.Since(begin).Seconds()}, nil
}

// stepwise waits for each call before it makes the next.
func stepwise(ctx context.Context, c Client, start int64, depth int) (int64, error) {
	p := payload(64)
	for range depth {
		r, err := c.Echo(ctx, &Msg{ID: start + 1, Name: name16, Payload: p})
		if err != nil {
			return 0, err
		}
		start = r.ID
	}
	return start, nil
}
