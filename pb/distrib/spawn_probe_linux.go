package distrib

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// Probe finds out what the kernel can do to hold parts apart by starting a part that does nothing,
// in the best way first. It takes some tens of milliseconds and leaves nothing behind. main must
// have called RunChild.
func Probe(ctx context.Context) Separation {
	if !ranChild.Load() {
		return Separation{Reason: ErrNoRunChild.Error()}
	}
	reason := ""
	for _, candidate := range candidates() {
		in, err := tryOut(ctx, candidate)
		if err == nil {
			candidate = found(candidate, in)
			if candidate.Mode == ByUser && candidate.flags == allFlags() ||
				candidate.Mode == ByNamespace && os.Getuid() != 0 {
				reason = "" // the best there is for this user
			}
			candidate.Reason = reason
			return candidate
		}
		if reason == "" {
			reason = fmt.Sprintf("no %s: %v", candidate, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	none := Separation{Reason: reason}
	if in, err := tryOut(ctx, none); err == nil {
		none = found(none, in)
	}
	return none
}

// found is a way to hold parts apart with what its probe reported.
func found(s Separation, in report) Separation {
	s.probed, s.filters, s.files = true, in.seccomp, in.landlock > 0
	return s
}

func candidates() []Separation {
	var all []Separation
	if os.Geteuid() == 0 {
		all = append(all,
			Separation{Mode: ByUser, flags: allFlags(), mounts: true},
			Separation{Mode: ByUser, flags: allFlags() &^ unix.CLONE_NEWNS},
			Separation{Mode: ByUser})
	}
	return append(all, Separation{Mode: ByNamespace, flags: allFlags(), mounts: true})
}

// try says whether a way to hold parts apart works.
func try(ctx context.Context, sep Separation) error {
	_, err := tryOut(ctx, sep)
	return err
}

// tryOut starts a part that only has to come out of its sandbox alive, and returns what held it.
func tryOut(ctx context.Context, sep Separation) (in report, err error) {
	part := &Part{Name: "probe", Stderr: io.Discard, Stdout: io.Discard}
	release, err := assignIDs(sep, []*Part{part})
	if err != nil {
		return in, err
	}
	defer release()
	launched, err := newLauncher(sep, io.Discard, slog.New(slog.DiscardHandler))
	if err != nil {
		return in, err
	}
	s, ok := launched.(*spawner)
	if !ok {
		return in, ErrUnsupported
	}
	defer s.close()
	events := make(chan event, 8) // report, failed, exited
	l, err := s.launchAs(part, childProbe, func(e event) { events <- e })
	if err != nil {
		return in, err
	}
	var failure error
	reported, cancelled := false, ctx.Done()
	for {
		select {
		case <-cancelled:
			_ = l.signal(os.Kill)
			cancelled, failure = nil, ctx.Err()
		case e := <-events:
			switch e.kind {
			case eventReport:
				reported, in = true, e.report
			case eventFailed, eventFault:
				failure = errors.New(e.text)
			case eventExited:
				if failure == nil && (!reported || e.text != "exit status 0") {
					failure = fmt.Errorf("the probe ended with %s", e.text)
				}
				return in, failure
			default:
			}
		}
	}
}
