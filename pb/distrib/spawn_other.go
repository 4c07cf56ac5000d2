//go:build !linux

package distrib

import (
	"context"
	"io"
	"log/slog"
)

// RunChild is the first thing main calls in a program with a Monitor. Here it does nothing.
func RunChild() { ranChild.Store(true) }

// Probe finds out what the kernel can do to hold parts apart. Here it is nothing.
func Probe(context.Context) Separation {
	return Separation{Mode: NotSeparated, Reason: ErrUnsupported.Error()}
}

func newLauncher(Separation, io.Writer, *slog.Logger) (launcher, error) {
	return nil, ErrUnsupported
}

func allFlags() uintptr { return 0 }

// reservations hold user ids for one monitor; there are none here.
type reservations struct{}

func openReservations() (*reservations, error)  { return nil, ErrUnsupported }
func (*reservations) take(uint32) (bool, error) { return false, ErrUnsupported }
func (*reservations) give(uint32) error         { return ErrUnsupported }
func (*reservations) close() error              { return nil }

func rememberedID(*Part) uint32             { return 0 }
func makeFolders(Separation, []*Part) error { return nil }

// GivesFolder says whether Run gives what is at a path of Rights.Write to a part that names no UID.
// Here it is never.
func GivesFolder(string) bool { return false }

func usedIDs() (map[uint32]bool, error) { return nil, ErrUnsupported }
