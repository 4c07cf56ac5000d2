package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"perspective/pb"
)

const counterVariable = "PB_EXAMPLE_COUNTER"

// TestMain makes the test binary the program itself, if it is told to.
func TestMain(m *testing.M) {
	if os.Getenv(counterVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// One process counts for all three.
func TestCounter(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), counterVariable+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	at := map[string]string{}
	lines := bufio.NewScanner(out)
	for len(at) < 3 && lines.Scan() {
		world, address, _ := strings.Cut(lines.Text(), " ")
		at[world] = address
	}

	var node pb.Node
	defer node.Close() //nolint:errcheck // the end of the test
	conn, err := node.Dial(t.Context(), at["pb"])
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 9; n += 3 {
		if got, err := overTCP(at["tcp"]); got != fmt.Sprintln(n) || err != nil {
			t.Errorf("TCP counts %q, %v, want %d", got, err, n)
		}
		if got, err := overHTTP(at["http"]); got != fmt.Sprintln(n+1) || err != nil {
			t.Errorf("HTTP counts %q, %v, want %d", got, err, n+1)
		}
		if got, err := pb.Do[int](t.Context(), conn.Root(), "next"); got != n+2 || err != nil {
			t.Errorf("pb counts %d, %v, want %d", got, err, n+2)
		}
	}
	if infos := pb.Methods(pb.AsReferenceable[Counting](&Counter{})); len(infos) != 1 ||
		infos[0].String() != "Next() int64" {
		t.Errorf("peers may call %v", infos)
	}
}

func overTCP(address string) (string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // read to its end
	b, err := io.ReadAll(conn)
	return string(b), err
}

func overHTTP(url string) (string, error) {
	res, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	b, err := io.ReadAll(res.Body)
	return string(b), err
}
