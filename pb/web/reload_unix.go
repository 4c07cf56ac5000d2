//go:build unix

package web

import "syscall"

// reopenSignal has the access log opened anew.
const reopenSignal = syscall.SIGUSR1
