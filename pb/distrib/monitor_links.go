package distrib

import (
	"errors"
	"iter"
	"os"
	"slices"
	"time"
)

// A link's life, that of the pair between one life of the front and one of a back end (slotLink):
//
//	none --both run--> handed --front: serves--> up
//	 ^                   | ^                      |
//	 |                   | └--due--┐              |
//	 |                   └--ended--┴ down <-ended-┘
//	 └-------- exit of either part, from any state
//
// ended: either end says so, by the link's number. The numbers of a back end's links are of one
// sequence, over all its lives and the front's, so a number names one pair.

// A slotLink is what the monitor knows of a back end's link to the front.
type slotLink struct {
	state  linkState
	number uint64    // of the newest pair; late words about older ones are not heard
	made   time.Time // when that was
	ends   int       // in a row, for the backoff
	again  int       // how often a link was made while both parts lived on
	due    time.Time // when to make the next; zero: not

	dialing bool   // to a Socket: a connection is being made, see monitor_socket.go
	away    string // why the last one came to nothing
}

type linkState int

const (
	linkNone linkState = iota
	linkHanded
	linkUp
	linkDown
)

// backs are the lives of back ends that have links, the second ones of restarts among them and
// behind the first.
func (l *loop) backs() []*slot {
	backs := slices.Clone(l.slots[1:])
	for _, next := range l.successors() {
		if !next.front {
			backs = append(backs, next)
		}
	}
	return backs
}

// fronts are the front's life and, while it restarts, its second one.
func (l *loop) fronts() []*slot {
	if l.front.next == nil {
		return []*slot{l.front}
	}
	return []*slot{l.front, l.front.next}
}

// linkTo is the back end's link to one of the front's lives.
func (s *slot) linkTo(front *slot) *slotLink {
	if front.replaces != nil {
		return &s.ahead
	}
	return &s.link
}

// linksOf gives the links of a life, be it the front's or a back end's, with both their ends.
func (l *loop) linksOf(s *slot) iter.Seq2[*slotLink, [2]*slot] {
	return func(yield func(*slotLink, [2]*slot) bool) {
		for _, front := range l.fronts() {
			for _, back := range l.backs() {
				if (s == front || s == back) && !yield(back.linkTo(front), [2]*slot{front, back}) {
					return
				}
			}
		}
	}
}

// connectAll gives a life that has started its links.
func (l *loop) connectAll(s *slot) {
	for _, ends := range l.linksOf(s) {
		l.connect(ends[0], ends[1])
	}
}

// connect makes a new link between a life of the front and one of a back end, if both run. A part
// that cannot take its end has not read its control socket for a hundred messages: it is stuck, and
// dies.
func (l *loop) connect(front, back *slot) {
	link := back.linkTo(front)
	link.due = time.Time{}
	if back.elsewhere() {
		l.dialSocket(front, back)
		return
	}
	if front.run == nil || back.run == nil {
		link.state = linkNone
		return
	}
	a, b, err := l.launcher.pair()
	if err != nil {
		// out of descriptors, most likely
		l.log.Error("no link", "part", back.part.Name, "err", err)
		l.linkDown(link)
		return
	}
	defer func() { _ = a.Close(); _ = b.Close() }()
	name, mount := back.part.Name, back.part.mount()
	l.numbers[name]++
	link.number, link.state, link.made = l.numbers[name], linkHanded, time.Now()
	if err := front.run.link(name, mount, link.number, a); err != nil {
		l.log.Warn("front takes no link", "part", name, "err", err)
		l.kill(front)
	}
	if err := back.run.link(name, mount, link.number, b); err != nil {
		l.log.Warn("back end takes no link", "part", name, "err", err)
		l.kill(back)
	}
}

// linkDown decides when there is another link, and returns how long that takes.
func (l *loop) linkDown(link *slotLink) time.Duration {
	wait, ends := l.relink.next(link.ends, time.Since(link.made))
	link.state, link.ends, link.due = linkDown, ends, time.Now().Add(wait)
	return wait
}

// heardOfLink takes what a part says of a link: a back end of its own, the front of any.
func (l *loop) heardOfLink(from *slot, e event) {
	if slices.Contains(l.retiring, from) {
		return // another life has its place
	}
	known := from.part.Name == e.text || from.front && slices.ContainsFunc(l.slots,
		func(s *slot) bool { return s.part.Name == e.text })
	for link, ends := range l.linksOf(from) {
		front, back := ends[0], ends[1]
		if back.part.Name != e.text || link.number != e.number {
			continue
		}
		switch {
		case link.state != linkHanded && link.state != linkUp: // the other end was quicker
		case e.kind == eventLinkEnded:
			l.linkEnded(from, front, back)
		case from == front:
			front.tells, link.state = true, linkUp
		}
		return
	}
	if !known {
		l.log.Warn("part spoke of a link that is not its own", "part", from.part.Name,
			"link", e.text)
	}
}

// linkEnded takes the word of one end that their link has ended.
func (l *loop) linkEnded(from, front, back *slot) {
	link := back.linkTo(front)
	if back.replaces != nil && front == l.front {
		l.giveUp(back, errors.New("its link ended"))
		return
	}
	if l.phase != serving || !front.lives() || !back.lives() || back.next.linked() {
		link.state = linkDown // with its part, whose next life gets a new one
		return
	}
	wait := l.linkDown(link)
	l.log.Warn("link ended before its parts did", "part", back.part.Name, "told by",
		from.part.Name, "in a row", link.ends, "again in", wait)
}

// unlink forgets the links of a part that has exited: its next life gets new ones.
func (l *loop) unlink(s *slot) {
	for link := range l.linksOf(s) {
		link.state, link.due = linkNone, time.Time{}
	}
}

// linkedTo says whether a back end has a link to a life of the front, as far as that lets the
// monitor know.
func (s *slot) linkedTo(front *slot) bool {
	link := s.linkTo(front)
	return link.state == linkUp || link.state == linkHanded && !front.tells
}

// dialing makes a new socket between a part and its dialer, given either, if both run. As with
// links, one that does not take its end is stuck.
func (l *loop) dialing(s *slot) {
	owner, dialer := s, s.dialer
	if s.owner != nil {
		owner, dialer = s.owner, s
	}
	if dialer == nil || owner.run == nil || dialer.run == nil {
		return
	}
	a, b, err := l.launcher.dialPair()
	if err != nil {
		// out of descriptors, most likely: with the dialer's next life there is another try
		l.log.Error("no socket for a dialer", "part", owner.part.Name, "err", err)
		l.kill(dialer)
		return
	}
	defer func() { _ = a.Close(); _ = b.Close() }()
	for _, end := range []struct {
		of   *slot
		file *os.File
	}{{owner, a}, {dialer, b}} {
		if err := end.of.run.dialer(end.file); err != nil {
			l.log.Warn("part takes no socket of a dialer", "part", end.of.part.Name, "err", err)
			l.kill(end.of)
		}
	}
}
