package pb

import (
	"fmt"
	"net"
	"os"

	"perspective/internal/prefix"
)

// listenUnix makes a socket file that only its owner can connect to. A file
// left by a process that is gone is replaced; one that answers is not.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if c, err := net.Dial("unix", path); err == nil { //nolint:noctx // listening has no context
			_ = c.Close()
			return nil, fmt.Errorf("pb: somebody listens on %s already", path)
		}
		_ = os.Remove(path) // Listen tells if it is still there
	}
	ln, err := net.Listen("unix", path) //nolint:noctx // it does not wait
	if err != nil {
		return nil, prefix.Errorf("pb: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = ln.Close()
		return nil, prefix.Errorf("pb: %w", err)
	}
	return ln, nil
}
