package distrib

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	if len(os.Args) > 1 && os.Args[1] == "cling" {
		// to the first thread, whose wish to die with the parent is the one that counts
		runtime.LockOSThread()
	}
	processRoles["obey"] = func(args []string) { obey(args[0]) }
	processRoles["monitor"] = func(args []string) { runMonitor(args[0]) }
	processRoles["cling"] = cling
	processRoles["nothing"] = func([]string) {}
	// a part that never looks at its control socket
	processRoles["sleep"] = func([]string) { _ = unix.Pause() }
}

// obey is a part that does as it is told over the file "orders". A back end also answers on its
// links.
func obey(kind string) {
	h, err := Inherited()
	if err != nil {
		processFail(err)
	}
	switch kind {
	case "idle":
		select {}
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	default:
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM)
		go func() {
			<-asked
			fmt.Println("ended as asked")
			// Not os.Exit: the race detector sleeps a second in it.
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}()
	}
	if kind != "front" {
		go answerLinks(h)
	}
	go func() { _ = h.Files(context.Background(), takeFile) }() // ends with the process
	orders, err := h.File("orders")
	if err != nil {
		processFail(err)
	}
	if err := h.Ready(); err != nil {
		processFail(err)
	}
	o := &obedient{h: h, links: map[string]net.Conn{}}
	buffer := make([]byte, 4096)
	for {
		n, err := orders.Read(buffer)
		if err != nil {
			processFail(err)
		}
		if _, err := orders.WriteString(o.do(strings.Split(string(buffer[:n]), "\x00"))); err !=
			nil {
			processFail(err)
		}
	}
}

// takeFile takes a file as it says inside.
func takeFile(_ string, f *os.File) error {
	text, err := readFile(f)
	if text == "panic" {
		panic(text)
	}
	if text != "take" {
		return fmt.Errorf("%q, %w", text, err)
	}
	return nil
}

func readFile(f *os.File) (string, error) {
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1024))
	return string(text), err
}

func answerLinks(h *Handover) {
	for {
		link, err := h.Link(context.Background())
		if err != nil {
			processFail(err)
		}
		go func() {
			buffer := make([]byte, 4096)
			for {
				n, err := link.Conn.Read(buffer)
				if err != nil {
					_ = link.Conn.Close()
					return
				}
				_, _ = fmt.Fprintf(link.Conn, "%s says %s", link.Name, buffer[:n])
			}
		}()
	}
}

type obedient struct {
	h     *Handover
	links map[string]net.Conn
	held  []int // descriptors, to have no more
}

// do carries out an order; "ok" and "refused: …" are what the tests look for.
func (o *obedient) do(words []string) string {
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch words[0] {
	case "ask":
		return o.ask(arg(1), arg(2))
	case "serve":
		return outcome(o.serve(arg(1)))
	case "start":
		return outcome(o.h.Start(arg(1)))
	case "stop":
		return outcome(o.h.Stop(arg(1)))
	case "break":
		o.breakRule(arg(1))
		return "broken"
	case "confine":
		return outcome(o.h.Confine())
	case "exhaust":
		return outcome(o.exhaust(arg(1)))
	case "file":
		f, err := o.h.File(arg(1))
		if err != nil {
			return outcome(err)
		}
		text, err := readFile(f)
		return cmp.Or(text, outcome(err))
	case "release":
		closeAll(o.held)
		o.held = nil
		return "ok"
	default:
		return outcome(attempt(words[0], arg(1)))
	}
}

func outcome(err error) string {
	if err != nil {
		return "refused: " + err.Error()
	}
	return "ok"
}

// ask speaks to the named link, on the newest one that works.
func (o *obedient) ask(name, text string) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		conn := o.links[name]
		if conn == nil {
			link, err := o.h.Link(ctx)
			if err != nil {
				return outcome(err)
			}
			if old := o.links[link.Name]; old != nil {
				_ = old.Close()
			}
			o.links[link.Name] = link.Conn
			continue
		}
		buffer := make([]byte, 4096)
		if _, err := io.WriteString(conn, text); err == nil {
			if n, err := conn.Read(buffer); err == nil {
				return string(buffer[:n])
			}
		}
		_ = conn.Close()
		delete(o.links, name)
	}
}

// exhaust opens what may be opened, but for some.
func (o *obedient) exhaust(free string) error {
	for {
		fd, err := unix.Dup(0)
		if errors.Is(err, unix.EMFILE) {
			break
		}
		if err != nil {
			return err
		}
		o.held = append(o.held, fd)
	}
	n, err := strconv.Atoi(free)
	if err != nil {
		return err
	}
	kept := len(o.held) - n
	closeAll(o.held[kept:])
	o.held = o.held[:kept]
	return nil
}

func (o *obedient) serve(name string) error {
	l, err := o.h.Listener(name)
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(conn, "hello from %s\n", o.h.Name())
			_ = conn.Close()
		}
	}()
	return nil
}

