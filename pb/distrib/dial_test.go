package distrib

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
)

func TestDialMessages(t *testing.T) {
	long := strings.Repeat("x", maxDialText)
	for in, ok := range map[string]bool{
		"\x00\x00\x00\x00\x00\x00\x00\x01\x01tcp localhost:80":      true,
		"\x00\x00\x00\x00\x00\x00\x00\x01\x01tcp6 [::1]:80":         true,
		"\x00\x00\x00\x00\x00\x00\x00\x01\x02":                      true,
		"\x00\x00\x00\x00\x00\x00\x00\x01\x02tcp localhost:80":      false,
		"\x00\x00\x00\x00\x00\x00\x00\x01\x01udp localhost:80":      false,
		"\x00\x00\x00\x00\x00\x00\x00\x01\x03":                      false,
		"\x00\x00\x00\x00\x00\x00\x00\x01":                          false,
		"":                                                          false,
		"\x00\x00\x00\x00\x00\x00\x00\x01\x01tcp " + long[4:]:       true,
		"\x00\x00\x00\x00\x00\x00\x00\x01\x01tcp " + long[4:] + "x": false,
	} {
		m, network, address, err := decodeDialRequest([]byte(in))
		if (err == nil) != ok || err != nil && !errors.Is(err, errDial) {
			t.Errorf("decodeDialRequest(%q) = %v, %v", in, m, err)
		}
		if err == nil && m.code == dialAsk && string(dialMessage{m.id, dialAsk,
			network + " " + address}.encode()) != in {
			t.Errorf("%q comes back as %q %q", in, network, address)
		}
	}
}

// TestDialErrors has what a dial met come out at the other end as what it was.
func TestDialErrors(t *testing.T) {
	over := func(err error) error { return dialAnswer(1, err).problem("host:1") }
	if err := over(nil); err != nil {
		t.Errorf("a connection: %v", err)
	}
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	if err := over(refused); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refused: %v", err)
	}
	for _, late := range []error{context.DeadlineExceeded, context.Canceled} {
		var timeout net.Error
		if err := over(late); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v: %v", late, err)
		}
	}
	var unknown *net.DNSError
	if err := over(&net.DNSError{IsNotFound: true}); !errors.As(err, &unknown) ||
		!unknown.IsNotFound || unknown.Name != "host" {
		t.Errorf("no such host: %v", err)
	}
	if err := over(errors.New("what\nelse")); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("another: %q", err)
	}
	for _, hostile := range []dialMessage{{code: dialErrno, text: "-1"}, {code: 99}} {
		if hostile.problem("host:1") == nil {
			t.Errorf("%v is a connection", hostile)
		}
	}
}

func TestDialList(t *testing.T) {
	many := make([]string, maxDialList+1)
	for i := range many {
		many[i] = "a:1"
	}
	for _, good := range []Rights{{Dial: []string{"db.example:5432", "[::1]:80", "10.0.0.1:65535"}},
		{Dial: many[1:]}} {
		if err := good.checkDial(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []Rights{{Dial: many}, {Dial: many[:1], Net: true}, {Dial: []string{"a"}},
		{Dial: []string{":1"}}, {Dial: []string{"a:0"}}, {Dial: []string{"a:http"}},
		{Dial: []string{"a:65536"}}, {Dial: []string{strings.Repeat("a", maxDialText) + ":1"}}} {
		if err := bad.checkDial(); err == nil {
			t.Errorf("%.60q passes", bad.Dial)
		}
	}
}

// TestDialOutside dials where no monitor is.
func TestDialOutside(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}
