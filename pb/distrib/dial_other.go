//go:build !linux

package distrib

import (
	"context"
	"net"
	"os"
)

const childDialer = "dialer"

// dialEnd is a part's end of the socket to its dialer; there is none here.
type dialEnd struct{}

func (*dialEnd) put(f *os.File) { _ = f.Close() }

func (*dialEnd) missed() {}

func (*Handover) dial(context.Context, string, string) (net.Conn, error) {
	return nil, ErrUnsupported
}
