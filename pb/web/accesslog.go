package web

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"perspective/internal/guard"
	"perspective/internal/lines"
	"perspective/internal/prefix"
	"perspective/pb/distrib"
)

const (
	defaultPending = 1 << 20
	flushBytes     = 32 << 10               // so much is written at once
	flushTime      = 250 * time.Millisecond // and anything that is so old
	lookTime       = time.Second            // between looks whether the file was renamed
	closeTime      = 5 * time.Second
	maxKept        = 4 << 10 // a larger buffer for a line is not kept for the next
)

// An AccessLog writes a line for each request of a site: its Observe is for distrib.Site.Observe.
// Requests never wait for the disk: lines go to a goroutine through a bounded buffer, and are
// written within a second. What finds no room there is dropped, counted, and told of by a line of
// its own once there is room.
//
// The file is appended to, made with mode 0640, and opened again by Reopen, and within a second
// after it was renamed or removed, as log rotation does.
//
// The zero value writes JSON to standard output. Set the fields before Start; they are only read.
// The methods may be called from several goroutines. It ends with Close.
type AccessLog struct {
	// Log says to which file, and how.
	Log Log
	// Open opens the file, for a process that may not do so itself; nil: os.OpenFile. It must open
	// it for appending.
	Open func(path string) (*os.File, error)
	// Pending is how many bytes of lines may wait for the disk; zero: 1 MiB.
	Pending int
	// Logger is told of what goes wrong with the file; nil: slog.Default.
	Logger *slog.Logger

	log     lines.Log
	format  func([]byte, *distrib.Record) []byte
	wake    chan struct{} // one slot: the writer has something to do
	full    chan struct{} // one slot: there is enough to write it now
	written chan struct{} // closed when the writer has ended

	mu      sync.Mutex
	pending []byte
	dropped uint64 // all
	untold  uint64 // of them that no line tells of yet
	reopen  bool
	closed  bool

	next *os.File // where lines go from now on; nil: where they do

	handed *os.File  // where lines go without Log.File; nil: to standard output
	file   *os.File  // the writer's
	looked time.Time // when the writer last looked whether it is still the file
	broken bool      // the last line in the file may have no end
}

// lineBuffers is memory for one line each. Only what was just appended is ever read.
var lineBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}

// Start opens the file and begins to write. The error is about the file or the format.
func (l *AccessLog) Start() error {
	switch l.Log.Format {
	case "", "json":
		l.format = appendJSONLine
	case "combined":
		l.format = appendCombinedLine
	default:
		return prefix.Errorf("web: log: there is no format %q, write json or combined",
			l.Log.Format)
	}
	l.file = os.Stdout
	if l.handed != nil {
		l.file = l.handed
	}
	if l.Log.File != "" {
		file, err := l.open()
		if err != nil {
			return prefix.Errorf("web: log: %w", err)
		}
		l.file = file
	}
	if l.Pending <= 0 {
		l.Pending = defaultPending
	}
	l.looked = time.Now()
	l.wake = make(chan struct{}, 1)
	l.full = make(chan struct{}, 1)
	l.written = make(chan struct{})
	go l.write() // ends after Close, which waits for it
	return nil
}

func (l *AccessLog) open() (file *os.File, err error) {
	if l.Open == nil {
		//nolint:gosec // the group of the file reads logs
		return os.OpenFile(l.Log.File, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	}
	panicked := guard.Run(func() error {
		file, err = l.Open(l.Log.File)
		return nil
	})
	if panicked != nil {
		return nil, panicked
	}
	if file == nil && err == nil {
		err = errors.New("AccessLog.Open gave no file")
	}
	return file, err
}

// Observe logs a request.
func (l *AccessLog) Observe(r *distrib.Record) {
	buf := lineBuffers.Get().(*[]byte)
	line := l.format((*buf)[:0], r)
	l.mu.Lock()
	before := len(l.pending)
	switch {
	case l.closed, before+len(line) > l.Pending:
		l.dropped++
		l.untold++
	default:
		l.pending = append(l.pending, line...)
	}
	after := len(l.pending)
	l.mu.Unlock()
	if cap(line) <= maxKept {
		*buf = line
		lineBuffers.Put(buf)
	}
	if before == 0 && after > 0 {
		wakeUp(l.wake)
	}
	if before < flushBytes && after >= flushBytes {
		wakeUp(l.full)
	}
}

func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is told already
	}
}

