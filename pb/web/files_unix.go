//go:build unix

package web

import "syscall"

// withoutWaiting opens what might wait for another process without doing so.
const withoutWaiting = syscall.O_NONBLOCK
