// Command client calls the echo server: client URL TEXT.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"perspective/pb"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: client URL TEXT")
	}
	ctx := context.Background()
	conn, err := new(pb.Node).Dial(ctx, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	text, err := pb.Do[string](ctx, conn.Root(), "echo", os.Args[2])
	fmt.Println(text, err)
}
