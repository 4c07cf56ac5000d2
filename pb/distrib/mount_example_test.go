package distrib_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"

	"perspective/pb/distrib"
)

// A front and a back end in one process, over a pipe; a monitor makes two processes of them.
func ExampleMount() {
	site := &distrib.Site{}
	site.Handle("/board/", distrib.Route{Back: "board"})
	front, back := net.Pipe()
	if err := site.Attach("board", front); err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	board := &distrib.Mount{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintln(w, "board at", r.URL.Path)
		}),
		Logger: slog.New(slog.DiscardHandler),
	}
	ended := make(chan error, 1)
	go func() { ended <- board.ServeConn(ctx, back) }()

	server := httptest.NewServer(site)
	if resp, err := server.Client().Get(server.URL + "/board/new"); err == nil {
		page, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Print(resp.Status, " ", string(page))
	}

	server.Close()
	cancel()
	fmt.Println(<-ended, site.Close())
	// Output:
	// 200 OK board at /board/new
	// <nil> <nil>
}
