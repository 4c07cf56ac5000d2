package pb_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"perspective/pb"
)

func init() { children["starved"] = serveStarved }

// serveStarved is a whole program: a node in a process that has no descriptor left until a line
// comes from its standard input. It says where it is, then that it could not accept.
func serveStarved() error {
	few := syscall.Rlimit{Cur: 64, Max: 64}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		return err
	}
	starved := make(chan struct{}, 1)
	node := &pb.Node{Root: &echoes{},
		Logger: slog.New(slog.NewTextHandler(starvedLog(starved), nil))}
	ln, err := node.Listen("pb+tcp://127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- node.Serve(ln) }() // ends with the node
	var held []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) {
			break
		}
		if err != nil {
			return err
		}
		held = append(held, f)
	}
	fmt.Println(node.URLOf(ln)) // the first connection finds none left
	select {
	case <-starved:
	case err := <-served:
		return fmt.Errorf("Serve ended: %w", err)
	}
	fmt.Println("starved")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	for _, f := range held {
		if err := f.Close(); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	_ = node.Close()
	if err := <-served; !errors.Is(err, pb.ErrNodeClosed) {
		return fmt.Errorf("Serve = %w", err)
	}
	return nil
}

// starvedLog gets a value when a line tells that Serve waits for descriptors.
type starvedLog chan struct{}

func (l starvedLog) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "too many open files") &&
		strings.Contains(string(p), "trying again") {
		select {
		case l <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}

// A process that runs out of descriptors serves again when it has some.
func TestServeOutlivesDescriptors(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=starved")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	next := func() string {
		if !lines.Scan() {
			_ = cmd.Wait()
			t.Fatal("the child has ended")
		}
		return lines.Text()
	}
	url := next()
	client := dialer(t, &pb.Node{Logger: silent()})
	answer := make(chan error, 1)
	go func() { answer <- says(t, client, url) }() // ends with its answer
	if got := next(); got != "starved" {
		t.Errorf("the child says %q", got)
	}
	if _, err := io.WriteString(in, "go on\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err != nil {
		t.Errorf("the call that came without descriptors: %v", err)
	}
	if err := says(t, client, url); err != nil {
		t.Errorf("a call after that: %v", err)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the child: %v", err)
	}
}
