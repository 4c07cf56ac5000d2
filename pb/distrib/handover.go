package distrib

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"perspective/internal/guard"
	"perspective/internal/lines"
	"perspective/internal/prefix"
)

// The environment of a part. They are no secret: what counts is the descriptor.
const (
	envControl  = "PB_CONTROL_FD" // number of the control socket
	envPart     = "PB_PART"       // the part's name
	envKeepExec = "PB_KEEP_EXEC"  // set where Rights.Exec is
	envNetwork  = "PB_NETWORK"    // networkAny, networkList or not there
)

// exitOrphan is the exit code of a part whose monitor is gone (EX_TEMPFAIL).
const exitOrphan = 75

// Link is one end of a connection between the front and a back end.
type Link struct {
	// Name is the back end's name (Part.Name), on both ends. On the front's end it identifies the
	// peer: the monitor made the pair, so the front needs no word of the peer's.
	Name string
	// Mount is the mount that the back end is an instance of (Part.Mount), on both ends.
	Mount string
	// Conn is the connection. The program that took the Link closes it.
	Conn net.Conn

	number uint64   // the monitor's
	files  *os.File // the socket beside it; nil: there is none
}

// Handover is what a part was given by its monitor: links as they come, listeners and files by
// name, and the word to say "ready". Get it from Inherited; it may be used from any goroutine and
// lasts as long as the process. When the monitor is gone the process exits at once with code 75. A
// link for which the process has no descriptor left is lost: that is logged (slog.Default), and the
// monitor asked for another.
type Handover struct {
	name     string
	keepExec bool
	ctl      *control
	log      lines.Log
	news     chan struct{} // holds one token while pending may not be empty
	fileNews chan struct{} // the same, for handed
	network  string        // what Dial may do
	dialer   dialEnd

	mu        sync.Mutex
	listeners map[string]net.Listener
	files     map[string]*os.File
	pending   []Link            // at most one a name: a new link means that the old one is dead
	beside    map[string]beside // by name: sockets whose links have yet to come
	ended     map[string]uint64 // by name, the number of the last link whose end was told
	begun     bool              // what was there at the beginning has come
	handed    []handedFile      // since then, at most one a name
}

// beside is the socket beside the link with the number.
type beside struct {
	number uint64
	files  *os.File
}

var inherited struct {
	once sync.Once
	*Handover
	err error
}

// Inherited returns what the monitor handed over. It reads the environment at the first call only,
// and takes its variables out of it so that no child of this process believes to be the part; later
// calls return the same. Where no monitor started this process the error is ErrNotManaged.
func Inherited() (*Handover, error) {
	inherited.once.Do(func() { inherited.Handover, inherited.err = inherit() })
	return inherited.Handover, inherited.err
}

// Name returns the part's name. For a back end it is also the name of its link.
func (h *Handover) Name() string { return h.name }

// Link waits for the next link: for the front one for each back end, for a back end its link to the
// front; and a new one whenever the other side was started again, or either side said that the link
// had ended (Ended). A link not taken yet is closed when its successor comes. The error is ctx's.
func (h *Handover) Link(ctx context.Context) (Link, error) {
	for {
		h.mu.Lock()
		if len(h.pending) > 0 {
			l := h.pending[0]
			h.pending = h.pending[1:]
			if len(h.pending) > 0 {
				h.wake()
			}
			h.mu.Unlock()
			return l, nil
		}
		h.mu.Unlock()
		select {
		case <-h.news:
		case <-ctx.Done():
			return Link{}, ctx.Err()
		}
	}
}

// Listener returns the listener that Part.Listeners has under the name. The caller owns and closes
// it. A second call for the same name is an error.
func (h *Handover) Listener(name string) (net.Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, ok := h.listeners[name]
	if !ok {
		return nil, fmt.Errorf("distrib: part %s has no listener %q, name it in Part.Listeners",
			h.name, name)
	}
	delete(h.listeners, name)
	return l, nil
}

// File returns the file that Part.Files has under the name. The caller owns and closes it. A second
// call for the same name is an error.
func (h *Handover) File(name string) (*os.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, ok := h.files[name]
	if !ok {
		return nil, fmt.Errorf("distrib: part %s has no file %q, name it in Part.Files",
			h.name, name)
	}
	delete(h.files, name)
	return f, nil
}

