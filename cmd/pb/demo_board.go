package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"perspective/pb"
)

const (
	maxName  = 64   // characters of a name on the board
	maxText  = 4000 // characters of a text
	maxShown = 1000 // messages kept at hand; the journal has all
	maxBatch = 256  // messages that reach the disk together
)

var (
	errBoardClosed = errors.New("board: closed")
	errBadPost     = errors.New("board: " + badPost)
)

var badPost = fmt.Sprintf("a message has a name of 1 to %d characters and a text of 1 to %d, "+
	"without control characters", maxName, maxText)

// A board keeps messages that people leave for each other. The same one is a web
// page and a remote object. Any number of goroutines may use it. It ends with
// close.
type board struct {
	pb.Referenceable
	pb.Concurrent // so that the messages of one connection can reach the disk together

	posts chan *post
	stop  chan struct{} // closed by close
	done  chan struct{} // closed when keep has ended

	mu       sync.Mutex
	messages []message // the last maxShown
}

// A post is a message on its way to the disk. err is there when done is closed.
type post struct {
	message

	done chan struct{}
	err  error
}

// newBoard opens the journal and shows what is in it.
func newBoard(path string) (*board, error) {
	j, messages, err := openJournal(path)
	if err != nil {
		return nil, err
	}
	last := 0
	if n := len(messages); n > 0 {
		last = messages[n-1].Number
	}
	b := &board{posts: make(chan *post), stop: make(chan struct{}), done: make(chan struct{})}
	b.show(messages)
	go b.keep(j, last) // ends with close
	return b, nil
}

// close waits until what was taken is on the disk. Later posts are refused.
func (b *board) close() {
	close(b.stop)
	<-b.done
}

// RemotePost leaves a message, and gives its number when it is safe on the disk.
func (b *board) RemotePost(ctx context.Context, name, text string) (int, error) {
	return b.post(ctx, name, text)
}

// RemoteRead gives the last messages, at most most, the oldest first.
//
//nolint:unparam // methods for peers have an error
func (b *board) RemoteRead(_ context.Context, most int) ([]string, error) {
	var lines []string
	for _, m := range b.last(most) {
		lines = append(lines, fmt.Sprintf("%d %s: %s", m.Number, m.Name, m.Text))
	}
	return lines, nil
}

func (b *board) post(ctx context.Context, name, text string) (int, error) {
	name, text = strings.TrimSpace(name), strings.TrimSpace(text)
	if !fits(name, maxName) || !fits(text, maxText) {
		return 0, errBadPost
	}
	p := &post{message: message{Time: time.Now().UTC(), Name: name, Text: text},
		done: make(chan struct{})}
	select {
	case b.posts <- p:
	case <-b.stop:
		return 0, errBoardClosed
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	<-p.done // soon, whatever becomes of ctx: it is being written
	return p.Number, p.err
}

func fits(s string, most int) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= most &&
		strings.IndexFunc(s, func(r rune) bool { return !harmless(r) }) < 0
}

// last gives at most most messages.
func (b *board) last(most int) []message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.messages[len(b.messages)-max(0, min(most, len(b.messages))):])
}

// keep writes posts to the journal, those that come meanwhile together.
func (b *board) keep(j *journal, last int) {
	defer close(b.done)
	defer j.close() //nolint:errcheck // every message was synced before it was answered for
	for {
		var batch []*post
		select {
		case p := <-b.posts:
			batch = append(batch, p)
		case <-b.stop:
			return
		}
	more:
		for len(batch) < maxBatch {
			select {
			case p := <-b.posts:
				batch = append(batch, p)
			default:
				break more
			}
		}
		messages := make([]message, len(batch))
		for i, p := range batch {
			p.Number = last + 1 + i
			messages[i] = p.message
		}
		err := j.add(messages)
		if err == nil {
			last += len(batch)
			b.show(messages)
		}
		for _, p := range batch {
			p.err = err
			close(p.done)
		}
	}
}

func (b *board) show(messages []message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = append(b.messages, messages...)
	if n := len(b.messages); n > maxShown {
		b.messages = slices.Clone(b.messages[n-maxShown:])
	}
}
