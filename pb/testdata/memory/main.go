// Command memory attacks a server that has the defaults, and prints what each attack makes the
// server's process take at most (VmHWM), and how long an honest peer waited at most. Server,
// attacker and honest peer are processes of their own. It fails if the server took 512 MiB or
// more, or the honest peer waited for a second or more (-wait 0: however long it waited).
//
//	go run ./pb/testdata/memory [-time 10s] [-wait 1s] [ROW…]
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"perspective/cred"
	"perspective/jelly"
	"perspective/pb"
)

const mostRSS = 512 << 10 // KiB

var (
	role = flag.String("role", "",
		"server, attacker or honest; empty: all, each in a process of its own")
	url    = flag.String("url", "", "of the server")
	length = flag.Duration("time", 10*time.Second, "how long each attack goes on")
	most   = flag.Duration("wait", time.Second,
		"how long the honest peer may wait; 0: for any time")
)

// rows are the attacks, in the order in which they run.
var rows = []struct {
	name, about string
	run         func(ctx context.Context)
}{
	{"stranger", "32 connections of one address that do not log in", stranger},
	{"arguments", "calls of 117 KB whose arguments take many times that",
		func(ctx context.Context) { flood(ctx, 1, "hold", 130) }},
	{"serial", "the same behind a Serial object",
		func(ctx context.Context) { flood(ctx, 1, "line", 130) }},
	{"slices", "slices of large structs that are refused", slices},
	{"together", "1,000 methods that wait and go on at once", together},
	{"answers", "answers of 1 MiB that are not read", answers},
	{"many", "20 connections with calls of 117 KB",
		func(ctx context.Context) { flood(ctx, 20, "hold", 130) }},
	{"streams", "20 connections with 60 byte streams that nobody reads", streams},
	{"all", "all of these but the first at once", nil},
}

func main() {
	flag.Parse()
	var err error
	switch *role {
	case "server":
		jelly.Register[wide]("wide")
		err = serve(flag.Arg(0))
	case "attacker":
		jelly.Register[narrow]("wide")
		ctx, cancel := context.WithTimeout(context.Background(), *length)
		defer cancel()
		attack(ctx, flag.Arg(0))
	case "honest":
		err = honest()
	default:
		err = measure(flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// attack runs the attack of that name, or all on a node where no login is needed.
func attack(ctx context.Context, name string) {
	var wg sync.WaitGroup
	for _, r := range rows[1 : len(rows)-1] {
		if name == "all" || name == r.name {
			wg.Go(func() { r.run(ctx) })
		}
	}
	if name == rows[0].name {
		rows[0].run(ctx)
	}
	wg.Wait()
}

func measure(names []string) error {
	failed := false
	for _, r := range rows {
		if len(names) > 0 && !strings.Contains(" "+strings.Join(names, " ")+" ", " "+r.name+" ") {
			continue
		}
		rss, wait, err := one(r.name)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		verdict := "ok"
		if rss >= mostRSS || *most > 0 && wait >= *most {
			verdict, failed = "FAILED", true
		}
		fmt.Printf("%-10s %-58s RSS %4d MiB, the honest peer waited %8v at most: %s\n", r.name,
			r.about, rss>>10, wait.Round(time.Millisecond), verdict)
	}
	if failed {
		return fmt.Errorf("over %d MiB, or %v", mostRSS>>10, *most)
	}
	return nil
}

// one runs an attack.
func one(name string) (rss int, wait time.Duration, err error) {
	server := exec.Command(os.Args[0], "-role=server", name)
	server.Stderr = os.Stderr
	in, err := server.StdinPipe()
	if err != nil {
		return 0, 0, err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := server.Start(); err != nil {
		return 0, 0, err
	}
	defer server.Wait() //nolint:errcheck // it ends with its standard input
	defer in.Close()    //nolint:errcheck // as above
	where, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return 0, 0, err
	}
	where = strings.TrimSpace(where)
	attacker := exec.Command(os.Args[0], "-role=attacker", "-url="+where,
		"-time="+length.String(), name)
	peer := exec.Command(os.Args[0], "-role=honest", "-url="+where, "-time="+length.String(), name)
	peer.Stderr = os.Stderr
	if err := attacker.Start(); err != nil {
		return 0, 0, err
	}
	defer attacker.Wait() //nolint:errcheck // it ends with its time, or is killed
	text, err := peer.Output()
	_ = attacker.Process.Kill()
	if err != nil {
		return 0, 0, fmt.Errorf("the honest peer: %w", err)
	}
	if wait, err = time.ParseDuration(strings.TrimSpace(string(text))); err != nil {
		return 0, 0, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &rss); err == nil {
			return rss, wait, nil
		}
	}
	return 0, 0, fmt.Errorf("no VmHWM in %q", status)
}

// honest makes small calls and tells how long one took at most.
func honest() error {
	var worst time.Duration
	for end := time.Now().Add(*length); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		begin := time.Now()
		if err := visit(); err != nil {
			return err
		}
		worst = max(worst, time.Since(begin)) // of a connection, a login and a call
	}
	fmt.Println(worst)
	return nil
}

func visit() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// As if from another machine: strangers of one address use up that address's places.
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	nc, err := d.DialContext(ctx, "tcp", host())
	if err != nil {
		return err
	}
	node := new(pb.Node)
	defer node.Close() //nolint:errcheck // it gives nothing
	c, err := node.Attach(ctx, nc, pb.Dialer)
	if err != nil {
		return err
	}
	on := c.Root()
	if flag.Arg(0) == "stranger" {
		if on, err = c.Login(ctx, cred.Anonymous{}, nil); err != nil {
			return err
		}
	}
	_, err = pb.Do[string](ctx, on, "echo", "hi")
	return err
}

