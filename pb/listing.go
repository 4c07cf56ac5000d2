package pb

import (
	"context"

	"perspective/jelly"
)

func init() { jelly.Register[MethodInfo]("pb.MethodInfo") }

// Methods asks the peer what may be called on r, sorted by name. Of the root
// of a node with a Portal it tells nothing before the login.
func (r *RemoteReference) Methods(ctx context.Context) ([]MethodInfo, error) {
	var of any // nil is the root
	if r != r.conn.root {
		of = r
	}
	return Do[[]MethodInfo](ctx, r.conn.boot, "methods", of)
}

// RemoteMethods is the answering side of RemoteReference.Methods. A peer that can name an object
// holds a reference to it, so this tells nothing that calls would not tell.
func (b *boot) RemoteMethods(_ context.Context, of any) ([]MethodInfo, error) {
	c := b.conn
	<-c.ready
	if of == nil {
		root, err := c.rootObject()
		if err != nil {
			return nil, err
		}
		of = root
	}
	s, err := surfaceOf(of)
	if err != nil {
		return nil, err
	}
	return s.infos(), nil
}
