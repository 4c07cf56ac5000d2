package distrib

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// executable is what the kernel runs for a part, and what it needs besides.
type executable struct {
	fd     int // the program's, or that of a script's interpreter
	script int // the script's, where it is one
	argv   []string
	loader string       // of a dynamically linked program
	shown  []openedPath // a script and its interpreter
}

// systemLibs are where a loader looks; they count only for a program that has one (cgo, -race).
var systemLibs = []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"}

// maxShebang is how much of a script the kernel reads for its first line.
const maxShebang = 256

// executableOf opens the part's program, unless that is this one, and looks into it. The sandbox
// does so and not the monitor, which reads no file of others; and what the monitor opens cannot be
// shown in another mount namespace.
func executableOf(p *plan) (*executable, error) {
	x := &executable{fd: fdProgram, argv: append([]string{p.Name}, p.Args...)}
	if p.Program == "" {
		var err error
		if x.loader, err = loaderOf(x.fd); err != nil {
			return nil, fmt.Errorf("the program itself: %w", err)
		}
		return x, nil
	}
	program, err := openPath(p.Program, useRead)
	if err != nil {
		return nil, fmt.Errorf("program: %w", err)
	}
	path := p.Program
	x.fd, x.argv[0] = program.fd, path
	if err := runnable(x.fd); err != nil {
		return nil, fmt.Errorf("program %s: %w", path, err)
	}
	head, err := headOf(x.fd)
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", path, err)
	}
	if bytes.HasPrefix(head, []byte("#!")) {
		if path, err = x.interpret(p, program, head); err != nil {
			return nil, fmt.Errorf("program %s: %w", p.Program, err)
		}
	}
	if x.loader, err = loaderOf(x.fd); err != nil {
		return nil, fmt.Errorf("program %s: %w", path, err)
	}
	return x, nil
}

func runnable(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("it is no regular file")
	}
	if st.Mode&0o111 == 0 {
		return errors.New("nobody may execute it (chmod +x)")
	}
	return nil
}

// headOf returns the first bytes of a file that was opened by its path alone.
func headOf(fd int) ([]byte, error) {
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return nil, fmt.Errorf("read: %w", errors.Unwrap(err)) // the path says nothing
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, maxShebang)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read: %w", errors.Unwrap(err))
	}
	return head[:n], nil
}

// interpret makes a script's interpreter what is executed, with the arguments that the kernel would
// give it. The kernel itself cannot: it would hand the interpreter a descriptor that is closed by
// then.
func (x *executable) interpret(
	p *plan, script openedPath, head []byte,
) (path string, err error) {
	line, _, whole := bytes.Cut(head[len("#!"):], []byte("\n"))
	if !whole && len(head) == maxShebang {
		return "", fmt.Errorf("its first line is longer than %d bytes", maxShebang)
	}
	path, argument, _ := strings.Cut(strings.Trim(string(line), " \t"), " ")
	if i := strings.IndexByte(path, '\t'); i >= 0 {
		path, argument = path[:i], path[i+1:]+" "+argument
	}
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("its interpreter %q is no absolute path", path)
	}
	interpreter, err := openPath(filepath.Clean(path), useExec)
	if err != nil {
		return "", fmt.Errorf("its interpreter: %w", err)
	}
	if head, err := headOf(interpreter.fd); err != nil {
		return "", fmt.Errorf("its interpreter %s: %w", path, err)
	} else if bytes.HasPrefix(head, []byte("#!")) {
		return "", fmt.Errorf("its interpreter %s is a script itself", path)
	}
	argv := []string{path}
	if argument = strings.Trim(argument, " \t"); argument != "" {
		argv = append(argv, argument)
	}
	x.fd, x.argv = interpreter.fd, append(append(argv, p.Program), p.Args...)
	x.shown = []openedPath{interpreter, script}
	x.script = script.fd
	return path, nil
}

// loaderOf returns the dynamic loader that a program names, "" for a static one.
func loaderOf(fd int) (string, error) {
	f, err := elf.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		var format *elf.FormatError
		if errors.As(err, &format) || errors.Is(err, io.EOF) {
			return "", fmt.Errorf("neither a program nor a script: %w", err)
		}
		return "", err
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
		if err != nil {
			return "", fmt.Errorf("its loader: %w", err)
		}
		return strings.TrimRight(string(name), "\x00"), nil
	}
	return "", nil
}

// mayExecute asks as the part's user. The kernel would ask at execveat, but of a script's
// interpreter alone, and its answer names nothing.
func mayExecute(p *plan, x *executable) error {
	if p.Program == "" {
		return nil
	}
	fd := x.fd
	if x.script != 0 {
		fd = x.script
	}
	err := unix.Faccessat(fd, "", unix.X_OK, unix.AT_EMPTY_PATH|unix.AT_EACCESS)
	if !errors.Is(err, unix.EACCES) {
		return nil // or the kernel, before 5.8, cannot be asked so
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	return fmt.Errorf("program %s: user %d may not execute it (%s, owner %d, group %d)", p.Program,
		os.Geteuid(), fs.FileMode(st.Mode&0o777), st.Uid, st.Gid)
}
