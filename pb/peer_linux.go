package pb

import (
	"net"
	"syscall"

	"perspective/cred"
)

// kernelPeer asks the kernel who is at the other end of a unix socket: who
// called connect, or listen, or socketpair.
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
