package distrib

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// filePair makes the socket beside a link, both ends close-on-exec.
func filePair() (front, back *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX,
		unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("distrib: no socket for files: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "files"), os.NewFile(uintptr(fds[1]), "files"), nil
}

// fileSocket is one end.
type fileSocket struct {
	socket *control
	raw    syscall.RawConn
}

// newFileSocket takes over the file, whatever comes of it.
func newFileSocket(f *os.File) (fileSocket, error) {
	socket, err := controlOf(f)
	if err != nil {
		return fileSocket{}, err
	}
	raw, err := socket.conn.SyscallConn()
	if err != nil {
		socket.close()
		return fileSocket{}, err
	}
	return fileSocket{socket, raw}, nil
}

// passable file systems are those whose files the kernel reads by itself: no other process and no
// other machine can hold up what reads them. Overlays are made by who may mount.
var passable = map[int64]bool{
	unix.EXT4_SUPER_MAGIC:      true, // and ext2, ext3
	unix.XFS_SUPER_MAGIC:       true,
	unix.BTRFS_SUPER_MAGIC:     true,
	unix.F2FS_SUPER_MAGIC:      true,
	unix.TMPFS_MAGIC:           true,
	unix.RAMFS_MAGIC:           true,
	unix.SQUASHFS_MAGIC:        true,
	unix.EROFS_SUPER_MAGIC_V1:  true,
	unix.OVERLAYFS_SUPER_MAGIC: true,
	0x2fc12fc1:                 true, // ZFS
	0xca451a4e:                 true, // bcachefs
}

// checkPassable says why the file may not be passed. The file system comes first: another process
// may have to say what a file of its is.
func checkPassable(fd int) (size int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return 0, os.NewSyscallError("fstatfs", err)
	}
	//nolint:unconvert // on some systems it is shorter
	if kind := int64(fs.Type) & 0xffffffff; !passable[kind] {
		return 0, fmt.Errorf("distrib: a file of a file system of type %#x", kind)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, fmt.Errorf("distrib: mode %#o is no regular file", st.Mode)
	}
	return st.Size, nil
}

// A fileSender is the back end's end of the socket. Any goroutine may use it; it ends with close.
type fileSender struct {
	fileSocket

	unclaimed atomic.Int64 // that the front has not told of yet
}

// newFileSender takes over the file; nil without one.
func newFileSender(f *os.File) *fileSender {
	if f == nil {
		return nil
	}
	socket, err := newFileSocket(f)
	if err != nil {
		return nil // bodies go over the link
	}
	return &fileSender{fileSocket: socket}
}

// send passes the descriptor. False is no harm: the body goes over the link then.
func (s *fileSender) send(number uint64, f *os.File) (sent bool) {
	if s.unclaimed.Add(1) > maxUnclaimed {
		s.hear()
		if s.unclaimed.Load() > maxUnclaimed {
			s.unclaimed.Add(-1)
			return false
		}
	}
	var message [8]byte
	binary.BigEndian.PutUint64(message[:], number)
	err := withDescriptor(f, func(fd int) error {
		if err := mayPass(fd); err != nil {
			return err
		}
		return s.socket.sendRaw(message[:], unix.UnixRights(fd))
	})
	if err != nil {
		s.unclaimed.Add(-1)
	}
	return err == nil
}

// mayPass says why an honest back end keeps a file: the front would not take it, or could do more
// with it than read.
func mayPass(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if flags&unix.O_ACCMODE != unix.O_RDONLY || flags&(unix.O_PATH|unix.O_DIRECT) != 0 {
		return errFile
	}
	_, err = checkPassable(fd)
	return err
}

// hear takes what the front has said.
func (s *fileSender) hear() {
	_ = s.raw.Control(func(fd uintptr) { // an error is the link's end
		var b [8]byte
		for {
			n, err := unix.Read(int(fd), b[:])
			switch {
			case errors.Is(err, unix.EINTR):
			case err != nil || n <= 0:
				return
			default:
				s.unclaimed.Add(-1)
			}
		}
	})
}

func (s *fileSender) close() {
	if s != nil {
		s.socket.close()
	}
}

// A fileReceiver is the front's end of the socket: it takes descriptors as they come and holds them
// until their response does. What breaks the rules is told to broke, once. Any goroutine may use
// it; run it on one, and end it with close.
type fileReceiver struct {
	fileSocket

	keep  time.Duration
	broke func(error)

	mu   sync.Mutex
	held map[uint64]heldFile
	over bool
}

// A heldFile was not claimed yet.
type heldFile struct {
	fd    int // -1: it was lost
	timer *time.Timer
}

// newFileReceiver takes over the file; nil without one.
func newFileReceiver(f *os.File, broke func(error)) *fileReceiver {
	if f == nil {
		return nil
	}
	socket, err := newFileSocket(f)
	if err != nil {
		return nil // bodies come over the link
	}
	return &fileReceiver{fileSocket: socket, keep: unclaimedTime, broke: broke,
		held: make(map[uint64]heldFile)}
}

// run takes what comes until close, or until the back end breaks the rules.
func (r *fileReceiver) run() {
	var err error
	_ = r.raw.Read(func(fd uintptr) bool { // an error is close
		err = r.receive(int(fd))
		return err != nil
	})
	r.tell(err)
}