// Reopen has the file opened again before the next line is written.
func (l *AccessLog) Reopen() {
	l.mu.Lock()
	l.reopen = true
	l.mu.Unlock()
	wakeUp(l.wake)
	wakeUp(l.full)
}

// take has lines go to a file that was handed over, which it owns.
func (l *AccessLog) take(file *os.File) {
	l.mu.Lock()
	before := l.next
	l.next = file
	closed := l.closed
	l.mu.Unlock()
	if before != nil {
		_ = before.Close() // no line got there
	}
	if !closed {
		wakeUp(l.wake)
		wakeUp(l.full)
	}
}

// Dropped is how many lines were dropped since Start.
func (l *AccessLog) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Close writes what waits, for at most 5 s, and closes the file. Later requests are not logged.
func (l *AccessLog) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	wakeUp(l.wake)
	wakeUp(l.full)
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-l.written:
		return nil
	case <-timer.C:
		return errors.New("web: log: the file takes no lines, some are lost")
	}
}

// write is the writer's goroutine: it ends when the log is closed and all is written.
func (l *AccessLog) write() {
	defer close(l.written)
	var spare []byte
	timer := time.NewTimer(flushTime)
	defer timer.Stop()
	for {
		<-l.wake
		timer.Reset(flushTime)
		select {
		case <-l.full:
		case <-timer.C:
		}
		l.mu.Lock()
		batch, dropped, reopen, closed := l.pending, l.untold, l.reopen, l.closed
		l.pending, l.untold, l.reopen = spare[:0], 0, false
		next := l.next
		l.next = nil
		l.mu.Unlock()
		if next != nil {
			if l.file != os.Stdout {
				_ = l.file.Close() // it was written
			}
			l.file, l.broken = next, false
		}
		l.follow(reopen)
		if dropped > 0 {
			batch = append(batch, l.droppedLine(dropped)...)
			l.logger().Warn("requests are missing in the access log, the disk was too slow",
				"dropped", dropped)
		}
		l.put(batch)
		spare = batch
		if closed {
			if l.file != os.Stdout {
				_ = l.file.Close() // it was written
			}
			return
		}
	}
}

// follow opens the file again where that is asked for, or where its name leads elsewhere by now.
func (l *AccessLog) follow(asked bool) {
	if l.Log.File == "" {
		return
	}
	if now := time.Now(); !asked {
		if now.Sub(l.looked) < lookTime {
			return
		}
		l.looked = now
		named, err := os.Stat(l.Log.File)
		ours, bad := l.file.Stat()
		if bad != nil || err != nil && !errors.Is(err, fs.ErrNotExist) ||
			err == nil && os.SameFile(named, ours) {
			return
		}
	}
	file, err := l.open()
	if err != nil {
		l.logger().Error("the access log cannot be opened again, the old file is kept",
			"err", err)
		return
	}
	_ = l.file.Close() // it was written
	l.file, l.broken = file, false
}

// put writes lines.
func (l *AccessLog) put(batch []byte) {
	if len(batch) == 0 {
		return
	}
	if l.broken {
		if _, err := l.file.WriteString("\n"); err == nil {
			l.broken = false
		}
	}
	n, err := l.file.Write(batch)
	if err == nil {
		return
	}
	lost := bytes.Count(batch[n:], []byte("\n"))
	l.broken = l.broken || n > 0 && batch[n-1] != '\n'
	l.mu.Lock()
	l.dropped += uint64(lost) //nolint:gosec // a count
	l.untold += uint64(lost)  //nolint:gosec // a count
	l.mu.Unlock()
	l.logger().Error("the access log cannot be written", "err", err, "dropped", lost)
}

func (l *AccessLog) logger() *slog.Logger { return l.log.Logger(l.Logger) }