// wide is a struct that takes 4 KiB.
type wide struct {
	Text string
	Room [512]int64
}

// target is what is attacked.
type target struct {
	pb.Referenceable
	pb.Concurrent
}

// member is the avatar of a login.
type member struct {
	pb.Avatar
	_ byte
}

// line is a Serial object.
type line struct {
	pb.Referenceable
	pb.Concurrent
	pb.Serial
}

var theLine = new(line)

func (*member) PerspectiveEcho(_ context.Context, s string) (string, error) { return s, nil }
func (*target) RemoteEcho(_ context.Context, s string) (string, error)      { return s, nil }

func (*target) RemoteHold(ctx context.Context, x []wide) error {
	<-ctx.Done()
	_ = x
	return ctx.Err()
}

func (*target) RemoteLine(context.Context) (*line, error) { return theLine, nil }

func (*line) RemoteHold(ctx context.Context, x []wide) error {
	<-ctx.Done()
	_ = x
	return ctx.Err()
}

func (*target) RemoteWide(_ context.Context, x []wide) (int, error) { return len(x), nil }

// RemoteTogether waits for the caller, and then needs memory for a while.
func (*target) RemoteTogether(ctx context.Context, on *pb.RemoteReference) (int, error) {
	if _, err := pb.Do[any](ctx, on, "wait"); err != nil {
		return 0, err
	}
	room := make([]byte, 1<<20)
	for i := range room {
		room[i] = byte(i)
	}
	time.Sleep(20 * time.Millisecond)
	return int(room[len(room)-1]), nil
}

func (*target) RemoteAnswer(context.Context) ([]string, error) {
	return strings.SplitAfter(strings.Repeat("a word of sixteen", 60_000), "n"), nil
}

func (*target) RemoteStream(ctx context.Context, _ io.Reader) error {
	<-ctx.Done()
	return ctx.Err()
}

func serve(row string) error {
	node := &pb.Node{Root: new(target), Logger: slog.New(slog.DiscardHandler)}
	if row == "stranger" {
		node.Portal = &cred.Portal{
			Checkers: []cred.Checker{cred.AnonymousChecker{}},
			Realm: cred.RealmFunc(func(context.Context, cred.AvatarID, any) (any, func(), error) {
				return new(member), nil, nil
			}),
		}
	}
	ln, err := node.Listen("pb+tcp://127.0.0.1:0")
	if err != nil {
		return err
	}
	go node.Serve(ln) //nolint:errcheck // ends with the process
	fmt.Println(node.URLOf(ln))
	_, _ = os.Stdin.Read(make([]byte, 1)) // ends with the parent
	return nil
}