func (o *obedient) breakRule(rule string) {
	switch rule {
	case "ready twice":
		_ = o.h.Ready()
	case "flood":
		for range 1000 {
			_ = o.h.Start("board")
		}
	case "descriptor":
		_ = o.h.ctl.send(message{msgStart, "board"}, 0)
	case "garbage":
		_ = o.h.ctl.sendRaw([]byte{200, 1, 2, 3}, nil)
	case "hang up":
		o.h.ctl.close()
	}
}

// attempt tries what a part should not be able to do, or only where its rights say so.
func attempt(what, arg string) error {
	switch what {
	case "read":
		_, err := os.ReadFile(arg)
		return err
	case "list":
		_, err := os.ReadDir(arg)
		return err
	case "write":
		return os.WriteFile(arg, []byte("x"), 0o600)
	case "signal":
		pid, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		return syscall.Kill(pid, syscall.SIGUSR1)
	case "dial":
		conn, err := net.DialTimeout("tcp", arg, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err
	case "dial listed":
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err := Dial(ctx, "tcp", arg)
		if err != nil {
			if errors.Is(err, ErrNotListed) {
				err = errors.New("not listed")
			}
			return err
		}
		_, err = io.Copy(io.Discard, conn)
		return errors.Join(err, conn.Close())
	case "dial unix":
		conn, err := net.DialTimeout("unix", arg, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err
	case "listen":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			_ = l.Close()
		}
		return err
	case "udp":
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err == nil {
			_ = c.Close()
		}
		return err
	case "exec":
		return exec.Command("/proc/self/exe", "nothing").Run()
	case "exec program":
		return exec.Command(arg).Run()
	case "rlimit":
		resource, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		var own unix.Rlimit
		if err := unix.Getrlimit(resource, &own); err != nil {
			return err
		}
		return fmt.Errorf("%d %d", own.Cur, own.Max)
	case "take":
		return takeAll(arg)
	case "descriptors":
		return surplusDescriptors()
	case "capable":
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&header, &data[0]); err != nil {
			return err
		}
		if data[0].Effective|data[1].Effective|data[0].Permitted|data[1].Permitted == 0 {
			return errors.New("no capability")
		}
		return nil
	default:
		return attemptCall(what, arg)
	}
}

// cling is a part that does what it can to outlive its monitor, and uses nothing of the package's
// for it.
func cling(args []string) {
	if len(args) == 0 {
		// exec on another thread than the first loses the wish to die with the parent.
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread()
			if unix.Gettid() != os.Getpid() {
				_ = syscall.Exec("/proc/self/exe",
					[]string{"cling", "cling", "again"}, os.Environ())
			}
		}()
		<-done
	}
	//nolint:dogsled // it is refused, and that is seen elsewhere
	_, _, _ = syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, 0, 0)
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGCONT), 0, 0, 0)
	_ = syscall.Kill(1, syscall.SIGKILL)
	_ = syscall.Kill(1, syscall.SIGSTOP)
	ready := message{msgReady, ""}
	_ = unix.Sendto(fdControl, ready.encode(), 0, nil)
	away, err := unix.Dup(fdControl)
	if err == nil {
		_ = unix.Close(fdControl)
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	for range 3 { // each in a session of its own, the last ones with no parent left but init
		_ = attemptCall("fork", "")
	}
	for away >= 0 {
		_ = unix.Pause()
	}
}

