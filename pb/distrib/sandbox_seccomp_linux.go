package distrib

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The filters are deny lists for a Go program that serves: they take away what reaches other
// processes, the kernel's machinery, and new namespaces. The kernel remembers which system calls
// are always allowed, so they cost little.

// deniedCalls is refused to every part. What exists on one architecture only is in archCalls.
var deniedCalls = append([]uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
	unix.SYS_PROCESS_MADVISE, unix.SYS_KCMP,
	unix.SYS_PIDFD_GETFD,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_FSOPEN,
	unix.SYS_FSCONFIG,
	unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE,
	unix.SYS_MOUNT_SETATTR,
	unix.SYS_UNSHARE, unix.SYS_SETNS,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL,
	unix.SYS_SYSLOG,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_FANOTIFY_INIT,
}, archCalls...)

// uncountedCalls make memory that stays without being mapped anywhere, so that neither RLIMIT_DATA
// nor RLIMIT_AS counts it: files in memory, what System V keeps by key, and pages that a pipe holds
// when they are unmapped. memfd_secret, which not all architectures have, is in archCalls.
var uncountedCalls = []uint32{unix.SYS_MEMFD_CREATE, unix.SYS_SHMGET, unix.SYS_MSGGET,
	unix.SYS_SEMGET, unix.SYS_VMSPLICE}

// newNamespaces are the flags of clone that make namespaces. clone3 keeps its flags in memory where
// no filter sees them, so it does not exist for a part; the Go runtime and libc then use clone.
const newNamespaces = unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWNET |
	unix.CLONE_NEWNS | unix.CLONE_NEWPID |
	unix.CLONE_NEWUSER | unix.CLONE_NEWUTS

const (
	dataNumber = 0  // offsetof(struct seccomp_data, nr)
	dataArch   = 4  // …, arch)
	dataArgs   = 16 // …, args), eight bytes each, the low half first on the machines in auditArch
	x32Bit     = 0x40000000
)

// program is a filter in the making.
type program []unix.SockFilter

func (f *program) statement(code uint16, k uint32) {
	*f = append(*f, unix.SockFilter{Code: code, K: k})
}

func (f *program) jump(code uint16, k uint32, yes, no uint8) {
	*f = append(*f, unix.SockFilter{Code: code | unix.BPF_JMP | unix.BPF_K, Jt: yes, Jf: no, K: k})
}

func (f *program) load(offset uint32) {
	f.statement(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset)
}

func (f *program) refuse(errno unix.Errno) {
	//nolint:gosec // small
	f.statement(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_ERRNO|uint32(errno))
}

func (f *program) accept() { f.statement(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_ALLOW) }

// begin refuses calls by another architecture's numbers and leaves the number loaded.
func (f *program) begin() {
	f.load(dataArch)
	f.jump(unix.BPF_JEQ, auditArch, 1, 0)
	f.refuse(unix.EPERM)
	f.load(dataNumber)
	if runtime.GOARCH == "amd64" {
		f.jump(unix.BPF_JGE, x32Bit, 0, 1)
		f.refuse(unix.EPERM)
	}
}

func (f *program) deny(call uint32, errno unix.Errno) {
	f.jump(unix.BPF_JEQ, call, 0, 1)
	f.refuse(errno)
}

// denyBits refuses a call where the low half of an argument has any of the bits.
func (f *program) denyBits(call uint32, arg int, bits uint32) {
	f.jump(unix.BPF_JEQ, call, 0, 4)
	f.load(dataArgs + 8*uint32(arg)) //nolint:gosec // 0 to 5
	f.jump(unix.BPF_JSET, bits, 0, 1)
	f.refuse(unix.EPERM)
	f.load(dataNumber)
}

