// Command counter lends one plain Go object to three worlds at once: every
// connection of raw TCP, every request of HTTP and every call of pb gets the
// next number.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync/atomic"

	"perspective/pb"
)

// Counter knows nothing of networks.
type Counter struct{ n atomic.Int64 }

func (c *Counter) Next(context.Context) (int64, error) { return c.n.Add(1), nil }

// Counting is what peers may do with it.
type Counting interface {
	Next(ctx context.Context) (int64, error)
}

func (c *Counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, _ := c.Next(r.Context())
	_, _ = fmt.Fprintln(w, n)
}

func (c *Counter) serveTCP(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			log.Fatal(err)
		}
		n, _ := c.Next(context.Background())
		_, _ = fmt.Fprintln(conn, n)
		_ = conn.Close()
	}
}

func main() {
	c := &Counter{}
	node := &pb.Node{Root: pb.AsReferenceable[Counting](c)}
	raw, err1 := net.Listen("tcp", "127.0.0.1:0")
	web, err2 := net.Listen("tcp", "127.0.0.1:0")
	objects, err3 := node.Listen("pb+tcp://127.0.0.1:0")
	if err1 != nil || err2 != nil || err3 != nil {
		log.Fatal(err1, err2, err3)
	}
	fmt.Printf("tcp %v\nhttp http://%v/\npb %s\n", raw.Addr(), web.Addr(), node.URLOf(objects))
	go c.serveTCP(raw)
	go http.Serve(web, c) //nolint:errcheck,gosec // an example: all ends with the process
	log.Fatal(node.Serve(objects))
}
