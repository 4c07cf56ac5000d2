package distrib

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// greeter accepts on a port of the host's and says a word to each.
func greeter(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("hello"))
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return l.Addr().String()
}

// dialerRow is what the table says of the back end's dialer.
func (p *processTest) dialerRow() (d Description) {
	for _, row := range p.Describe() {
		if row.Name == "board"+dialerSuffix {
			d = row
		}
	}
	return d
}

// TestDialByList has a part reach what its list names, also after its dialer was killed and after
// it was killed itself, and nothing else.
func TestDialByList(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		listed, other := greeter(t), greeter(t)
		_, port, err := net.SplitHostPort(listed)
		if err != nil {
			t.Fatal(err)
		}
		p := startProcesses(t, sep, func(m *Monitor) {
			m.Backs[0].Rights.Dial = []string{listed, "localhost:" + port, "127.0.0.1:1",
				"no-such-host.invalid:80"}
		})
		front, back := p.until("ready", func(f, b Description) bool {
			return f.State == Ready && b.State == Ready
		})
		dialer := p.dialerRow()
		if sep.Mode == ByUser && (dialer.UID == 0 || dialer.UID == back.UID ||
			dialer.UID == front.UID) {
			t.Errorf("the dialer is user %d, the part %d", dialer.UID, back.UID)
		}
		if dialer.Runs != "dials for board" || len(dialer.May) != 1 {
			t.Errorf("the table says of the dialer %+v", dialer)
		}
		for _, test := range []struct{ order, address, want string }{
			{"dial listed", listed, "ok"},
			{"dial listed", "localhost:" + port, "ok"},
			{"dial listed", "127.0.0.1:1", "connection refused"},
			{"dial listed", "no-such-host.invalid:80", "no-such-host.invalid"},
			{"dial listed", other, "not listed"},
			{"dial", listed, "refused: "},
			{"dial", other, "refused: "},
			{"udp", "", "refused: "},
			{"mptcp", "", "refused: "},
		} {
			if got := p.order(p.back, test.order, test.address); !strings.Contains(got,
				test.want) {
				t.Errorf("%s %s: %s, want %s", test.order, test.address, got, test.want)
			}
		}
		if got := p.order(p.front, "dial listed", listed); got != "refused: not listed" {
			t.Errorf("a part without a list: %s", got)
		}
		for _, whose := range []string{"dialer", "part", "dialer"} {
			victim := p.dialerRow().PID
			if whose == "part" {
				victim = back.PID
			}
			if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			p.until("another life", func(_, b Description) bool {
				d := p.dialerRow()
				return b.State == Ready && b.PID != victim && d.State == Ready && d.PID != victim
			})
			if got := p.order(p.back, "dial listed", listed); got != "ok" {
				t.Errorf("after the %s was killed: %s", whose, got)
			}
		}
	})
}

// TestDialWithNetwork dials in parts that are in the host's network.
func TestDialWithNetwork(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		address := greeter(t)
		p := startProcesses(t, sep, func(m *Monitor) {
			m.Front.Rights.Net, m.Backs[0].Unconfined = true, true
		})
		for _, part := range []*os.File{p.front, p.back} {
			if got := p.order(part, "dial listed", address); got != "ok" {
				t.Error(got)
			}
		}
	})
}

// dialPairOf is a part's end, and what serves or attacks it.
func dialPairOf(t *testing.T) (h *Handover, socket *control, asked chan struct{}) {
	t.Helper()
	monitor, h, err := handoverPair(t, func(c *control) { _ = c.send(message{msgBegin, ""}, -1) })
	if err != nil {
		t.Fatal(err)
	}
	h.network = networkList
	asked = make(chan struct{}, 8)
	var reading sync.WaitGroup
	reading.Go(func() { // ends with the handover's socket
		for {
			m, _, err := monitor.receive(false)
			if err != nil {
				return
			}
			if m.kind == msgDialEnded {
				asked <- struct{}{}
			}
		}
	})
	t.Cleanup(func() { h.ctl.close(); monitor.close(); reading.Wait() })
	return h, newDialSocket(t, h), asked
}

