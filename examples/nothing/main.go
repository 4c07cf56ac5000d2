// Command nothing shows the zero Node: it can listen, dial and call, and it
// offers nothing to be called.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"perspective/cred"
	"perspective/pb"
)

func main() {
	var server, client pb.Node // no Root, no Portal, no Key: one is made for this run

	ln, err := server.Listen("pb://127.0.0.1:0") // TLS, and the URL names the key
	if err != nil {
		log.Fatal(err)
	}
	go server.Serve(ln) //nolint:errcheck // it ends with the program
	ctx := context.Background()

	conn, err := client.Dial(ctx, server.URLOf(ln))
	fmt.Println("dialed:", err == nil)

	_, err = pb.Do[any](ctx, conn.Root(), "anything")
	fmt.Println("nothing to call:", errors.Is(err, pb.ErrNoRoot), "and", pb.OutcomeOf(err))

	_, err = conn.Login(ctx, cred.Anonymous{}, nil)
	fmt.Println("nobody to log in as:", err != nil)

	_, err = client.Dial(ctx, "pb://"+ln.Addr().String())
	var unknown *pb.UnknownPeerError
	fmt.Println("no trust without the key:",
		errors.As(err, &unknown) && unknown.URL == server.URLOf(ln))

	_, err = server.Listen("pb+tcp://0.0.0.0:0")
	fmt.Println("no plain listening to the world:", err != nil)

	fmt.Println("shut down:", server.Shutdown(ctx) == nil)
}
