//go:build !unix

package broker

import "io"

// rawWriter exists where a descriptor can be written to without waiting.
type rawWriter struct{}

func newRawWriter(*in, io.Writer) *rawWriter { return nil }

func (*rawWriter) try([]byte) (int, error) { return 0, nil }

func (*rawWriter) forVec(*out) {}

func (*rawWriter) tryVec() (bool, error) { return true, nil }

func (*rawWriter) waitVec() error { return nil }

// rawReader exists where a descriptor can be waited for.
type rawReader struct{}

func newRawReader(*in, io.Reader) *rawReader { return nil }

func (*rawReader) read() (int, error) { return 0, io.EOF }

func (*rawReader) readTo([]byte) (int, error) { return 0, io.EOF }
