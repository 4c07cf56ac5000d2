// Command site is a program to mount in a split web site: a counter, an echo over WebSocket, an
// answer that takes its time, and a page that tells which process serves it. It serves below
// whatever prefix it is mounted at.
//
//	[[mount]]
//	path    = "/app/"
//	run     = ["bin/app"]
//	sandbox = { write = ["data/app"] }
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"perspective/pb/distrib"
)

// counterFile holds the number that grows, relative to the site's folder.
const counterFile = "data/app/count"

func main() {
	admin := flag.Bool("admin", false, "serve a page that greets whoever has logged in")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var h http.Handler = newApp()
	if *admin {
		h = http.HandlerFunc(greet)
	}
	if err := distrib.Serve(ctx, h); err != nil {
		log.Print(err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// An app serves the pages.
type app struct {
	counter *os.File     // nil: it may not write, and counts in memory
	count   atomic.Int64 // without a counter
}

func newApp() *app {
	a := &app{}
	//nolint:gosec // the group of the file may read it
	if f, err := os.OpenFile(counterFile, os.O_RDWR|os.O_CREATE, 0o640); err == nil {
		a.counter = f
	}
	return a
}

// ServeHTTP goes by the last step of the path: the steps before it are the site's business.
func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path.Base(r.URL.Path) {
	case "count":
		a.serveCount(w)
	case "ws":
		echo(w, r)
	case "slow":
		slow(w, r)
	case "whoami":
		whoami(w, r)
	default:
		if !strings.HasSuffix(r.URL.Path, "/") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>app</title><p>app: "+
			"<a href=count>count</a> <a href=slow?ms=100>slow</a> <a href=whoami>whoami</a>\n")
	}
}

func (a *app) serveCount(w http.ResponseWriter) {
	n, err := a.next()
	if err != nil {
		log.Print(err)
		http.Error(w, "no count", http.StatusInternalServerError)
		return
	}
	_, _ = fmt.Fprintln(w, n)
}

// next counts one more, together with the other instances, by a lock on the file.
func (a *app) next() (n int64, err error) {
	if a.counter == nil {
		return a.count.Add(1), nil
	}
	f, err := os.OpenFile(counterFile, os.O_RDWR, 0) // a lock of its own for each request
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := lock(f); err != nil {
		return 0, err
	}
	text, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0, err
	}
	if len(text) > 0 {
		if n, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err != nil {
			return 0, err
		}
	}
	n++
	_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", n), 0)
	return n, err
}

// slow answers after the milliseconds that the query says, at most a minute, or not at all if the
// visitor goes.
func slow(w http.ResponseWriter, r *http.Request) {
	ms, err := strconv.Atoi(r.FormValue("ms"))
	if err != nil || ms < 0 || ms > 60_000 {
		http.Error(w, "write ?ms=N, up to 60000", http.StatusBadRequest)
		return
	}
	timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		_, _ = fmt.Fprintf(w, "after %d ms\n", ms)
	case <-r.Context().Done():
	}
}

// identity tells which process serves, and whom.
type identity struct {
	PID      int    `json:"pid"`
	UID      int    `json:"uid"`
	Instance string `json:"instance"`
	User     string `json:"user"`
}

func whoami(w http.ResponseWriter, r *http.Request) {
	user, _ := distrib.UserFrom(r.Context())
	instance := ""
	if h, err := distrib.Inherited(); err == nil {
		instance = h.Name()
	}
	w.Header().Set("Content-Type", "application/json")
	//nolint:errchkjson // the visitor may be gone
	_ = json.NewEncoder(w).Encode(identity{
		PID: os.Getpid(), UID: os.Getuid(), Instance: instance, User: user.Name,
	})
}

// echo sends back what comes over a WebSocket.
func echo(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer c.CloseNow() //nolint:errcheck // it is over
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

// greet is the page for those who have logged in.
func greet(w http.ResponseWriter, r *http.Request) {
	user, ok := distrib.UserFrom(r.Context())
	if !ok {
		http.Error(w, "log in first", http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprintf(w, "<!doctype html><title>admin</title><p>hello, %s\n",
		html.EscapeString(user.Name))
}
