//go:build !unix

package link

import (
	"io"
	"net"
)

// rawWriter exists where a descriptor can be written to without waiting.
type rawWriter struct{}

func newRawWriter(*inbound, io.Writer) *rawWriter { return nil }

func (*rawWriter) try([]byte) (int, bool, error) { return 0, true, nil }

func (*rawWriter) forVec(*outbound) {}

func (*rawWriter) tryVec() (bool, error) { return true, nil }

func (*rawWriter) waitVec() error { return nil }

func (*rawWriter) seals() bool { return false }

func (*rawWriter) holds() bool { return false }

// rawReader exists where a descriptor can be waited for.
type rawReader struct{}

func newRawReader(*inbound, io.Reader) *rawReader { return nil }

func (*rawReader) read() (int, error) { return 0, io.EOF }

func (*rawReader) readTo([]byte) (int, error) { return 0, io.EOF }

func (*rawReader) holds() bool { return false }

// UnderTLS gives nc: TLS over memory exists where a descriptor can be waited for.
func UnderTLS(nc net.Conn) net.Conn { return nc }

func takeSealed(conn io.ReadWriteCloser) io.ReadWriteCloser { return conn }
