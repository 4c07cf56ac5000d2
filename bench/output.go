package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
)

// The lines of a Markdown file between which the tables stand.
const (
	begin = "<!-- results -->"
	end   = "<!-- end of results -->"
)

// toFile writes a file; an empty name is none.
func toFile(name string, write func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// between is toFile, but leaves what stands around the two lines of a file that
// has them.
func between(name string, write func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return toFile(name, func(w io.Writer) error {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return err
		}
		_, err := w.Write(replace(old, b.Bytes()))
		return err
	})
}

// replace puts tables between the two lines of a file, or in its place if it
// does not have them in this order.
func replace(file, tables []byte) []byte {
	before, rest, found := bytes.Cut(file, []byte(begin+"\n"))
	_, after, ended := bytes.Cut(rest, []byte(end+"\n"))
	if !found || !ended {
		return tables
	}
	return bytes.Join(
		[][]byte{before, []byte(begin + "\n\n"), tables, []byte("\n" + end + "\n"), after}, nil)
}
