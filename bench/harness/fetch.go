package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// pageRequest is all that a client ever sends.
var pageRequest = []byte("GET " + PagePath + " HTTP/1.1\r\nHost: bench.invalid\r\n" +
	"User-Agent: bench\r\nAccept: text/html,*/*\r\nAccept-Language: en\r\n\r\n")

// fetch asks for the page over Load.Callers connections that stay open, each
// for the next as soon as it has the one before. It takes nothing but the page
// for an answer.
func fetch(q *request) (*reply, error) {
	var stop atomic.Bool
	var got atomic.Int64
	errs := make([]error, q.Load.Callers)
	conns := make([]net.Conn, q.Load.Callers)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("tcp", q.Addr); err != nil {
			return nil, err
		}
	}
	begin := time.Now()
	end := time.AfterFunc(time.Duration(q.Load.Millis)*time.Millisecond,
		func() { stop.Store(true) })
	defer end.Stop()
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() { // ends with the time, or the first wrong answer
			in := bufio.NewReaderSize(c, 4096)
			for n := int64(0); ; n++ {
				if stop.Load() || errs[i] != nil {
					got.Add(n)
					return
				}
				errs[i] = fetchOne(c, in)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &reply{Calls: got.Load(), Seconds: took.Seconds()}, nil
}

// fetchOne asks once and reads the answer.
func fetchOne(c net.Conn, in *bufio.Reader) error {
	if _, err := c.Write(pageRequest); err != nil {
		return err
	}
	status, err := in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("harness: a page's status: %w", err)
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("harness: a page's status is %q", status)
	}
	length := -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("harness: a page's header: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return fmt.Errorf("harness: a page's length: %w", err)
			}
		}
	}
	if length != len(page) {
		return fmt.Errorf("harness: a page of %d bytes came as one of %d", len(page), length)
	}
	body, err := in.Peek(length)
	if err != nil {
		return fmt.Errorf("harness: a page's body: %w", io.ErrUnexpectedEOF)
	}
	if !bytes.Equal(body, page) {
		return errors.New("harness: a page came back changed")
	}
	_, err = in.Discard(length)
	return err
}
