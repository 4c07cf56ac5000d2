package pb

import (
	"net"
	"syscall"

	"perspective/cred"
)

// kernelPeer asks the kernel for the peer credentials of a unix socket (SO_PEERCRED): those of
// the process that called connect, or listen, or socketpair.
func kernelPeer(c *net.UnixConn, p *cred.Peer) {
	rc, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Control(func(fd uintptr) { // closed meanwhile: nothing is proved
		u, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		if err == nil && u.Pid != 0 {
			p.UID, p.GID, p.PID, p.HasUID = u.Uid, u.Gid, u.Pid, true
		}
	})
}