// takeAll takes of one thing until the kernel says no, and at most far over the default; nil means
// that it never did.
func takeAll(what string) error {
	switch what {
	case "processes":
		var children []int
		defer func() {
			for _, pid := range children {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}()
		for range 4 * defaultProcesses {
			pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
			if pid == 0 && errno == 0 {
				for {
					_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
				}
			}
			if errno != 0 {
				return errno
			}
			children = append(children, int(pid))
		}
	case "memory", "shared memory":
		flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
		if what == "shared memory" {
			flags = unix.MAP_SHARED | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
		}
		var taken [][]byte
		defer func() {
			for _, b := range taken {
				_ = unix.Munmap(b)
			}
		}()
		for range 64 { // never touched, so it costs the machine nothing
			b, err := unix.Mmap(-1, 0, 256<<20, unix.PROT_READ|unix.PROT_WRITE, flags)
			if err != nil {
				return err
			}
			taken = append(taken, b)
		}
	}
	return nil
}

// attemptCall tries bare system calls.
func attemptCall(what, arg string) error {
	var errno syscall.Errno
	switch what {
	case "ptrace":
		pid, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		_, _, errno = unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_ATTACH,
			uintptr(pid), 0, 0, 0, 0)
	case "unshare":
		_, _, errno = unix.RawSyscall(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0)
	case "clone":
		_, _, errno = unix.RawSyscall6(unix.SYS_CLONE,
			unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	case "clone3":
		_, _, errno = unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
		if errno != unix.ENOSYS {
			return nil
		}
	case "mount":
		return unix.Mount("tmpfs", "/", "tmpfs", 0, "")
	case "setuid":
		_, _, errno = unix.RawSyscall(unix.SYS_SETRESUID, 0, 0, 0)
	case "execveat":
		empty := [1]byte{}
		_, _, errno = unix.RawSyscall6(unix.SYS_EXECVEAT, ^uintptr(0),
			uintptr(unsafe.Pointer(&empty[0])), 0, 0, 0, 0)
	case "fork":
		// A child in a session of its own that never ends by itself, made without exec.
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if pid == 0 && errno == 0 {
			_, _, _ = unix.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
			for {
				_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
			}
		}
		if errno != 0 {
			return errno
		}
		return nil
	case "memfd", "shmget", "msgget", "semget", "vmsplice":
		err := makeUncounted(what)
		if !errors.Is(err, unix.EPERM) {
			return nil
		}
		return err
	case "memfd_secret":
		_, _, errno = unix.RawSyscall(447, 0, 0, 0) // on all architectures that have it
		if errno != unix.EPERM {
			return nil
		}
	case "io_uring":
		_, _, errno = unix.RawSyscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
		if errno != unix.EPERM {
			return nil
		}
	case "netlink":
		_, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0)
		return err
	case "mptcp":
		_, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
		return err
	case "reuse listener":
		return reuseListener(arg)
	default:
		return fmt.Errorf("no such order: %s", what)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// makeUncounted makes memory that no rlimit counts, and gives it back.
func makeUncounted(what string) error {
	const create = 0o600
	var id uintptr
	var errno syscall.Errno
	switch what {
	case "memfd":
		fd, err := unix.MemfdCreate("uncounted", unix.MFD_CLOEXEC)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	case "vmsplice":
		_, err := unix.Vmsplice(-1, nil, 0)
		return err
	case "shmget":
		if id, _, errno = unix.RawSyscall(unix.SYS_SHMGET, 0, 4096, create); errno == 0 {
			_, _, _ = unix.RawSyscall(unix.SYS_SHMCTL, id, unix.IPC_RMID, 0)
		}
	case "msgget":
		if id, _, errno = unix.RawSyscall(unix.SYS_MSGGET, 0, create, 0); errno == 0 {
			_, _, _ = unix.RawSyscall(unix.SYS_MSGCTL, id, unix.IPC_RMID, 0)
		}
	case "semget":
		if id, _, errno = unix.RawSyscall(unix.SYS_SEMGET, 0, 1, create); errno == 0 {
			_, _, _ = unix.RawSyscall(unix.SYS_SEMCTL, id, 0, unix.IPC_RMID)
		}
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// reuseListener turns an inherited listener, which belongs to the host's network, into a
// connection.
func reuseListener(address string) error {
	h, err := Inherited()
	if err != nil {
		return err
	}
	l, err := h.Listener("http")
	if err != nil {
		return err
	}
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	fd := int(file.Fd())
	if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
		return err
	}
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return err
	}
	sa := &unix.SockaddrInet4{Port: to.Port}
	copy(sa.Addr[:], to.IP.To4())
	if err := unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, sa); err == nil {
		return nil
	}
	return unix.Connect(fd, sa)
}

// surplusDescriptors is nil where a descriptor is open that nobody handed over on purpose: it looks
// at sockets, pipes and files that are not the runtime's own.
func surplusDescriptors() error {
	for fd := range 1024 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil {
			continue
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG || st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return nil
		}
	}
	return errors.New("none")
}

// runMonitor is a monitor in a process of its own. It prints the numbers of its parts and stays.
func runMonitor(mode string) {
	if mode == "gate" { // wait for the others
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	sep := Probe(context.Background())
	switch {
	case mode == "cling inside":
		sep = Separation{Mode: ByNamespace, flags: allFlags(), mounts: true}
	case !strings.HasPrefix(mode, "cling") && mode != "best" && sep.Mode == ByUser:
		sep = Separation{Mode: ByUser}
	}
	if mode != "best" && !strings.HasPrefix(mode, "cling") && sep.Mode == ByNamespace {
		sep = Separation{}
	}
	m := &Monitor{
		Front:      Part{Args: []string{"obey", "ready"}},
		Backs:      []Part{{Name: "board", Args: []string{"obey", "ready"}}},
		Separation: &sep,
	}
	for _, p := range []*Part{&m.Front, &m.Backs[0]} {
		r, w, err := os.Pipe()
		if err != nil {
			processFail(err)
		}
		p.Files = map[string]*os.File{"orders": r}
		defer func() { _ = w.Close() }() // open meanwhile, so that the part waits for orders
	}
	if mode == "asleep" {
		m.Front.Args, m.Backs[0].Args = []string{"sleep"}, []string{"sleep"}
	}
	if strings.HasPrefix(mode, "cling") {
		m.Front.Args, m.Backs[0].Args = []string{"cling"}, []string{"cling"}
	}
	go func() { // ends with the process
		for {
			m.state.Lock()
			changed, table := m.state.watch(), m.state.table
			m.state.Unlock()
			if len(table) == 3 && table[1].Held != nil && table[2].Held != nil &&
				(mode == "asleep" || allReady(table)) {
				fmt.Println(table[1].PID, table[2].PID)
				return
			}
			<-changed
		}
	}()
	if err := m.Run(context.Background()); err != nil {
		processFail(err)
	}
}
