package web

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// checkExecutable checks that a file is a program that the account can run here.
func (m *machine) checkExecutable(at, path string, who account, boxed bool) {
	info, err := os.Stat(path)
	key := last(at)
	switch {
	case err != nil:
		m.complainf(at, "%s: %s", key, reason(err))
		return
	case !info.Mode().IsRegular():
		m.complainf(at, "%s: %s is no file", key, path)
		return
	}
	interpreter, err := programOf(path)
	if err != nil {
		m.complainf(at, "%s: %s: %v", key, path, err)
		return
	}
	want := toEnter
	if interpreter != "" {
		want |= toRead // by its interpreter, as that user
	}
	m.reach(at, path, who, boxed, want)
	if interpreter != "" && !m.bad[at] {
		if _, err := os.Stat(interpreter); err != nil {
			m.complainf(at, "%s: %s needs %s, which is not there", key, path, interpreter)
		} else if ok, what := may(interpreter, who, toEnter); !ok {
			m.complainf(at, "%s: %s needs %s, which %s", key, path, interpreter, what)
		}
	}
	if ok, _ := may(path, who, toWrite); ok && !who.self && !openToAll(info) {
		m.warnf(at, "%s: %s can be changed by %s, which runs it; let another own it", key, path,
			who)
	}
	for _, file := range []string{path, filepath.Dir(path)} {
		if info, err := os.Stat(file); err == nil && openToAll(info) {
			m.warnf(at, "%s: every user of this machine can change %s; chmod o-w it", key, file)
		}
	}
}

// elfMachines are those of this project's processors.
var elfMachines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64,
	"386": elf.EM_386, "arm": elf.EM_ARM, "riscv64": elf.EM_RISCV, "ppc64le": elf.EM_PPC64,
	"s390x": elf.EM_S390, "loong64": elf.EM_LOONGARCH}

// maxInterpreter bounds the first line of a script, as the kernel does.
const maxInterpreter = 256

// programOf finds out whether a file can be executed on this system, and by which interpreter where
// it is a script. What cannot be read by whoever checks is believed.
func programOf(path string) (interpreter string, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrPermission) || runtime.GOOS != "linux" {
		if err == nil {
			_ = f.Close() // it was not even read
		}
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	head := make([]byte, maxInterpreter)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", err
	}
	head = head[:n]
	if line, script := bytes.CutPrefix(head, []byte("#!")); script {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		words := strings.Fields(string(line))
		switch {
		case len(words) == 0 || !filepath.IsAbs(words[0]):
			return "", errors.New("the first line names no interpreter, write #!/bin/sh")
		case strings.HasSuffix(words[0], "\r"):
			return "", errors.New("its lines end as on Windows")
		}
		return words[0], nil
	}
	program, err := elf.NewFile(f)
	if err != nil {
		return "", errors.New("it is no program: neither ELF nor a script with #! in front")
	}
	if want, known := elfMachines[runtime.GOARCH]; known && program.Machine != want {
		return "", errors.New("it is a program for another machine (" + program.Machine.String() +
			", this one is " + want.String() + ")")
	}
	if program.Type != elf.ET_EXEC && program.Type != elf.ET_DYN {
		return "", errors.New("it is no program but " + program.Type.String())
	}
	return "", loaderProblem(program)
}

// loaderProblem checks that the loader of a program with shared libraries is there.
func loaderProblem(program *elf.File) error {
	for _, p := range program.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > 4096 {
			continue
		}
		name, err := io.ReadAll(p.Open())
		if err != nil {
			return err
		}
		loader := strings.TrimRight(string(name), "\x00")
		if _, err := os.Stat(loader); err != nil {
			return errors.New("it needs the loader " + loader + ", which is not there; build it " +
				"with CGO_ENABLED=0, or on this system")
		}
	}
	return nil
}
