package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A message is one line of the journal.
type message struct {
	Number int       `json:"n"`
	Time   time.Time `json:"time"`
	Name   string    `json:"name"`
	Text   string    `json:"text"`
}

// maxJournal bounds the file, which any caller of the board can make grow.
const maxJournal = 64 << 20

var errJournalFull = errors.New("pb: the board's journal is full")

// A journal is a file that only grows, a line for each message. It belongs to
// one goroutine, and ends with close.
type journal struct {
	file   *os.File
	size   int64
	broken error // why nothing can be added any more
}

// openJournal opens or makes the file, and gives the messages in it. A last line
// that was never finished was never answered for either: it is cut off.
func openJournal(path string) (*journal, []message, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("pb: journal: %w", err)
	}
	messages, whole, err := readJournal(file)
	if err == nil {
		err = file.Truncate(whole)
	}
	if err == nil {
		_, err = file.Seek(whole, io.SeekStart)
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, fmt.Errorf("pb: journal: %w", err)
	}
	return &journal{file: file, size: whole}, messages, nil
}

// readJournal gives the messages of a journal, and how many bytes they take.
func readJournal(r io.Reader) (messages []message, whole int64, err error) {
	text, err := io.ReadAll(io.LimitReader(r, maxJournal+1))
	if err != nil {
		return nil, 0, err
	}
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", len(messages)+1, err)
		}
		messages = append(messages, m)
		whole += int64(len(line))
	}
	return messages, whole, nil
}

// add writes messages, and returns when they are on the disk.
func (j *journal) add(messages []message) error {
	if j.broken != nil {
		return j.broken
	}
	var lines bytes.Buffer
	e := json.NewEncoder(&lines)
	for _, m := range messages {
		if err := e.Encode(m); err != nil {
			return fmt.Errorf("pb: journal: %w", err)
		}
	}
	if j.size+int64(lines.Len()) > maxJournal {
		return errJournalFull
	}
	_, err := j.file.Write(lines.Bytes())
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		// What is on the disk now is not known. Opening the file again tells.
		j.broken = fmt.Errorf("pb: journal: %w", err)
		return j.broken
	}
	j.size += int64(lines.Len())
	return nil
}

func (j *journal) close() error { return j.file.Close() }
