package distrib

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A part is this program started several times over. The monitor clones it with namespaces and all
// rights, into RunChild; in a process namespace that is the init, which starts it once more.
// RunChild gives the rights away on one thread and executes the program again on that same thread,
// because what Landlock, no_new_privs and setresuid do holds for a thread, and only execve makes a
// thread the whole process. The runtime's way to reach all threads (AllThreadsSyscall) is shut in
// every binary with cgo, so in every -race one.
//
// The order is fixed, each step needs what a later one takes away:
//
//	close-on-exec audit → limits → (namespaces: clone flags) → open paths → mounts, pivot_root
//	→ groups, group, user, capabilities → parent death signal → no_new_privs → Landlock → seccomp
//	→ execveat
//
// Nothing here may call the syscall package's Setuid and the like (they go through all threads),
// nor start goroutines.

const (
	envChild     = "PB_CHILD"
	childInit    = "init"    // RunChild starts the part in this process namespace and waits for it
	childConfine = "confine" // RunChild builds the sandbox
	childDialer  = "dialer"  // RunChild is inside and dials for a part
	childProbe   = "probe"   // RunChild is inside and has nothing to do: the sandbox works

	fdControl = 3
	fdProgram = 4

	exitConfine = 70 // the sandbox could not be built; the reason went over the control socket
)

// RunChild is the first thing main (and TestMain) calls in a program that uses a Monitor or Probe.
// In a process that was started to become a part it builds the sandbox and turns into the part, so
// it does not return; otherwise it returns at once.
func RunChild() {
	ranChild.Store(true)
	switch os.Getenv(envChild) {
	case "":
		return
	case childProbe:
		// Not os.Exit: the race detector sleeps a second in it.
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	case childDialer:
		fmt.Fprintln(os.Stderr, dialerChild())
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, exitConfine, 0, 0)
	}
	if os.Getenv(envChild) == childInit {
		initChild()
	}
	runtime.LockOSThread()
	// One P, which this goroutine keeps: no new thread can come up during execveat, whose clone
	// would fail there.
	runtime.GOMAXPROCS(1)
	failChild(becomePart())
}

// becomePart returns only what went wrong.
func becomePart() error {
	p, err := receivePlan()
	if err != nil {
		return err
	}
	if p.Init {
		if err := waitForGate(); err != nil {
			return err
		}
	}
	if err := auditDescriptors(); err != nil {
		return err
	}
	x, err := executableOf(p)
	if err != nil {
		return err
	}
	if p.Unconfined {
		return becomeUnconfined(p, x)
	}
	var in report
	late, err := limit(p, &in)
	if err != nil {
		return err
	}
	paths, err := openPaths(p, x)
	if err != nil {
		return err
	}
	if p.Mounts {
		if err := buildRoot(paths); err != nil {
			return err
		}
		in.mounts = true
	} else if err := unix.Chdir("/"); err != nil {
		return err
	}
	unix.Umask(0o077) // only now: others pass through the folders of the root
	if err := becomeUser(p, x); err != nil {
		return err
	}
	if in.landlock, err = restrictFiles(p, x, paths); err != nil {
		return err
	}
	if in.seccomp, err = loadFilter(partFilter(p.Rights), 0); err != nil {
		return err
	}
	return execProgram(p, x, in, late)
}

// becomeUnconfined is becomePart without a sandbox.
func becomeUnconfined(p *plan, x *executable) error {
	if err := limitDescriptors(p.Rights.Descriptors); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	unix.Umask(0o077)
	if err := becomeUser(p, x); err != nil {
		return err
	}
	return execProgram(p, x, report{}, nil)
}

