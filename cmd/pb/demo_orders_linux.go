package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// orders is one end of a socket between the demo and the board's process, whose
// messages keep their bounds. The same socket goes to each life of the process,
// so an order that no life has read yet waits for the next.
type orders struct{ file *os.File }

// What a life of the board's process may be told before it begins.
const (
	doRehearse = "rehearse" // make attacks
	doOverdo   = "overdo"   // serve, and overreach too
)

type order struct {
	Do     string
	Attack *attack
}

const maxOrder = 16 << 10

func orderPair() (ours, theirs *orders, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX,
		unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("pb: demo: %w", err)
	}
	return &orders{os.NewFile(uintptr(fds[0]), "orders")}, &orders{
		os.NewFile(uintptr(fds[1]), "orders"),
	}, nil
}

func (o *orders) send(v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		_, err = o.file.Write(text)
	}
	if err != nil {
		return fmt.Errorf("pb: demo: order: %w", err)
	}
	return nil
}

func (o *orders) receive(v any) error {
	buffer := make([]byte, maxOrder)
	n, err := o.file.Read(buffer)
	if err == nil {
		err = json.Unmarshal(buffer[:n], v)
	}
	if err != nil {
		return fmt.Errorf("pb: demo: order: %w", err)
	}
	return nil
}

// wait waits for the next order.
func (o *orders) wait() (next order, err error) {
	err = o.receive(&next)
	return next, err
}

// interrupt ends wait, now and later.
func (o *orders) interrupt() { _ = o.file.SetReadDeadline(time.Unix(0, 1)) }

// first is the order that waits, if one does.
func (o *orders) first() (next order, err error) {
	raw, err := o.file.SyscallConn()
	if err != nil {
		return order{}, fmt.Errorf("pb: demo: order: %w", err)
	}
	waiting := false
	err = raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		waiting = !errors.Is(err, unix.EAGAIN)
	})
	if err != nil || !waiting {
		return order{}, err
	}
	return o.wait()
}

func (o *orders) answer(done outcome) error { return o.send(done) }

// attackLimit is how long an attack may take.
const attackLimit = 10 * time.Second

// attack has the process at the other end make one.
func (o *orders) attack(a *attack) (done outcome, err error) {
	if err := o.send(order{Attack: a}); err != nil {
		return outcome{}, err
	}
	if err := o.file.SetReadDeadline(time.Now().Add(attackLimit)); err != nil {
		return outcome{}, err
	}
	err = o.receive(&done)
	return done, err
}

func (o *orders) close() { _ = o.file.Close() }
