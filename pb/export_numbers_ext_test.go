package pb_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"perspective/pb"
)

// keeper holds what it is given.
type keeper struct {
	pb.Referenceable
	held []*pb.RemoteReference
}

func (k *keeper) RemoteKeep(_ context.Context, all []*pb.RemoteReference) error {
	k.held = append(k.held, all...)
	return nil
}

func (k *keeper) RemoteDrop(context.Context) error {
	for _, r := range k.held {
		r.Release()
	}
	return nil
}

// TestExportNumbers: a peer's objects may have any numbers, in any order and with gaps. What they
// cost is bounded by how many are held, not by how high they are numbered.
func TestExportNumbers(t *testing.T) {
	c, s := net.Pipe()
	node := &pb.Node{Root: &keeper{}, Limits: pb.Limits{Imports: 4}}
	defer node.Close() //nolint:errcheck // it says nothing
	attached := make(chan *pb.Conn, 1)
	go func() { // ends when the prefaces have crossed
		conn, err := node.Attach(t.Context(), s, pb.Acceptor)
		if err != nil {
			t.Error(err)
		}
		attached <- conn
	}()
	w := &vectorWire{t: t, conn: c}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	say := func(digits string) {
		t.Helper()
		b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		w.write(vectorFrame(0, 0, 1, binary.BigEndian.AppendUint32(nil, uint32(len(b))), b))
	}
	w.write([]byte("PB\x01\n\x00\x0a\x81\xa7version\x01"), vectorFrame(1, 1, 1, nil))
	w.next('p')
	conn := <-attached
	say("96 01 01 04 01 a4 6b656570 91 94 d50164 00 d501 07 00 c70a01 cfffffffffffffffff 00 d501 " +
		"03 00")
	if got := fmt.Sprintf("%x", w.next('m')); got != "9302ce00000001c0" {
		t.Fatalf("RETURN is %s", got)
	}
	if n := conn.Stats().Imports; n != 4 {
		t.Errorf("%d objects are held, want 4", n)
	}
	say("96 01 02 04 01 a4 6b656570 91 92 d501 07 00 d501 02 00")
	var told []string // RELEASEs, which may come around the RETURN
	next := func() []byte {
		for {
			m := w.next('m')
			if m[1] != 6 {
				return m
			}
			told = append(told, fmt.Sprintf("%x", m))
		}
	}
	if m := next(); !bytes.Contains(m, []byte("broker.ErrTooManyImports")) {
		t.Errorf("RETURN is % x", m)
	}
	say("96 01 03 04 01 a4 64726f70 90")
	if got := fmt.Sprintf("%x", next()); got != "9302ce00000003c0" {
		t.Fatalf("RETURN is %s", got)
	}
	want := []string{ // 7 and 2 came in a call that was refused; the others were held
		"9406000201", "9406000301", "9406000701", "9406000701", "9406006401",
		"940600cfffffffffffffffff01",
	}
	for len(told) < len(want) {
		told = append(told, fmt.Sprintf("%x", w.next('m')))
	}
	slices.Sort(told)
	if !slices.Equal(told, want) {
		t.Errorf("RELEASEs are %q, want %q", told, want)
	}
	if n := conn.Stats().Imports; n != 0 {
		t.Errorf("%d objects are held in the end", n)
	}
}
