//go:build !linux

package distrib

import (
	"net"
	"os"
)

// A fileSender has no working form here: no descriptor can be passed.
type fileSender struct{}

func newFileSender(*os.File) *fileSender { return nil }

func (*fileSender) send(uint64, *os.File) bool { return false }

func (*fileSender) close() {}

// A fileReceiver as above.
type fileReceiver struct{}

func newFileReceiver(*os.File, func(error)) *fileReceiver { return nil }

func (*fileReceiver) run() {}

func (*fileReceiver) claim(uint64) (*os.File, error) { return nil, errNoFile }

func (*fileReceiver) close() {}

func sizeOfPassed(*os.File) (int64, error) { return 0, ErrUnsupported }

func (*fileBody) sendTo(net.Conn) (n int64, done bool, err error) { return 0, false, nil }
