package distrib

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// dialEnd is this process's end of the socket between a part and its dialer: in the part for Dial,
// in the dialer for what serves it. The monitor replaces it whenever either starts again. The zero
// value has none yet.
type dialEnd struct {
	mu      sync.Mutex
	socket  *control
	client  *dialClient   // over socket, once one was asked for
	changed chan struct{} // closed at the next change; nil: nobody waits
	lost    bool          // it came while there was no descriptor free
}

// put takes over a new socket, in place of the last.
func (d *dialEnd) put(f *os.File) {
	socket, err := controlOf(f)
	if err != nil { // it makes a copy, for which there may be no descriptor
		d.missed()
		return
	}
	d.mu.Lock()
	old, client := d.socket, d.client
	d.socket, d.client, d.lost = socket, nil, false
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
	d.mu.Unlock()
	if old != nil {
		old.close()
	}
	if client != nil {
		client.readers.Wait()
	}
}

func (d *dialEnd) watch() <-chan struct{} {
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return d.changed
}

// take waits for a socket and keeps it. The dialer serves one after another.
func (d *dialEnd) take(ctx context.Context) (*control, error) {
	for {
		d.mu.Lock()
		socket, changed := d.socket, d.watch()
		d.socket = nil
		d.mu.Unlock()
		if socket != nil {
			return socket, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// get waits for a socket that works, and returns what asks the dialer over it. When the last one
// ended for a reason of this end's, ask asks the monitor for another.
func (d *dialEnd) get(ctx context.Context, ask func() error) (*dialClient, error) {
	for {
		d.mu.Lock()
		changed, lost := d.watch(), d.lost
		if d.socket != nil && d.client == nil {
			d.client = newDialClient(d.socket)
		}
		client := d.client
		if client != nil && client.over() {
			lost, client = client.tellOnce() || lost, nil
		}
		d.lost = false
		d.mu.Unlock()
		if client != nil {
			return client, nil
		}
		if lost {
			if err := ask(); err != nil {
				return nil, err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// missed notes that a socket came for which there was no descriptor.
func (d *dialEnd) missed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lost = true
}

// dial asks the dialer, and the next one where that ends.
func (h *Handover) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if h.network != networkList || !dialNetwork(network) ||
		len(network)+1+len(address) > maxDialText {
		return nil, ErrNotListed
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for try := 1; ; try++ {
		client, err := h.dialer.get(ctx, func() error {
			return h.ctl.sendSurely(message{msgDialEnded, ""})
		})
		if err != nil {
			return nil, err
		}
		conn, err := client.dial(ctx, network, address)
		if !errors.Is(err, errDialerGone) || try == maxDialTries {
			return conn, err
		}
	}
}

// dialClient asks a dialer over one socket. It ends with the socket.
type dialClient struct {
	socket  *control
	places  chan struct{} // holds a token for each dial that is not answered
	readers sync.WaitGroup

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]*dialWait
	ended   chan struct{} // closed when nothing more is answered
	broken  error         // why this end closed it; nil: the dialer did
	told    bool
}

// dialWait is a dial under way. Of one that nobody waits for any more the answer is put away.
type dialWait struct {
	answer    chan dialed // has room for it
	abandoned bool
}

type dialed struct {
	dialMessage

	fd int // -1: none
}

func newDialClient(socket *control) *dialClient {
	c := &dialClient{socket: socket, places: make(chan struct{}, maxDials),
		waiting: map[uint64]*dialWait{}, ended: make(chan struct{})}
	c.readers.Go(c.read) // ends when the socket does
	return c
}

func (c *dialClient) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// tellOnce says once whether this end closed the socket, which the monitor cannot know.
func (c *dialClient) tellOnce() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	tell := c.broken != nil && !c.told
	c.told = true
	return tell
}

// fail ends the socket because of what the dialer did.
func (c *dialClient) fail(err error) {
	c.mu.Lock()
	if c.broken == nil {
		c.broken = err
	}
	c.mu.Unlock()
	c.socket.close()
}

func (c *dialClient) dial(ctx context.Context, network, address string) (net.Conn, error) {
	select {
	case c.places <- struct{}{}: // given back with the answer
	case <-c.ended:
		return nil, errDialerGone
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	wait := &dialWait{answer: make(chan dialed, 1)}
	c.mu.Lock()
	c.next++
	id := c.next
	c.waiting[id] = wait
	c.mu.Unlock()
	request := dialMessage{id, dialAsk, network + " " + address}
	if err := c.socket.sendRaw(request.encode(), nil); err != nil {
		c.fail(err) // also where it is full: the dialer does not read
		return nil, errDialerGone
	}
	select {
	case a := <-wait.answer:
		return a.conn(address)
	case <-c.ended:
	case <-ctx.Done():
	}
	c.mu.Lock()
	wait.abandoned = true
	c.mu.Unlock()
	select {
	case a := <-wait.answer: // meanwhile
		return a.conn(address)
	default:
	}
	if err := ctx.Err(); err != nil {
		_ = c.socket.sendRaw(dialMessage{id: id, code: dialCancel}.encode(), nil)
		return nil, err
	}
	return nil, errDialerGone
}

// conn is the connection that came with an answer.
func (a dialed) conn(address string) (net.Conn, error) {
	if err := a.problem(address); err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(a.fd), "connection")
	conn, err := net.FileConn(f) // a copy
	return conn, errors.Join(err, f.Close())
}

// read takes answers until the socket ends. The first that breaks the rules ends it.
func (c *dialClient) read() {
	defer close(c.ended)
	for {
		a, err := receiveDialed(c.socket)
		if err == nil {
			err = c.deliver(a)
		}
		if errors.Is(err, errDial) {
			c.fail(err)
		}
		if err != nil {
			return
		}
	}
}

// deliver owns the descriptor.
func (c *dialClient) deliver(a dialed) error {
	c.mu.Lock()
	wait, known := c.waiting[a.id]
	delete(c.waiting, a.id)
	if known && !wait.abandoned {
		wait.answer <- a
		a.fd = -1
	}
	c.mu.Unlock()
	if a.fd >= 0 {
		_ = unix.Close(a.fd)
	}
	if !known {
		return fmt.Errorf("%w: an answer that nobody waits for", errDial)
	}
	<-c.places
	return nil
}

// receiveDialed waits for an answer. What came too much, or is no connection, is closed here.
func receiveDialed(socket *control) (dialed, error) {
	a := dialed{fd: -1}
	var buffer [9 + maxDialText + 1]byte
	rights := make([]byte, unix.CmsgSpace(4))
	n, rn, flags, _, err := socket.conn.ReadMsgUnix(buffer[:], rights)
	if err != nil {
		return a, err
	}
	fds := descriptorsIn(rights[:rn])
	a.dialMessage, err = decodeDial(buffer[:n])
	switch {
	case err != nil:
	case flags&unix.MSG_TRUNC != 0 || len(fds) > 1 || (len(fds) == 1) != (a.code == dialDone):
		if a.code == dialDone && len(fds) == 0 && flags&unix.MSG_CTRUNC != 0 {
			a.code, a.text = dialFailed, errLost.Error()
			return a, nil
		}
		err = fmt.Errorf("%w: code %d with %d descriptors", errDial, a.code, len(fds))
	case flags&unix.MSG_CTRUNC != 0:
		err = fmt.Errorf("%w: more descriptors than one", errDial)
	case len(fds) == 1:
		if err = isConnection(fds[0]); err == nil {
			a.fd = fds[0]
			return a, nil
		}
	}
	closeAll(fds)
	return a, err
}

// isConnection checks that a descriptor is a TCP socket: no other may come out of Dial.
func isConnection(fd int) error {
	for _, want := range []struct{ option, value, or int }{
		{unix.SO_TYPE, unix.SOCK_STREAM, unix.SOCK_STREAM},
		{unix.SO_PROTOCOL, unix.IPPROTO_TCP, unix.IPPROTO_TCP},
		{unix.SO_DOMAIN, unix.AF_INET, unix.AF_INET6},
	} {
		got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, want.option)
		if err != nil || got != want.value && got != want.or {
			return fmt.Errorf("%w: the descriptor is no connection (%d, %w)", errDial, got, err)
		}
	}
	return nil
}