// becomeUser makes the thread the part's user for good, in its folder.
func becomeUser(p *plan, x *executable) error {
	if err := dropUser(p); err != nil {
		return err
	}
	if err := dieWithMonitor(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if err := mayExecute(p, x); err != nil {
		return err
	}
	if p.Dir == "" {
		return nil
	}
	if err := unix.Chdir(p.Dir); err != nil {
		return fmt.Errorf("start in %s (Rights.Read or Write must show it): %w", p.Dir, err)
	}
	return nil
}

func receivePlan() (*plan, error) {
	buffer := make([]byte, maxPlan+1)
	n, err := unix.Read(fdControl, buffer)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	p := new(plan)
	if err := json.Unmarshal(buffer[:n], p); err != nil {
		return nil, fmt.Errorf("plan of %d bytes: %w", n, err)
	}
	return p, nil
}

// auditDescriptors marks everything but stdin, stdout, stderr and the control socket to be closed
// by execveat: what the monitor itself inherited without the flag would otherwise pass on to every
// part.
func auditDescriptors() error {
	err := unix.CloseRange(fdControl+1, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("close_range: %w", err)
	}
	entries, err := os.ReadDir("/proc/self/fd") // kernels before 5.11
	if err != nil {
		return fmt.Errorf("descriptors: %w", err)
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > fdControl {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// dropUser gives up root or the capabilities in the user namespace, for this thread.
func dropUser(p *plan) error {
	if p.SetIDs || p.DropCaps {
		for c := range uintptr(64) {
			// Beyond the last one it is EINVAL. Without CAP_SETPCAP it is EPERM, then no_new_privs
			// has to do.
			if unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) != nil {
				break
			}
		}
		_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	}
	if p.SetIDs {
		u, g := uintptr(p.UID), uintptr(p.GID)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
			return fmt.Errorf("setgroups: %w", errno)
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, g, g, g); errno != 0 {
			return fmt.Errorf("setresgid %d: %w", p.GID, errno)
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, u, u, u); errno != 0 {
			return fmt.Errorf("setresuid %d: %w", p.UID, errno)
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 0, 0, 0); errno == 0 {
			return errors.New("setresuid: the way back to root is open")
		}
	}
	if p.SetIDs || p.DropCaps {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			return fmt.Errorf("capset: %w", err)
		}
	}
	return nil
}

// dieWithMonitor asks for SIGKILL when the parent's thread ends, the monitor's or init's. A change
// of user clears the wish, so it comes after; a monitor that died before has closed its end of the
// control socket.
func dieWithMonitor() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("parent death signal: %w", err)
	}
	poll := []unix.PollFd{{Fd: fdControl, Events: unix.POLLRDHUP}}
	if _, err := unix.Poll(poll, 0); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("poll: %w", err)
	}
	if poll[0].Revents&(unix.POLLHUP|unix.POLLRDHUP) != 0 {
		return errors.New("the monitor is gone")
	}
	return nil
}

// execProgram reports and executes the program by descriptor: its path may be out of sight, or in a
// folder this user cannot enter. The late limits hold this process too, so nothing comes between.
func execProgram(p *plan, x *executable, in report, late []lateLimit) error {
	argv, err := syscall.SlicePtrFromStrings(x.argv)
	if err != nil {
		return err
	}
	env := append(append([]string(nil), p.Env...), envControl+"="+strconv.Itoa(fdControl),
		envPart+"="+p.Name)
	if p.Rights.Exec || p.Unconfined {
		env = append(env, envKeepExec+"=1")
	}
	if p.Rights.Net || p.Unconfined {
		env = append(env, envNetwork+"="+networkAny)
	} else if len(p.Rights.Dial) > 0 {
		env = append(env, envNetwork+"="+networkList)
	}
	if p.Child != "" {
		env = append(env, envChild+"="+p.Child)
	}
	envp, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return err
	}
	empty, err := syscall.BytePtrFromString("")
	if err != nil {
		return err
	}
	done := message{msgReport, in.encode()}
	if err := unix.Sendto(fdControl, done.encode(), unix.MSG_NOSIGNAL, nil); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	for i := range late {
		if errno := late[i].set(); errno != 0 {
			return fmt.Errorf("limit %s: %w", late[i].what, errno)
		}
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(x.fd),
		uintptr(unsafe.Pointer(empty)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envp[0])), unix.AT_EMPTY_PATH, 0)
	runtime.KeepAlive(argv)
	runtime.KeepAlive(envp)
	return fmt.Errorf("execute %s: %w", x.argv[0], errno)
}
