package distrib

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"perspective/internal/guard"
)

// control is one end of a control socket. Sending may be done from any goroutine, receiving from
// one at a time.
type control struct {
	conn *net.UnixConn
}

// controlPair makes a control socket: the monitor's end, and the part's as a file to be inherited.
func controlPair() (*control, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("distrib: no control socket: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "control")
	ours, err := controlOf(os.NewFile(uintptr(fds[0]), "control"))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// controlOf takes over the file, whatever comes of it.
func controlOf(f *os.File) (*control, error) {
	conn, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return nil, fmt.Errorf("distrib: control socket: %w", err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: a %s socket", errControl, conn.LocalAddr().Network())
	}
	return &control{unixConn}, nil
}

// send never waits: a full socket is an error (EAGAIN), and its reader is stuck. A descriptor of -1
// is none.
func (c *control) send(m message, descriptor int) error {
	var rights []byte
	if descriptor >= 0 {
		rights = unix.UnixRights(descriptor)
	}
	return c.sendRaw(m.encode(), rights)
}

func (c *control) sendRaw(b, rights []byte) error {
	return c.write(b, rights, func(error) bool { return true })
}

// sendSurely waits while the socket is full.
func (c *control) sendSurely(m message) error {
	return c.write(m.encode(), nil, func(err error) bool { return !errors.Is(err, unix.EAGAIN) })
}

// write sends until done says that the outcome is one.
func (c *control) write(b, rights []byte, done func(error) bool) error {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), b, rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return done(sendErr)
	})
	if err == nil && sendErr != nil {
		err = os.NewSyscallError("sendmsg", sendErr)
	}
	return err
}

// receive waits for a message. The caller owns the descriptor, which is -1 where the message
// carries none. What came too much, or in a message that is refused, is closed here. With errLost
// the message is good but for its descriptor.
func (c *control) receive(acceptDescriptor bool) (message, int, error) {
	var buffer [1 + maxText + 1]byte
	var rights []byte
	if acceptDescriptor {
		rights = make([]byte, unix.CmsgSpace(4))
	}
	// ReadMsgUnix receives with MSG_CMSG_CLOEXEC. Without room for rights the kernel drops them and
	// says MSG_CTRUNC.
	n, rn, flags, _, err := c.conn.ReadMsgUnix(buffer[:], rights)
	if err != nil {
		return message{}, -1, err
	}
	fds := descriptorsIn(rights[:rn])
	m, err := decodeMessage(buffer[:n], len(fds))
	if acceptDescriptor && len(fds) == 0 &&
		flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) == unix.MSG_CTRUNC {
		if m, err := decodeMessage(buffer[:n], 1); err == nil {
			return m, -1, errLost
		}
	}
	if flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 {
		err = fmt.Errorf("%w: cut off", errControl)
	}
	if err != nil || len(fds) == 0 {
		closeAll(fds)
		return m, -1, err
	}
	return m, fds[0], nil
}

// descriptorsIn finds every descriptor in what came along, so that none is left open unseen.
func descriptorsIn(rights []byte) []int {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil
	}
	var all []int
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			all = append(all, fds...)
		}
	}
	return all
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

func (c *control) close() { _ = c.conn.Close() }

// linkPair makes a link, both ends close-on-exec.
func linkPair() (front, back *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX,
		unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("distrib: no link: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "link"), os.NewFile(uintptr(fds[1]), "link"), nil
}

// withDescriptor lends the descriptor of a file or a listener without copying it.
func withDescriptor(holder any, use func(fd int) error) error {
	conn, ok := holder.(syscall.Conn)
	if !ok {
		return fmt.Errorf("distrib: a %T has no descriptor to hand over", holder)
	}
	var raw syscall.RawConn
	err := guard.Run(func() (err error) { // it may be the program's own
		raw, err = conn.SyscallConn()
		return err
	})
	if err != nil {
		return err
	}
	var useErr error
	if err := raw.Control(func(fd uintptr) { useErr = use(int(fd)) }); err != nil {
		return err
	}
	return useErr
}
