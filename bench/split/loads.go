package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// A load is a line of the table.
type load struct {
	name, doc string
	goal      float64 // of the split's CPU against direct
	path      string
	conns     int
	body      int // bytes to post; 0: it is a GET
	socket    bool
}

var allLoads = []load{
	{name: "page1", doc: "page of 1 KiB, 1 connection", goal: 3, path: "/page", conns: 1},
	{name: "page64", doc: "page of 1 KiB, 64 connections", goal: 1.8, path: "/page", conns: 64},
	{name: "page256", doc: "page of 1 KiB, 256 connections", goal: 1.5, path: "/page", conns: 256},
	{name: "post64", doc: "POST of 100 bytes, 64 connections", goal: 1.9, path: "/post", conns: 64,
		body: 100},
	{name: "large64", doc: "response of 64 KiB, 64 connections", goal: 2.2, path: "/large",
		conns: 64},
	{name: "upload64", doc: "POST of 64 KiB, 64 connections", goal: 1.5, path: "/post", conns: 64,
		body: 64 << 10},
	{name: "file16", doc: "file of 1 MiB, 16 connections", goal: 1.5, path: "/files/1M", conns: 16},
	{name: "ws64", doc: "WebSocket echo of 100 bytes, 64 connections", goal: 2, path: "/ws",
		conns: 64, body: 100, socket: true},
}

// run gives the load to s for about so long. It returns how many requests were answered, and how
// long that took.
func (l *load) run(s *server, length time.Duration) (int, time.Duration, error) {
	if l.socket {
		return l.echo(s, length)
	}
	args := []string{"-t1", fmt.Sprintf("-c%d", l.conns),
		fmt.Sprintf("-d%ds", int(length.Seconds())), "--timeout", "30s"}
	if l.body > 0 {
		script := s.path(l.name + ".lua")
		text := fmt.Sprintf("wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", %d)\n", l.body)
		if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
			return 0, 0, err
		}
		args = append(args, "-s", script)
	}
	out, err := exec.Command("wrk", append(args, "http://"+s.addr+l.path)...).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("wrk: %w: %s", err, bytes.TrimSpace(out))
	}
	return readWrk(out)
}

var (
	wrkSum = regexp.MustCompile(`(\d+) requests in ([0-9.]+)(m?s)`)
	wrkBad = regexp.MustCompile(`(?m)Non-2xx.*|Socket errors.*`)
)

// readWrk reads what wrk says. An answer that is none spoils the figure.
func readWrk(out []byte) (int, time.Duration, error) {
	if bad := wrkBad.Find(out); bad != nil {
		return 0, 0, fmt.Errorf("wrk: %s", bad)
	}
	m := wrkSum.FindSubmatch(out)
	if m == nil {
		return 0, 0, fmt.Errorf("wrk: %s", out)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0, 0, err
	}
	took, err := time.ParseDuration(string(m[2]) + string(m[3]))
	return n, took, err
}

// echo sends messages over WebSockets, each when the answer to the one before has come.
func (l *load) echo(s *server, length time.Duration) (int, time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience+length)
	defer cancel()
	var conns []*websocket.Conn
	defer func() {
		for _, c := range conns {
			_ = c.CloseNow() // it is over
		}
	}()
	for range l.conns {
		c, r, err := websocket.Dial(ctx, "ws://"+s.addr+l.path, nil)
		if r != nil && r.Body != nil {
			_ = r.Body.Close() // a handshake has none
		}
		if err != nil {
			return 0, 0, err
		}
		conns = append(conns, c)
	}
	var stop atomic.Bool
	timer := time.AfterFunc(length, func() { stop.Store(true) })
	defer timer.Stop()
	var did atomic.Int64
	errs := make(chan error, len(conns))
	begin := time.Now()
	var running sync.WaitGroup
	for _, c := range conns {
		running.Go(func() { // ends with the load
			n, err := echoes(ctx, c, bytes.Repeat([]byte("x"), l.body), &stop)
			did.Add(int64(n))
			errs <- err
		})
	}
	running.Wait()
	took := time.Since(begin)
	var err error
	for range conns {
		err = errors.Join(err, <-errs)
	}
	return int(did.Load()), took, err
}

func echoes(ctx context.Context, c *websocket.Conn, message []byte, stop *atomic.Bool) (int, error) {
	for n := 0; ; n++ {
		if stop.Load() {
			return n, nil
		}
		if err := c.Write(ctx, websocket.MessageBinary, message); err != nil {
			return n, err
		}
		_, back, err := c.Read(ctx)
		if err != nil {
			return n, err
		}
		if !bytes.Equal(back, message) {
			return n, errors.New("an echo came back changed")
		}
	}
}
