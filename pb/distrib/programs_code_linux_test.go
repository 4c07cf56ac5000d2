package distrib

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"perspective/internal/guard"
)

type codeWriter struct{ bad func() }

func (w codeWriter) Write([]byte) (int, error) { w.bad(); return 0, nil }

type codeListener struct {
	net.Listener

	bad func()
}

func (l codeListener) Addr() net.Addr { l.bad(); return nil }
func (l codeListener) SyscallConn() (syscall.RawConn, error) {
	l.bad()
	return nil, errors.ErrUnsupported
}

// TestProgramsCodeOfMonitor has what a program gives to a monitor panic and end its goroutine: the
// part that it belongs to is served without it, or fails, and the log has an id.
func TestProgramsCodeOfMonitor(t *testing.T) {
	cases := map[string]struct {
		what string // in the log; empty: the error says it
		run  func(t *testing.T, log *slog.Logger, bad func())
	}{
		"Backoff.Rand": {"Backoff.Rand", func(t *testing.T, log *slog.Logger, bad func()) {
			l := newLoop(nil, Separation{}, []*Part{{Name: "front"}},
				Backoff{Rand: func() float64 { bad(); return 0 }}, 0, log, nil)
			if wait, _ := l.backoff.next(0, 0); wait < l.backoff.Min/2 || wait <= 0 {
				t.Errorf("wait %v", wait)
			}
		}},
		"Part.Stdout": {
			"the writer of a part's output", func(_ *testing.T, log *slog.Logger, bad func()) {
				p := newPrinter(&Part{Name: "p"}, func() int { return 7 })
				p.copyLines(&lineWriter{log: log, w: codeWriter{bad}},
					strings.NewReader("one\ntwo\n"), true)
			}},
		"Listener.Addr": {"", func(t *testing.T, _ *slog.Logger, bad func()) {
			d := describePart(&Part{
				Listeners: map[string]net.Listener{"web": codeListener{nil, bad}},
			}, Separation{})
			if len(d.Listens) != 1 || d.Listens[0] != "web=?" {
				t.Errorf("listens at %q", d.Listens)
			}
		}},
		"Listener.SyscallConn": {"", func(t *testing.T, _ *slog.Logger, bad func()) {
			err := withDescriptor(codeListener{nil, bad}, func(int) error { return nil })
			if _, ok := errors.AsType[*guard.PanicError](err); !ok {
				t.Errorf("error %v", err)
			}
		}},
	}
	for name, test := range cases {
		for end, bad := range map[string]func(){"panic": func() { panic("boom") },
			"Goexit": runtime.Goexit} {
			t.Run(name+"/"+end, func(t *testing.T) {
				var log bytes.Buffer
				ended := make(chan struct{})
				go func() { // ends with the case
					defer close(ended)
					defer func() {
						if p := recover(); p != nil {
							t.Errorf("it came out: %v", p)
						}
					}()
					returned := false
					defer func() {
						if !returned {
							t.Error("it ended the goroutine")
						}
					}()
					test.run(t, slog.New(slog.NewTextHandler(&log, nil)), bad)
					returned = true
				}()
				<-ended
				if test.what != "" && !(strings.Contains(log.String(), test.what) &&
					strings.Contains(log.String(), " id=")) {
					t.Errorf("the log has no id: %s", log.String())
				}
			})
		}
	}
}
