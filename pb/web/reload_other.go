//go:build !unix

package web

import "syscall"

// reopenSignal is one that does not come here.
const reopenSignal = syscall.SIGALRM
