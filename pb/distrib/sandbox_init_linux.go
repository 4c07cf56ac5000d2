package distrib

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A part in a process namespace of its own is not process 1 of it: this program, as init, is. Init
// starts the part, waits, and runs nothing of the program's, so that what it asked of the kernel
// stays: SIGKILL when the monitor's thread ends. When init ends the kernel kills whatever is left
// in the namespace, children in sessions of their own as well. The kernel keeps SIGKILL and SIGSTOP
// from inside away from process 1, and where each part has a user of its own init has another.

const (
	fdGate = 5 // read to its end by the part before it goes on; open only where an init starts it

	exitBySignal = 128 // plus the number, as shells have it: how init tells what ended the part
)

// becomeInit starts the part and ends when it has ended. It returns only what went wrong.
func becomeInit() error {
	if err := dieWithMonitor(); err != nil {
		return err
	}
	// No other process may look into this one or change it, whatever user they share.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	var gate [2]int
	if err := unix.Pipe2(gate[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	pidfd := -1
	//nolint:gosec // this program, as it was called
	part, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{
		Dir:   "/",
		Env:   append(DefaultEnv(), envChild+"="+childConfine),
		Files: []uintptr{0, 1, 2, fdControl, fdProgram, uintptr(gate[0])},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	})
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	// Only now, or the part would ignore them as well. They are for it, and it has them of its own.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1,
		unix.SIGUSR2, unix.SIGPIPE)
	if pidfd < 0 {
		return errors.New("init: the kernel has no descriptors of processes")
	}
	born := message{msgBorn, "part"}
	if err := unix.Sendmsg(fdControl, born.encode(), unix.UnixRights(pidfd), nil,
		unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	// The gate's end among them: the part goes on. The control socket as well, whose end is the
	// part's end. Not simply all from there on: the runtime may have its poller open already, as
	// some package's init uses it, and dies without.
	for _, fd := range []int{fdControl, fdProgram, gate[0], gate[1], pidfd} {
		_ = unix.Close(fd)
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if pid != part && (err == nil || errors.Is(err, unix.EINTR)) {
			continue // what the part left behind
		}
		code := status.ExitStatus()
		if status.Signaled() {
			code = exitBySignal + int(status.Signal())
		}
		if err != nil {
			code = exitConfine
		}
		// Not os.Exit: the race detector sleeps a second in it.
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(code), 0, 0)
	}
}

// waitForGate waits until init has told the monitor which process the part is.
func waitForGate() error {
	var b [1]byte
	for {
		n, err := unix.Read(fdGate, b[:])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("gate: %w", err)
		case n == 0:
			return nil
		}
	}
}

// pidOf returns the number of the process that a descriptor stands for, 0 if there is none any
// more.
func pidOf(pidfd int) (int, error) {
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, fmt.Errorf("distrib: the number of a process: %w", err)
	}
	pid, ok := statusLine(string(text), "Pid")
	if !ok {
		return 0, errors.New("distrib: the number of a process: no line Pid")
	}
	if pid == "-1" {
		return 0, nil // it has ended, and been waited for
	}
	n, err := strconv.Atoi(pid)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("distrib: the number of a process: %q", pid)
	}
	return n, nil
}

// exitText says how a part ended by what its init ended with.
func exitText(state *os.ProcessState) string {
	if code := state.ExitCode(); code > exitBySignal {
		return "signal: " + syscall.Signal(code-exitBySignal).String()
	}
	return state.String()
}

// initChild is what RunChild does in an init; it does not return.
func initChild() {
	runtime.LockOSThread()
	failChild(becomeInit())
}

// failChild tells the monitor why there will be no part.
func failChild(err error) {
	failure := message{msgFailed, err.Error()}
	_ = unix.Sendto(fdControl, failure.encode(), unix.MSG_NOSIGNAL, nil)
	os.Exit(exitConfine)
}
