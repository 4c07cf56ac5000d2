package web

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"perspective/internal/prefix"
)

// newMemory makes one that is on no disk. Who has the reader cannot write.
func newMemory(name string) (*memory, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, prefix.Errorf("web: tls: memory for the front: %w", err)
	}
	writer := os.NewFile(uintptr(fd), name)
	reader, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err == nil {
		err = writer.Chmod(0o400) // the reader could be opened anew, for writing
	}
	if err != nil {
		_ = writer.Close()
		_ = reader.Close() // nil takes it too
		return nil, prefix.Errorf("web: tls: memory for the front: %w", err)
	}
	return &memory{writer, reader}, nil
}
