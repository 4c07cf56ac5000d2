package distrib

import (
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func inherit() (*Handover, error) {
	number, ok := os.LookupEnv(envControl)
	if !ok {
		return nil, ErrNotManaged
	}
	name, keep := os.Getenv(envPart), os.Getenv(envKeepExec) != ""
	network := os.Getenv(envNetwork)
	for _, key := range []string{envControl, envPart, envKeepExec, envNetwork} {
		if err := os.Unsetenv(key); err != nil {
			return nil, err
		}
	}
	fd, err := strconv.Atoi(number)
	if err != nil || fd < 3 || fd > 1<<20 {
		return nil, fmt.Errorf("distrib: %s=%q is no descriptor", envControl, number)
	}
	// It came through exec, so the flag is off; from here on no child may have it.
	unix.CloseOnExec(fd)
	ctl, err := controlOf(os.NewFile(uintptr(fd), "control"))
	if err != nil {
		return nil, err
	}
	h := newHandover(name, keep, ctl)
	h.network = network
	if err := h.takeInitial(); err != nil {
		ctl.close()
		return nil, err
	}
	// Ends with the process: that is what it is for.
	go h.read(func(error) { os.Exit(exitOrphan) })
	return h, nil
}

func newHandover(name string, keepExec bool, ctl *control) *Handover {
	return &Handover{name: name, keepExec: keepExec, ctl: ctl, news: make(chan struct{}, 1),
		fileNews:  make(chan struct{}, 1),
		listeners: map[string]net.Listener{}, files: map[string]*os.File{},
		ended: map[string]uint64{}, beside: map[string]beside{}}
}
