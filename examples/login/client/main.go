// Command client logs in, writes to itself, and reads what came: client URL USER PASSWORDFILE.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"

	"perspective/cred"
	"perspective/pb"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: client URL USER PASSWORDFILE")
	}
	secret, err := os.ReadFile(os.Args[3]) //nolint:gosec // the user names the file
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	conn, err := new(pb.Node).Dial(ctx, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	inbox, err := conn.Login(ctx, cred.UsernamePassword{
		Username: os.Args[2],
		Password: cred.Password(bytes.TrimRight(secret, "\r\n")),
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	pb.Call[any](ctx, inbox, "send", os.Args[2], "a note to myself")
	fmt.Println(pb.Do[[]string](ctx, inbox, "read"))
	inbox.Release() // logs out; so does the end of the connection
}
