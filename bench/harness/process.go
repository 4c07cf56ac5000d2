package harness

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// How long a child may take, for most requests, and to end.
const (
	patience = 30 * time.Second
	farewell = 5 * time.Second
)

// process is a child, seen from the driver. Only one goroutine uses it.
type process struct {
	name   string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	errors *tail
	dead   error // why nothing can be asked any more
}

// anyCore leaves it to the system where a child runs.
const anyCore = -1

// spawn starts this program again to play a role, on one core or on anyCore;
// extra become its descriptors from 3 up. The process is to be closed also
// after an error.
func spawn(role, name string, core int, extra ...*os.File) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{name: name + " " + role, errors: &tail{}}
	p.cmd = exec.Command(self, "-child", role, "-contestants", name)
	p.cmd.Stderr = p.errors
	p.cmd.ExtraFiles = extra
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if core == anyCore {
		return p, p.cmd.Start()
	}
	return p, pinned(core, p.cmd.Start)
}

// ask sends a request and waits for the reply. A child that takes longer than
// the limit is killed.
func (p *process) ask(q *request, limit time.Duration) (*reply, error) {
	if p.dead != nil {
		return nil, p.dead
	}
	b, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	t := time.AfterFunc(limit, func() { _ = p.cmd.Process.Kill() })
	defer t.Stop()
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return nil, p.died(q, err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return nil, p.died(q, err)
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, p.died(q, err)
	}
	if r.Err != "" {
		return nil, fmt.Errorf("%s, asked to %s: %s", p.name, q.Do, r.Err)
	}
	return &r, nil
}

func (p *process) died(q *request, err error) error {
	p.dead = fmt.Errorf("%s, asked to %s, died or took too long: %w\n%s", p.name,
		q.Do, err, p.errors)
	return p.dead
}

// close ends the child and waits for that. It may be called on nil.
func (p *process) close() {
	if p == nil || p.cmd.Process == nil {
		return
	}
	_ = p.in.Close()
	t := time.AfterFunc(farewell, func() { _ = p.cmd.Process.Kill() })
	defer t.Stop()
	if err := p.cmd.Wait(); err != nil && p.dead == nil && !errors.As(err, new(*exec.ExitError)) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", p.name, err)
	}
}

// tail keeps the last of what is written to it. The zero value is empty; it may
// be used from any goroutine.
type tail struct {
	mu sync.Mutex
	b  []byte
}

// tailSize is how much it keeps.
const tailSize = 4 << 10

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if extra := len(t.b) - tailSize; extra > 0 {
		t.b = append(t.b[:0], t.b[extra:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}
