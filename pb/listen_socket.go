package pb

import (
	"context"
	"fmt"
	"net"
	"os"
)

// listenUnix makes a socket file that only its owner can connect to. A file
// left by a process that is gone is replaced; one that answers is not.
func listenUnix(path string) (net.Listener, error) {
	ctx := context.Background() // what is in the file system is quick to answer
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if c, err := new(net.Dialer).DialContext(ctx, "unix", path); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("pb: somebody listens on %s already", path)
		}
		_ = os.Remove(path) // Listen tells if it is still there
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("pb: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("pb: %w", err)
	}
	return ln, nil
}
