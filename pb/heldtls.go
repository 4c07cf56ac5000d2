package pb

import (
	"context"
	"crypto/tls"
	"io"

	"perspective/internal/guard"
	"perspective/internal/lines"
	"perspective/internal/prefix"
)

// heldTLS is a copy of base, which is a program's. What crypto/tls calls of it while it holds a
// lock of its own comes back whatever it does: that is the KeyLogWriter alone, for the lock of that
// is one of the whole process and is not given back after a panic. The other functions run on the
// goroutine of the handshake, where connect holds them.
func (n *Node) heldTLS(base *tls.Config) *tls.Config {
	config := base.Clone()
	if w := config.KeyLogWriter; w != nil {
		config.KeyLogWriter = &heldKeyLog{n, w}
	}
	if choose := config.GetConfigForClient; choose != nil {
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if err != nil || chosen == nil || chosen.KeyLogWriter == nil {
				return chosen, err
			}
			chosen = chosen.Clone()
			chosen.KeyLogWriter = &heldKeyLog{n, chosen.KeyLogWriter}
			return chosen, nil
		}
	}
	return config
}

// heldKeyLog is a KeyLogWriter of a program's.
type heldKeyLog struct {
	node *Node
	w    io.Writer
}

// Write calls Write. An error fails the handshake.
func (h *heldKeyLog) Write(p []byte) (n int, err error) {
	err = guard.Run(func() (err error) {
		n, err = h.w.Write(p)
		return err
	})
	const what = "Node.TLS.KeyLogWriter"
	if lines.Fault(context.Background(), h.node.logger(), what, err) {
		return 0, prefix.Errorf("pb: %s: %w", what, err)
	}
	return n, err
}
