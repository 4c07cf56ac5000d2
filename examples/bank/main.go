// Command bank is the first page of README: an object made by a remote method
// is called before the call that makes it has been answered.
package main

import (
	"context"
	"fmt"
	"log"

	"perspective/pb"
)

type Bank struct{ pb.Referenceable }

func (b *Bank) RemoteOpen(ctx context.Context) (*Account, error) { return &Account{}, nil }

type Account struct {
	pb.Referenceable
	balance int
}

func (a *Account) RemoteDeposit(ctx context.Context, n int) (int, error) {
	a.balance += n
	return a.balance, nil
}

func main() {
	ctx := context.Background()
	server, client := &pb.Node{Root: &Bank{}}, &pb.Node{}
	ln, err := server.Listen("pb+tcp://127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go server.Serve(ln) //nolint:errcheck // it ends with the server
	conn, err := client.Dial(ctx, server.URLOf(ln))
	if err != nil {
		log.Fatal(err)
	}

	account := pb.Call[*pb.RemoteReference](ctx, conn.Root(), "open") // not answered yet
	pb.Call[int](ctx, account, "deposit", 100)                        // and called already
	fmt.Println(pb.Do[int](ctx, account, "deposit", 50))              // one round trip for all
}
