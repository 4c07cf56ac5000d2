// Command keys is one of two machines that know each other by their keys.
//
//	keys KEY                     prints the node id of KEY and ends
//	keys KEY serve FRIEND        serves the node with the id FRIEND alone, and prints its URL
//	keys KEY call URL            calls the node at URL
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"perspective/cred"
	"perspective/pb"
)

type Clock struct{ pb.Referenceable }

func (*Clock) RemoteAsk(ctx context.Context) (string, error) { return "a quarter past nine", nil }

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: keys KEY [serve FRIEND | call URL]")
	}
	key, err := pb.LoadKey(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	node := &pb.Node{Key: key}
	switch {
	case len(os.Args) == 2:
		fmt.Println(key.NodeID())
	case len(os.Args) == 4 && os.Args[2] == "serve":
		serve(node, os.Args[3])
	case len(os.Args) == 4 && os.Args[2] == "call":
		call(node, os.Args[3])
	default:
		log.Fatal("usage: keys KEY [serve FRIEND | call URL]")
	}
}

func serve(node *pb.Node, friend string) {
	node.Root = &Clock{}
	node.Allow = cred.AllowKeys(friend)
	ln, err := node.Listen("pb://127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(node.URLOf(ln))
	log.Fatal(node.Serve(ln))
}

func call(node *pb.Node, url string) {
	ctx := context.Background()
	conn, err := node.Dial(ctx, url) // fails unless the peer has the key of the URL's NODEID
	if err != nil {
		log.Fatal(err)
	}
	text, err := pb.Do[string](ctx, conn.Root(), "ask")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(text)
}