func newDialSocket(t *testing.T, h *Handover) *control {
	t.Helper()
	part, dialer, err := (*spawner)(nil).dialPair()
	if err != nil {
		t.Fatal(err)
	}
	h.dialer.put(part)
	socket, err := controlOf(dialer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(socket.close)
	return socket
}

// TestHostileDialer has a dialer answer what it must not. Each costs its socket, and the monitor is
// asked for another; no descriptor stays open.
func TestHostileDialer(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	datagram, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll([]int{datagram, stream})
	for name, attack := range map[string]struct {
		answer dialMessage
		fds    []int
	}{
		"a file":              {dialMessage{id: 1}, []int{int(file.Fd())}},
		"a datagram socket":   {dialMessage{id: 1}, []int{datagram}},
		"a local socket":      {dialMessage{id: 1}, []int{stream}},
		"two":                 {dialMessage{id: 1}, []int{stream, stream}},
		"none":                {dialMessage{id: 1}, nil},
		"one with an error":   {dialMessage{id: 1, code: dialBusy}, []int{stream}},
		"nobody's answer":     {dialMessage{id: 7, code: dialBusy}, nil},
		"nobody's and a file": {dialMessage{id: 7}, []int{datagram}},
	} {
		before := openDescriptors(t)
		h, socket, asked := dialPairOf(t)
		result := make(chan error, 1)
		go func() { // ends with the dial
			_, err := h.dial(t.Context(), "tcp", "a:1")
			result <- err
		}()
		buffer := make([]byte, 512)
		if _, err := socket.conn.Read(buffer); err != nil {
			t.Fatal(err)
		}
		var rights []byte
		if attack.fds != nil {
			rights = unix.UnixRights(attack.fds...)
		}
		if err := socket.sendRaw(attack.answer.encode(), rights); err != nil {
			t.Fatal(err)
		}
		<-asked
		next := newDialSocket(t, h)
		if n, err := next.conn.Read(buffer); err != nil || n < 9 {
			t.Fatalf("%s: the next dialer is not asked: %v", name, err)
		}
		if err := next.sendRaw(dialMessage{id: 1, code: dialUnlisted}.encode(), nil); err != nil {
			t.Fatal(err)
		}
		if err := <-result; !errors.Is(err, ErrNotListed) {
			t.Errorf("%s: %v", name, err)
		}
		socket.close()
		next.close()
		h.dialer.client.readers.Wait()
		h.dialer.socket.close()
		if after := openDescriptors(t); after > before+2 { // the control sockets end with the test
			t.Errorf("%s: %d descriptors before, %d after", name, before, after)
		}
	}
}

// TestDialsBounded has a part wait for a place over its limit, and a hostile one refused.
func TestDialsBounded(t *testing.T) {
	h, socket, _ := dialPairOf(t)
	ctx, cancel := context.WithCancel(t.Context())
	var dials sync.WaitGroup
	buffer := make([]byte, 512)
	for range maxDials {
		dials.Go(func() { _, _ = h.dial(ctx, "tcp", "a:1") })
	}
	for range maxDials {
		if _, err := socket.conn.Read(buffer); err != nil {
			t.Fatal(err)
		}
	}
	over := make(chan error, 1)
	go func() { // ends with its answer
		_, err := h.dial(t.Context(), "tcp", "b:1")
		over <- err
	}()
	if err := socket.sendRaw(dialMessage{id: 1, code: dialUnlisted}.encode(), nil); err != nil {
		t.Fatal(err)
	}
	n, err := socket.conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	m, _, address, err := decodeDialRequest(buffer[:n])
	if err != nil || address != "b:1" || m.id != maxDials+1 {
		t.Errorf("the one over the limit asks %v for %s, %v", m, address, err)
	}
	_ = socket.sendRaw(dialMessage{id: m.id, code: dialBusy}.encode(), nil)
	if err := <-over; err == nil || !strings.Contains(err.Error(), "at once") {
		t.Errorf("the one over the limit: %v", err)
	}
	cancel()
	dials.Wait()
	for range maxDials - 1 {
		n, err := socket.conn.Read(buffer)
		if err != nil || n != 9 || buffer[8] != dialCancel {
			t.Fatalf("%d bytes, %v, want a word to cancel", n, err)
		}
	}
}

// TestHostilePart sends a dialer what it must not, and dials without end.
func TestHostilePart(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	serve := func(list ...string) (part *control, result chan error) {
		a, b, err := (*spawner)(nil).dialPair()
		if err != nil {
			t.Fatal(err)
		}
		part, err = controlOf(a)
		if err != nil {
			t.Fatal(err)
		}
		socket, err := controlOf(b)
		if err != nil {
			t.Fatal(err)
		}
		result = make(chan error, 1)
		go func() { result <- newDialer(list).serve(socket) }() // ends with the socket
		return part, result
	}
	request := func(id uint64, address string) []byte {
		return dialMessage{id, dialAsk, "tcp " + address}.encode()
	}
	for name, attack := range map[string]struct{ b, rights []byte }{
		"garbage":      {[]byte("garbage, and long enough"), nil},
		"short":        {[]byte("x"), nil},
		"long":         {make([]byte, 4096), nil},
		"a descriptor": {request(1, "a:1"), unix.UnixRights(0)},
	} {
		part, result := serve()
		if err := part.sendRaw(attack.b, attack.rights); err != nil {
			t.Fatal(err)
		}
		if err := <-result; !errors.Is(err, errDial) {
			t.Errorf("%s: serve = %v", name, err)
		}
		part.close()
	}
	part, result := serve(silent.Addr().String())
	for id := range uint64(3) {
		if err := part.sendRaw(request(id, "127.0.0.1:1"), nil); err != nil {
			t.Fatal(err)
		}
		a, err := receiveDialed(part)
		if err != nil || a.id != id || a.code != dialUnlisted {
			t.Errorf("unlisted: %+v, %v", a, err)
		}
	}
	if err := part.sendRaw(request(9, silent.Addr().String()), nil); err != nil {
		t.Fatal(err)
	}
	a, err := receiveDialed(part)
	if err != nil || a.code != dialDone || a.fd < 0 {
		t.Errorf("listed: %+v, %v", a, err)
	}
	closeAll([]int{a.fd})
	part.close()
	if err := <-result; err != nil {
		t.Errorf("serve of a part that ended = %v", err)
	}
}
