package harness

import (
	"errors"
	"os"
	"runtime/pprof"
)

// profiler is a child's CPU profile. The zero value has none running.
type profiler struct{ file *os.File }

func (p *profiler) start(name string) error {
	if p.file != nil {
		return errors.New("harness: a profile is running")
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	p.file = f
	return pprof.StartCPUProfile(f)
}

func (p *profiler) stop() error {
	if p.file == nil {
		return errors.New("harness: no profile is running")
	}
	pprof.StopCPUProfile()
	err := p.file.Close()
	p.file = nil
	return err
}

// writeAllocs writes what has been allocated so far.
func writeAllocs(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}