// tell has a break of the rules end the link.
func (r *fileReceiver) tell(err error) {
	if err != nil && !errors.Is(err, io.EOF) {
		r.broke(err)
	}
}

// receive takes all that is there, without waiting. io.EOF means that nothing comes any more. It is
// done under the lock, so that what another goroutine has received is in the table: a claim that
// finds nothing knows that nothing was sent.
func (r *fileReceiver) receive(fd int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.over {
		var b [9]byte
		rights := make([]byte, unix.CmsgSpace(4))
		n, rn, flags, _, err := unix.Recvmsg(fd, b[:], rights,
			unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil || n == 0 && rn == 0:
			return io.EOF
		}
		if err := r.take(b[:n], descriptorsIn(rights[:rn]), flags); err != nil {
			r.over = true
			return err
		}
	}
	return io.EOF
}

// take puts a descriptor into the table. It owns all that came. Needs mu.
func (r *fileReceiver) take(b []byte, fds []int, flags int) error {
	var number uint64
	if len(b) == 8 {
		number = binary.BigEndian.Uint64(b)
	}
	_, twice := r.held[number]
	truncated := flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0
	fd := -1
	switch {
	case number == 0:
		closeAll(fds)
		return fmt.Errorf("%w: a message of %d bytes", errFile, len(b))
	case twice:
		closeAll(fds)
		return fmt.Errorf("%w: number %d came twice", errFile, number)
	case len(r.held) >= maxUnclaimed:
		closeAll(fds)
		return fmt.Errorf("%w: more than %d files wait for their responses", errFile, maxUnclaimed)
	case len(fds) == 1 && !truncated:
		fd = fds[0]
	case len(fds) > 0 || !truncated:
		closeAll(fds)
		return fmt.Errorf("%w: a message with %d descriptors", errFile, len(fds))
	}
	r.held[number] = heldFile{fd, time.AfterFunc(r.keep, func() { r.expire(number) })}
	return nil
}

// claim returns the file that came under the number. The caller closes it, and checks it first:
// what asks its file system may have to wait.
func (r *fileReceiver) claim(number uint64) (*os.File, error) {
	h, ok := r.remove(number)
	for !ok {
		// The back end has sent it before the response that names it.
		var wrong error
		err := r.raw.Control(func(fd uintptr) { wrong = r.receive(int(fd)) })
		if err != nil {
			return nil, net.ErrClosed
		}
		r.tell(wrong)
		if h, ok = r.remove(number); !ok {
			return nil, errNoFile
		}
	}
	r.acknowledge()
	if h.fd < 0 {
		return nil, errFileLost
	}
	return os.NewFile(uintptr(h.fd), "passed"), nil
}

// remove takes what has the number out of the table.
func (r *fileReceiver) remove(number uint64) (heldFile, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.held[number]
	if ok {
		h.timer.Stop()
		delete(r.held, number)
	}
	return h, ok
}

// expire closes what nobody has claimed.
func (r *fileReceiver) expire(number uint64) {
	if h, ok := r.remove(number); ok {
		h.close()
		r.acknowledge()
	}
}

func (h heldFile) close() {
	if h.fd >= 0 {
		_ = unix.Close(h.fd)
	}
}

// acknowledge tells the back end that one lies here no longer. One that does not listen has the
// loss.
func (r *fileReceiver) acknowledge() { _ = r.socket.sendRaw([]byte{1}, nil) }

// close closes the socket and what is held.
func (r *fileReceiver) close() {
	if r == nil {
		return
	}
	r.socket.close()
	r.mu.Lock()
	r.over = true
	held := r.held
	r.held = nil
	r.mu.Unlock()
	for _, h := range held {
		h.timer.Stop()
		h.close()
	}
}

// sizeOfPassed checks a file that a back end passed.
func sizeOfPassed(f *os.File) (size int64, err error) {
	err = withDescriptor(f, func(fd int) error {
		size, err = checkPassable(fd)
		return err
	})
	return size, err
}

// mostAtOnce is what one call of sendfile sends at most, so that goOn is asked now and then.
const mostAtOnce = 1 << 20

// sendTo sends what is left by sendfile(2), from its place. done is false where the connection has
// no descriptor.
func (b *fileBody) sendTo(nc net.Conn) (n int64, done bool, err error) {
	conn, ok := nc.(syscall.Conn)
	if !ok {
		return 0, false, nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false, nil //nolint:nilerr // then it is copied
	}
	err = withDescriptor(b.file, func(file int) error {
		for b.left > 0 {
			if b.err = b.goOn(); b.err != nil {
				return b.err
			}
			k, err := b.sendSome(raw, file)
			n += int64(k)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return n, true, err
}

// sendSome makes one call of sendfile that sends something, and waits until the client has room.
func (b *fileBody) sendSome(raw syscall.RawConn, file int) (n int, err error) {
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		for {
			n, sendErr = unix.Sendfile(int(fd), file, &b.offset, int(min(b.left, mostAtOnce)))
			if !errors.Is(sendErr, unix.EINTR) {
				return !errors.Is(sendErr, unix.EAGAIN)
			}
		}
	})
	n = max(0, n)
	b.left -= int64(n)
	switch {
	case err != nil:
		return n, err
	case sendErr != nil:
		return n, os.NewSyscallError("sendfile", sendErr)
	case n == 0:
		b.err = io.ErrUnexpectedEOF
		return 0, b.err
	}
	return n, nil
}