// Files calls take for each file that the monitor hands over while the part runs (Monitor.Hand),
// one after the other, and tells the monitor what take returns: nil, or why not, of which up to 190
// bytes arrive. take owns the file. It survives take's panic, which is a refusal. Without Files
// such files wait; one whose name comes again meanwhile is refused and closed. It returns ctx's
// error when ctx has ended.
func (h *Handover) Files(ctx context.Context, take func(name string, f *os.File) error) error {
	for {
		h.mu.Lock()
		handed := h.handed
		h.handed = nil
		h.mu.Unlock()
		for _, f := range handed {
			if err := h.took(f.name, guard.Run(func() error {
				return take(f.name, f.file)
			})); err != nil {
				return err
			}
		}
		if len(handed) > 0 {
			continue
		}
		select {
		case <-h.fileNews:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// took answers for a file that was handed over.
func (h *Handover) took(name string, why error) error {
	text := name
	if why != nil {
		text += ":" + cmp.Or(why.Error(), "refused")
	}
	return h.ctl.sendSurely(message{msgTook, text})
}

// Ready tells the monitor that this part serves. Say it once; a second time breaks the rules and
// ends the part.
func (h *Handover) Ready() error { return h.ctl.send(message{msgReady, ""}, -1) }

// Fail tells the monitor that this part cannot serve, and why, of which up to 255 bytes arrive. Say
// it before Ready, and end. The monitor ends, with that error, if this is its front and none was
// ever ready; any other part it starts again.
func (h *Handover) Fail(why error) error {
	return h.ctl.sendSurely(message{msgFailed, why.Error()})
}

// Start asks the monitor to run a back end of its configuration (Part.OnDemand). It is a no-op
// where it runs. Only the front is heard. More than 32 requests at once, or 4 a second for long,
// end the part.
func (h *Handover) Start(name string) error { return h.ctl.send(message{msgStart, name}, -1) }

// Stop asks the monitor to end a back end and not to start it again before Start. As for Start.
func (h *Handover) Stop(name string) error { return h.ctl.send(message{msgStop, name}, -1) }

// Ended tells the monitor that a link has ended though this process goes on. Unless it has made
// another one already, the monitor makes it within a second and hands it to both ends, see Link.
// Close the connection first. Either end may say it; a second time for the same link does nothing.
// Serve and Site.Follow do it by themselves.
func (h *Handover) Ended(l Link) error {
	if l.number == 0 {
		return errors.New("distrib: this link is not from Handover.Link")
	}
	h.mu.Lock()
	told := h.ended[l.Name] >= l.number
	if !told {
		h.ended[l.Name] = l.number
	}
	h.mu.Unlock()
	if told {
		return nil
	}
	return h.ctl.sendSurely(message{msgEnded, linkText(l.Name, l.number)})
}

// serves tells the monitor that a link of the front's serves. Say it once for each.
func (h *Handover) serves(l Link) error {
	return h.ctl.sendSurely(message{msgServes, linkText(l.Name, l.number)})
}

// Confine takes from this process, all its threads and all it starts, the right to start programs,
// unless Rights.Exec gives it. No filter could do so before: the part itself is a program started
// after the others took hold. Call it before serving; where the kernel has no seccomp it does
// nothing and returns nil, as Description.Held shows.
func (h *Handover) Confine() error {
	if h.keepExec {
		return nil
	}
	return forbidExec()
}

// takeInitial receives until the monitor says begin, so that listeners and files are there at once.
func (h *Handover) takeInitial() error {
	for range maxHandovers + 1 {
		m, fd, err := h.ctl.receive(true)
		if err != nil {
			return prefix.Errorf("distrib: handover: %w", err)
		}
		if m.kind == msgBegin {
			h.mu.Lock()
			h.begun = true
			h.mu.Unlock()
			return nil
		}
		if err := h.keep(m, fd); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: no begin", errControl)
}

// keep files away what came with a descriptor. It owns the descriptor.
func (h *Handover) keep(m message, fd int) error {
	if fd < 0 {
		return fmt.Errorf("%w: kind %d", errControl, m.kind)
	}
	f := os.NewFile(uintptr(fd), m.text)
	if m.kind == msgDialer {
		h.dialer.put(f)
		return nil
	}
	if m.kind == msgFile {
		return h.keepFile(m.text, f)
	}
	if m.kind == msgFiles {
		return h.keepBeside(m.text, f)
	}
	defer func() { _ = f.Close() }() // net copies the descriptor
	if m.kind == msgListener {
		l, err := net.FileListener(f)
		if err != nil {
			return prefix.Errorf("distrib: listener %s: %w", m.text, err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.listeners[m.text] = l
		return nil
	}
	link, ok := parseHanded(m.text)
	if !ok {
		return fmt.Errorf("%w: %q is no link", errControl, m.text)
	}
	conn, err := net.FileConn(f)
	if err != nil { // it makes a copy, for which there may be no descriptor
		return h.lost(link, prefix.Errorf("distrib: link %s: %w", m.text, err))
	}
	link.Conn, link.files = conn, h.takeBeside(link)
	return h.offer(link)
}

// A handedFile came while the part ran.
type handedFile struct {
	name string
	file *os.File
}

// keepFile keeps a file for File, or one that came while the part ran for Files.
func (h *Handover) keepFile(name string, f *os.File) error {
	refused, why := h.queueFile(name, f)
	if refused == nil {
		return nil
	}
	return errors.Join(refused.Close(), h.took(name, why))
}

// queueFile returns a file that Files will not get, and why.
func (h *Handover) queueFile(name string, f *os.File) (refused *os.File, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.begun {
		h.files[name] = f
		return nil, nil
	}
	for i, old := range h.handed {
		if old.name == name {
			h.handed[i].file = f
			return old.file, errors.New("another of its name came")
		}
	}
	if len(h.handed) >= maxHandovers {
		return f, errors.New("it takes no more files")
	}
	h.handed = append(h.handed, handedFile{name, f})
	select {
	case h.fileNews <- struct{}{}:
	default:
	}
	return nil, nil
}

// keepBeside keeps the socket of a link that comes next.
func (h *Handover) keepBeside(link string, files *os.File) error {
	name, number, _ := parseLink(link) // decodeMessage has looked
	h.mu.Lock()
	before := h.beside[name].files
	if len(h.beside) < maxParts || before != nil {
		h.beside[name] = beside{number, files}
	} else {
		before = files
	}
	h.mu.Unlock()
	if before != nil {
		return before.Close()
	}
	return nil
}

// takeBeside returns the socket of the link; nil: there is none.
func (h *Handover) takeBeside(l Link) *os.File {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.beside[l.Name]
	if b.number != l.number {
		return nil
	}
	delete(h.beside, l.Name)
	return b.files
}

// offer queues a link in place of an older one of its name.
func (h *Handover) offer(l Link) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, old := range h.pending {
		if old.Name == l.Name {
			h.pending[i] = l
			return errors.Join(old.Conn.Close(), closeFiles(old.files))
		}
	}
	if len(h.pending) >= maxParts {
		return errors.Join(fmt.Errorf("%w: too many links", errControl), l.Conn.Close(),
			closeFiles(l.files))
	}
	h.pending = append(h.pending, l)
	h.wake()
	return nil
}

// closeFiles closes the socket beside a link; nil: there is none.
func closeFiles(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

// wake lets one waiter of Link look again.
func (h *Handover) wake() {
	select {
	case h.news <- struct{}{}:
	default:
	}
}

// lost asks for another link in place of one that did not get here.
func (h *Handover) lost(l Link, why error) error {
	h.log.Logger(nil).Warn("link lost, the monitor is asked for another", "back", l.Name,
		"err", why)
	return h.Ended(l)
}

// read ends when the monitor does, and calls orphaned.
func (h *Handover) read(orphaned func(error)) {
	for {
		m, fd, err := h.ctl.receive(true)
		link, isLink := parseHanded(m.text)
		switch {
		case errors.Is(err, errLost) && m.kind == msgLink && isLink:
			err = h.lost(link, err)
		case errors.Is(err, errLost) && m.kind == msgFile:
			err = h.took(m.text, err)
		case errors.Is(err, errLost) && m.kind == msgDialer:
			h.dialer.missed()
			err = nil
		case errors.Is(err, errLost) && m.kind == msgFiles:
			err = nil // bodies go over the link
		case err == nil:
			err = h.keep(m, fd)
		}
		if err != nil {
			orphaned(err)
			return
		}
	}
}
