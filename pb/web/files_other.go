//go:build !unix

package web

// withoutWaiting opens what might wait for another process without doing so.
const withoutWaiting = 0
