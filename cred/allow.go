package cred

import "context"

// An AllowFunc says from the facts about a connection whether it may be there: nil lets it in,
// an error turns it away. It is called once a connection, by many goroutines at once, before
// anything the peer sent is acted upon.
type AllowFunc func(ctx context.Context, peer *Peer) error

// AllowKeys lets in the peers that proved one of these node ids. A string that is no node id
// matches nobody; ParseNodeID tells. Without any ids it lets nobody in.
func AllowKeys(ids ...string) AllowFunc {
	listed := make(map[string]bool, len(ids))
	for _, id := range ids {
		listed[id] = true
	}
	return func(_ context.Context, peer *Peer) error {
		if peer == nil {
			return ErrNotAllowed
		}
		if id := NodeIDOf(peer.Key); id == "" || !listed[id] {
			return ErrNotAllowed
		}
		return nil
	}
}

// AllowUIDs lets in the processes of these users that connect over a unix socket. Without any
// uids it lets nobody in.
func AllowUIDs(uids ...uint32) AllowFunc {
	listed := make(map[uint32]bool, len(uids))
	for _, uid := range uids {
		listed[uid] = true
	}
	return func(_ context.Context, peer *Peer) error {
		if peer == nil || !peer.HasUID || !listed[peer.UID] {
			return ErrNotAllowed
		}
		return nil
	}
}

// AllowAny lets in a peer that at least one of the functions lets in; they are asked in order until
// one does. Without any functions it lets no peer in. The error is ErrNotAllowed, or that of
// ctx if it has ended.
func AllowAny(functions ...AllowFunc) AllowFunc {
	return func(ctx context.Context, peer *Peer) error {
		for _, allow := range functions {
			if err := ctx.Err(); err != nil {
				return err
			}
			if allow(ctx, peer) == nil {
				return nil
			}
		}
		return ErrNotAllowed
	}
}

// AllowAll lets in a peer that every one of the functions lets in; the first error is the result.
// Without any functions it lets no peer in: an empty list is more likely a mistake than a welcome.
func AllowAll(functions ...AllowFunc) AllowFunc {
	return func(ctx context.Context, peer *Peer) error {
		if len(functions) == 0 {
			return ErrNotAllowed
		}
		for _, allow := range functions {
			if err := allow(ctx, peer); err != nil {
				return err
			}
		}
		return nil
	}
}