// join connects n times, again and again.
func join(ctx context.Context, n int, f func(c *pb.Conn)) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { // ends with ctx
			for ctx.Err() == nil {
				node := new(pb.Node)
				c, err := node.Dial(ctx, *url)
				if err == nil {
					f(c)
				}
				_ = node.Close()
				time.Sleep(time.Millisecond)
			}
		})
	}
	wg.Wait()
}

// narrow is a wide as the attacker writes it: what is missing of it costs nothing to send.
type narrow struct{ Text string }

// large is 117 KB that take 16 MiB.
func large() []narrow {
	x := make([]narrow, 3_900)
	for i := range x {
		x[i].Text = "twenty letters or so"
	}
	return x
}

func flood(ctx context.Context, conns int, method string, calls int) {
	x := large()
	join(ctx, conns, func(c *pb.Conn) {
		on := c.Root()
		if method == "line" {
			r, err := pb.Do[*pb.RemoteReference](ctx, on, "line")
			if err != nil {
				return
			}
			on = r
		}
		var wg sync.WaitGroup
		for range calls {
			wg.Go(func() { _, _ = pb.Do[any](ctx, on, "hold", x) })
		}
		wg.Wait()
	})
}

func stranger(ctx context.Context) {
	x := large()[:1_900]
	join(ctx, 32, func(c *pb.Conn) {
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { _, _ = pb.Do[any](ctx, c.Root(), "hold", x) })
			wg.Go(func() { _, _ = c.Login(ctx, cred.UsernamePassword{Username: "x"}, x) })
		}
		wg.Wait()
	})
}

func slices(ctx context.Context) {
	nils := make([]any, 3_900)
	join(ctx, 1, func(c *pb.Conn) {
		var wg sync.WaitGroup
		for range 600 { // 2.5 MB
			wg.Go(func() { _, _ = pb.Do[any](ctx, c.Root(), "wide", nils) })
		}
		wg.Wait()
	})
}

// gate keeps those that call it until all have come.
type gate struct {
	pb.Referenceable
	pb.Concurrent
	n    atomic.Int64
	open chan struct{}
}

func (g *gate) RemoteWait(ctx context.Context) error {
	if g.n.Add(1) == 1000 {
		close(g.open)
	}
	select {
	case <-g.open:
	case <-ctx.Done():
	case <-time.After(3 * time.Second):
	}
	return nil
}

func together(ctx context.Context) {
	join(ctx, 1, func(c *pb.Conn) {
		g := &gate{open: make(chan struct{})}
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { _, _ = pb.Do[any](ctx, c.Root(), "together", g) })
		}
		wg.Wait()
	})
}

// host is where the server listens.
func host() string {
	a, err := pb.ParseURL(*url)
	if err != nil {
		panic(err)
	}
	return a.Host
}

// deaf is a connection that is not read any more.
type deaf struct {
	net.Conn
	ctx  context.Context //nolint:containedctx // until when
	shut atomic.Bool
}

func (d *deaf) Read(p []byte) (int, error) {
	if d.shut.Load() {
		<-d.ctx.Done()
	}
	return d.Conn.Read(p)
}

func answers(ctx context.Context) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { // ends with ctx
			for ctx.Err() == nil {
				nc, err := new(net.Dialer).DialContext(ctx, "tcp", host())
				if err != nil {
					return
				}
				short, cancel := context.WithTimeout(ctx, 5*time.Second)
				d := &deaf{Conn: nc, ctx: short}
				node := &pb.Node{}
				if c, err := node.Attach(ctx, d, pb.Dialer); err == nil && c.Sync(ctx) == nil {
					d.shut.Store(true)
					for range 256 {
						pb.Call[any](short, c.Root(), "answer")
					}
					<-short.Done()
				}
				cancel()
				_ = node.Close()
			}
		})
	}
	wg.Wait()
}

// endless never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
func (endless) Close() error               { return nil }

func streams(ctx context.Context) {
	join(ctx, 20, func(c *pb.Conn) {
		var wg sync.WaitGroup
		for range 60 {
			wg.Go(func() { _, _ = pb.Do[any](ctx, c.Root(), "stream", pb.Reader(endless{})) })
		}
		wg.Wait()
	})
}
