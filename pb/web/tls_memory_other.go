//go:build !linux

package web

import "perspective/pb/distrib"

// newMemory is for the monitor, which needs Linux anyway.
func newMemory(string) (*memory, error) { return nil, distrib.ErrUnsupported }