// keepDeathSignal refuses to take back or weaken the SIGKILL at the end of the parent. A program
// that asks it for its own children may, as it asks for SIGKILL.
func (f *program) keepDeathSignal() {
	f.jump(unix.BPF_JEQ, unix.SYS_PRCTL, 0, 6)
	f.load(dataArgs)
	f.jump(unix.BPF_JEQ, unix.PR_SET_PDEATHSIG, 0, 3)
	f.load(dataArgs + 8)
	f.jump(unix.BPF_JEQ, uint32(unix.SIGKILL), 1, 0)
	f.refuse(unix.EPERM)
	f.load(dataNumber)
}

// partFilter is the filter of a part.
func partFilter(r Rights) program {
	net := r.Net
	var f program
	f.begin()
	for _, call := range deniedCalls {
		f.deny(call, unix.EPERM)
	}
	if !r.UncountedMemory {
		for _, call := range uncountedCalls {
			f.deny(call, unix.EPERM)
		}
	}
	f.deny(unix.SYS_CLONE3, unix.ENOSYS)
	f.denyBits(unix.SYS_CLONE, 0, newNamespaces)
	f.keepDeathSignal()
	if !net {
		// An inherited listener belongs to the host's network. Shut down it could connect or listen
		// anew, also by TCP fast open, so these go as well.
		f.deny(unix.SYS_CONNECT, unix.EPERM)
		f.deny(unix.SYS_BIND, unix.EPERM)
		f.deny(unix.SYS_LISTEN, unix.EPERM)
		f.denyBits(unix.SYS_SENDTO, 3, unix.MSG_FASTOPEN)
		f.denyBits(unix.SYS_SENDMSG, 2, unix.MSG_FASTOPEN)
		f.denyBits(unix.SYS_SENDMMSG, 3, unix.MSG_FASTOPEN)
	}
	f.sockets(net)
	return f
}

// sockets ends the filter: AF_UNIX for all parts, AF_INET and AF_INET6 for one with the network,
// but neither MPTCP, which Landlock's rules for TCP do not know, nor SCTP.
func (f *program) sockets(net bool) {
	f.jump(unix.BPF_JEQ, unix.SYS_SOCKET, 1, 0)
	f.accept()
	f.load(dataArgs)
	f.jump(unix.BPF_JEQ, unix.AF_UNIX, 0, 1)
	f.accept()
	if net {
		f.jump(unix.BPF_JEQ, unix.AF_INET, 2, 0)
		f.jump(unix.BPF_JEQ, unix.AF_INET6, 1, 0)
		f.refuse(unix.EPERM)
		f.load(dataArgs + 8*2)
		f.deny(unix.IPPROTO_MPTCP, unix.EPROTONOSUPPORT)
		f.deny(unix.IPPROTO_SCTP, unix.EPROTONOSUPPORT)
		f.accept()
	}
	f.refuse(unix.EPERM)
}

// loadFilter puts a filter in force on this thread, with SECCOMP_FILTER_FLAG_TSYNC on all. It says
// false where the kernel has no filters or the architecture is not known here.
func loadFilter(f program, flags uintptr) (bool, error) {
	if auditArch == 0 {
		return false, nil
	}
	list := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]} //nolint:gosec // some hundred
	result, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(&list)))
	runtime.KeepAlive(f)
	if errors.Is(errno, unix.ENOSYS) || errors.Is(errno, unix.EINVAL) {
		return false, nil
	}
	if errno != 0 {
		return false, fmt.Errorf("seccomp: %w", errno)
	}
	if result != 0 {
		return false, fmt.Errorf("seccomp: thread %d has filters of its own", result)
	}
	return true, nil
}

// forbidExec takes execve from all threads of this process, for good.
func forbidExec() error {
	var f program
	f.begin()
	f.deny(unix.SYS_EXECVE, unix.EPERM)
	f.deny(unix.SYS_EXECVEAT, unix.EPERM)
	f.accept()
	if _, err := loadFilter(f, unix.SECCOMP_FILTER_FLAG_TSYNC); err != nil {
		return fmt.Errorf("distrib: confine: %w", err)
	}
	return nil
}
