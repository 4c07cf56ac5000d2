package distrib

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

var archCalls = []uint32{
	unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_USELIB, unix.SYS_MODIFY_LDT,
	unix.SYS_LOOKUP_DCOOKIE,
	unix.SYS_MEMFD_SECRET,
}
