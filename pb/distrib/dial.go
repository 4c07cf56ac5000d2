package distrib

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"perspective/internal/prefix"
)

// ErrNotListed comes from Dial in a part that may not reach the address.
var ErrNotListed = errors.New("distrib: this part may not dial it, name the address in Rights.Dial")

// Dial connects to an address as net.Dialer does, from wherever it is called: in a part with
// Rights.Dial by way of the part's dialer, elsewhere itself. It fits the field DialContext of an
// http.Transport and its like.
//
// By way of the dialer the network is "tcp", "tcp4" or "tcp6" and the address must stand in the
// list as it is asked for; otherwise the error is ErrNotListed. Of a part that has neither a list
// nor Rights.Net it is so for every address. A dial ends with ctx, and after 30 s; 64 of a process
// are under way at once, and more wait. While the dialer starts again dials wait for it.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	h, err := Inherited()
	if errors.Is(err, ErrNotManaged) || err == nil && h.network == networkAny {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	if err != nil {
		return nil, err
	}
	conn, err := h.dial(ctx, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: dialAddress{network, address},
			Err: err}
	}
	return conn, nil
}

// dialAddress is an address in the words of whoever dials.
type dialAddress struct{ network, address string }

func (a dialAddress) Network() string { return a.network }
func (a dialAddress) String() string  { return a.address }

// What a part may do about the network, as its environment says.
const (
	networkAny  = "any"
	networkList = "list"
)

const (
	maxDials     = 64               // of a part under way at once
	dialTimeout  = 30 * time.Second // for one
	maxDialList  = 256              // addresses in Rights.Dial
	maxDialText  = 300              // bytes of a network and an address, or of an error
	maxDialTries = 3                // dialers that may end meanwhile
)

// The socket between a part and its dialer is a SOCK_SEQPACKET pair. A request is eight bytes of
// its number, one of its kind, and the network and the address with a space between, or nothing to
// cancel. Each is answered once: with its number, a code, and a text. A connection comes with
// dialDone.
const (
	dialAsk byte = iota + 1
	dialCancel
)

const (
	dialDone     byte = iota
	dialUnlisted      // it is not in the list
	dialBusy          // too many at once
	dialLate          // it took too long, or was cancelled
	dialErrno         // text: the number of the kernel's error
	dialNoHost        // the name is unknown
	dialFailed        // text: what went wrong
)

var (
	errDial = errors.New("distrib: the socket of a dialer is out of step")
	// errDialerGone means that the dialer ended, or its socket, before it had answered.
	errDialerGone = errors.New("distrib: the dialer of this part ended")
)

type dialMessage struct {
	id   uint64
	code byte // or kind
	text string
}

func (m dialMessage) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 9+len(m.text)), m.id)
	return append(append(b, m.code), m.text[:min(len(m.text), maxDialText)]...)
}

func decodeDial(b []byte) (dialMessage, error) {
	if len(b) < 9 || len(b) > 9+maxDialText {
		return dialMessage{}, fmt.Errorf("%w: %d bytes", errDial, len(b))
	}
	return dialMessage{binary.BigEndian.Uint64(b), b[8], string(b[9:])}, nil
}

// decodeDialRequest takes what a part sent.
func decodeDialRequest(b []byte) (m dialMessage, network, address string, err error) {
	if m, err = decodeDial(b); err != nil {
		return m, "", "", err
	}
	network, address, _ = strings.Cut(m.text, " ")
	switch {
	case m.code == dialAsk && dialNetwork(network):
		return m, network, address, nil
	case m.code == dialCancel && m.text == "":
		return m, "", "", nil
	}
	return m, "", "", fmt.Errorf("%w: kind %d", errDial, m.code)
}

func dialNetwork(network string) bool {
	return network == "tcp" || network == "tcp4" || network == "tcp6"
}

// dialAnswer says how a dial ended.
func dialAnswer(id uint64, err error) dialMessage {
	m := dialMessage{id: id, code: dialFailed}
	if err == nil {
		m.code = dialDone
		return m
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() ||
		errors.Is(err, context.Canceled) {
		m.code = dialLate
		return m
	}
	if unknown, ok := errors.AsType[*net.DNSError](err); ok && unknown.IsNotFound {
		m.code = dialNoHost
		return m
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		m.code, m.text = dialErrno, strconv.Itoa(int(errno))
		return m
	}
	m.text = err.Error()
	return m
}

// problem is the error that an answer tells; nil for a connection. The dialer may be hostile.
func (m dialMessage) problem(address string) error {
	switch m.code {
	case dialDone:
		return nil
	case dialUnlisted:
		return ErrNotListed
	case dialBusy:
		return fmt.Errorf("distrib: more than %d dials at once", maxDials)
	case dialLate:
		return context.DeadlineExceeded
	case dialErrno:
		if n, err := strconv.Atoi(m.text); err == nil && n > 0 && n < 4096 {
			return prefix.Errorf("connect: %w", syscall.Errno(n))
		}
	case dialNoHost:
		host, _, _ := net.SplitHostPort(address)
		return &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return errors.New(printable(m.text))
}

// checkDial says what is wrong with a list.
func (r Rights) checkDial() error {
	if len(r.Dial) > maxDialList {
		return fmt.Errorf("%d addresses to dial, at most %d", len(r.Dial), maxDialList)
	}
	if len(r.Dial) > 0 && r.Net {
		return errors.New("Rights.Net beside Rights.Dial, which would restrict nothing")
	}
	for _, address := range r.Dial {
		host, port, err := net.SplitHostPort(address)
		n, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || portErr != nil || n == 0 || host == "" ||
			len(address) > maxDialText-len("tcp4 ") {
			return fmt.Errorf("%q is no address to dial, write host:port with the number of the "+
				"port", address)
		}
	}
	return nil
}

// dialerOf is the part that dials for another; nil where that has no list.
func dialerOf(p *Part) *Part {
	if len(p.Rights.Dial) == 0 || p.Unconfined {
		return nil
	}
	return &Part{Name: p.Name + dialerSuffix, Args: p.Rights.Dial, Rights: Rights{Net: true},
		OnDemand: p.OnDemand, dials: p.Name, child: childDialer}
}

// dialerSuffix behind a part's name is the name of its dialer.
const dialerSuffix = ".dialer"
