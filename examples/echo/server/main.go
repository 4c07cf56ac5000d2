// Command server serves one object whose only method gives back what it gets.
// It prints the URL for the client.
package main

import (
	"context"
	"fmt"
	"log"

	"perspective/pb"
)

type Echo struct{ pb.Referenceable }

func (*Echo) RemoteEcho(_ context.Context, s string) (string, error) { return s, nil }

func main() {
	node := &pb.Node{Root: &Echo{}}
	ln, err := node.Listen("pb://127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(node.URLOf(ln))
	log.Fatal(node.Serve(ln))
}
