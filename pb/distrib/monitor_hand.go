package distrib

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
)

// errPartEnded is what becomes of a file whose part ends before it has answered.
var errPartEnded = errors.New("distrib: the part ended before it took the file")

// Hand gives a file to a part that runs, which takes it by Handover.Files, and to its later lives
// as one of its Files. It returns what the part says of it; after an error nothing has changed, and
// the part's later lives get what was there before. A part that does not run gets it with its next
// life, without being asked. Leave the file open until Run has returned, or another of its name is
// in its place. When ctx ends first its error is returned, and what the part says counts all the
// same. It may be called from any goroutine while Run runs.
func (m *Monitor) Hand(ctx context.Context, part, name string, f *os.File) error {
	if !validName(name) {
		return fmt.Errorf("distrib: %q is no name for a file", name)
	}
	return m.do(ctx, func(l *loop, done chan<- error) { l.hand(part, handing{name, f, done}) })
}

// A handing is a file on its way to a part.
type handing struct {
	name string
	file *os.File
	done chan<- error // has room; nil: nobody asks
}

func (g handing) end(err error) {
	if g.done != nil {
		g.done <- err
	}
}

// hand hands a file to the part of that name.
func (l *loop) hand(part string, g handing) {
	i := slices.IndexFunc(l.slots, func(s *slot) bool { return s.part.Name == part })
	switch {
	case l.phase != serving:
		g.end(ErrStopped)
		return
	case i < 0:
		g.end(fmt.Errorf("distrib: no part is called %q", part))
		return
	}
	s := l.slots[i]
	files := len(s.part.Listeners) + len(s.part.Files) + len(s.handings)
	switch {
	case s.part.Files[g.name] == nil && files >= maxHandovers:
		g.end(fmt.Errorf("distrib: part %s would be handed more than %d descriptors", part,
			maxHandovers))
	case s.run == nil:
		l.keepFile(s, g)
	default:
		l.handTo(s, g)
	}
}

// handTo sends a file to a life that runs.
func (l *loop) handTo(s *slot, g handing) {
	if err := s.run.file(g.name, g.file); err != nil {
		g.end(fmt.Errorf("distrib: part %s takes no file: %w", s.part.Name, err))
		return
	}
	s.handings = append(s.handings, g)
}

// keepFile makes the file one that later lives of the part get, its second one among them.
func (l *loop) keepFile(s *slot, g handing) {
	part := *s.part // lives before this one may still be read from the old
	part.Files = maps.Clone(part.Files)
	if part.Files == nil {
		part.Files = map[string]*os.File{}
	}
	part.Files[g.name] = g.file
	s.part = &part
	if s.next != nil {
		s.next.part = &part
		if s.next.run != nil {
			l.handTo(s.next, handing{name: g.name, file: g.file})
		}
	}
	g.end(nil)
}

// took is a part's word about the oldest file of a name that was handed to it.
func (l *loop) took(s *slot, name, why string) {
	i := slices.IndexFunc(s.handings, func(g handing) bool { return g.name == name })
	if i < 0 {
		l.log.Warn("part spoke of a file that was not handed to it", "part", s.part.Name,
			"file", name)
		return
	}
	g := s.handings[i]
	s.handings = slices.Delete(s.handings, i, i+1)
	switch {
	case why != "":
		g.end(fmt.Errorf("distrib: part %s: %s", s.part.Name, why))
	case slices.Contains(l.slots, s):
		l.keepFile(s, g)
	default: // a second life, for which it is kept already, or one that is replaced
		g.end(nil)
	}
}

// dropFiles ends what a part that has ended did not answer.
func (s *slot) dropFiles() {
	for _, g := range s.handings {
		g.end(errPartEnded)
	}
	s.handings = nil
}
