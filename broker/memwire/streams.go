package memwire

import (
	"context"

	"perspective/broker/wire"
)

// OpenStream gives ErrTooManyStreams: there are no byte streams.
func (w *Wire) OpenStream(context.Context) (wire.Stream, error) {
	return nil, wire.ErrTooManyStreams
}

// ClaimStream gives ErrNoSuchStream: the other end opens none.
func (w *Wire) ClaimStream(uint64) (wire.Stream, error) { return nil, wire.ErrNoSuchStream }

// SettleStream is false: no stream is kept.
func (w *Wire) SettleStream(uint64, bool) bool { return false }

// StreamWaits does nothing.
func (w *Wire) StreamWaits(uint64, wire.Waiter) {}

// EndStreams does nothing.
func (w *Wire) EndStreams([]uint64, error) {}

// FailStreams does nothing.
func (w *Wire) FailStreams([]uint64) {}

// CancelStreams does nothing.
func (w *Wire) CancelStreams([]uint64) {}

// StreamStopped takes every STOP for one that crossed the end of its stream.
func (w *Wire) StreamStopped(uint64) error { return nil }

// CountStreams finds none.
func (w *Wire) CountStreams() (open, unread int) { return 0, 0 }
