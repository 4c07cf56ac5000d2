//go:build unix

package distrib_test

import (
	"net"
	"os"
	"syscall"
	"testing"
)

// Over a pair of sockets a back end writes that it begins, and does not wait.

func TestDeathMidRequestOverAPair(t *testing.T) { testDeathMidRequest(t, socketPair) }

func TestEachPostOnceUnderFireOverAPair(t *testing.T) { testEachPostOnceUnderFire(t, socketPair) }

// socketPair returns the two ends of a pair of sockets, as a monitor hands them over.
func socketPair(t *testing.T) (front, back net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		syscall.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), "pair")
		ends[i], err = net.FileConn(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil { // net has its own
			t.Fatal(err)
		}
	}
	return ends[0], ends[1]
}
