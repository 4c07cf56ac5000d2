package distrib

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A dialer is a process beside a part that has a list of addresses (Rights.Dial): this program, as
// a user of its own, with the host's network and the files that names are looked up in, and with
// nothing else. It connects to what is in the list and hands the connection over. What a part
// sends is hostile: the first thing that breaks the rules ends the dialer, and the monitor starts
// another after a wait, which costs that part alone.

// resolverFiles are read where they exist.
var resolverFiles = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"}

// dialerChild is what RunChild does in a dialer; it returns what went wrong.
func dialerChild() error {
	h, err := Inherited()
	if err != nil {
		return err
	}
	if err := forbidExec(); err != nil {
		return err
	}
	d := newDialer(os.Args[1:])
	if err := h.Ready(); err != nil {
		return err
	}
	broken := make(chan error, 1)
	go func() { // ends with the process
		for {
			socket, err := h.dialer.take(context.Background())
			if err != nil {
				return
			}
			// Ends with its socket: while a part restarts both its lives have one.
			go func() {
				if err := d.serve(socket); err != nil {
					select {
					case broken <- err:
					default:
					}
				}
			}()
		}
	}()
	return <-broken
}

// dialer connects for one part. Its fields are not changed once it serves.
type dialer struct {
	list map[string]bool
	net  net.Dialer
}

func newDialer(list []string) *dialer {
	d := &dialer{list: map[string]bool{}}
	for _, address := range list {
		d.list[address] = true
	}
	d.net.Timeout = dialTimeout
	d.net.Resolver = &net.Resolver{PreferGo: true}
	// Landlock's rules for TCP do not know it, and the part's filter refuses it.
	d.net.SetMultipathTCP(false)
	return d
}

// dialing is what the dialer does for one socket.
type dialing struct {
	*dialer

	socket *control
	dials  sync.WaitGroup

	mu      sync.Mutex
	running map[uint64]context.CancelFunc
}

// serve answers requests until the socket ends, and returns an error where the part broke the
// rules. No dial is under way when it returns.
func (d *dialer) serve(socket *control) error {
	s := &dialing{dialer: d, socket: socket, running: map[uint64]context.CancelFunc{}}
	ctx, cancel := context.WithCancel(context.Background())
	defer s.dials.Wait()
	defer cancel()
	defer socket.close()
	buffer := make([]byte, 9+maxDialText+1)
	for {
		// Without room for rights the kernel drops what a part sends.
		n, _, flags, _, err := socket.conn.ReadMsgUnix(buffer, nil)
		if err != nil {
			return nil // the part has ended, or has another socket
		}
		if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
			return fmt.Errorf("%w: a request too long, or with a descriptor", errDial)
		}
		m, network, address, err := decodeDialRequest(buffer[:n])
		if err != nil {
			return err
		}
		if m.code == dialCancel {
			s.cancel(m.id)
			continue
		}
		err = s.begin(ctx, m.id, network, address)
		if errors.Is(err, errDial) {
			return err
		}
		if err != nil {
			return nil // as above
		}
	}
}

// begin starts a dial, or answers at once that there will be none.
func (s *dialing) begin(ctx context.Context, id uint64, network, address string) error {
	if !s.list[address] {
		return s.answer(dialMessage{id: id, code: dialUnlisted}, -1)
	}
	s.mu.Lock()
	_, twice := s.running[id]
	// Twice as many, for a part may read an answer before the dial is over here.
	busy := len(s.running) >= 2*maxDials
	if !twice && !busy {
		ctx, cancel := context.WithCancel(ctx)
		s.running[id] = cancel
		s.dials.Go(func() { s.dial(ctx, id, network, address) }) // ends with ctx, or its time
	}
	s.mu.Unlock()
	switch {
	case twice:
		return fmt.Errorf("%w: two dials have one number", errDial)
	case busy:
		return s.answer(dialMessage{id: id, code: dialBusy}, -1)
	}
	return nil
}

func (s *dialing) cancel(id uint64) {
	s.mu.Lock()
	cancel := s.running[id]
	s.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

func (s *dialing) dial(ctx context.Context, id uint64, network, address string) {
	defer func() { // only now: it counts until the part has taken the answer
		s.cancel(id)
		s.mu.Lock()
		delete(s.running, id)
		s.mu.Unlock()
	}()
	conn, err := s.net.DialContext(ctx, network, address)
	if err != nil {
		_ = s.answer(dialAnswer(id, err), -1) // an error is the end of the socket, which serve sees
		return
	}
	defer func() { _ = conn.Close() }()
	if err := withDescriptor(conn, func(fd int) error {
		return s.answer(dialAnswer(id, nil), fd)
	}); err != nil {
		_ = s.answer(dialAnswer(id, err), -1)
	}
}

// answer waits while the part does not read: its dials wait with it, and the reader with them.
func (s *dialing) answer(m dialMessage, fd int) error {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	return s.socket.write(m.encode(), rights, func(err error) bool {
		return !errors.Is(err, syscall.EAGAIN)
	})
}
