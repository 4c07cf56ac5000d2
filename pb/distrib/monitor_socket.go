package distrib

import (
	"slices"
	"time"
)

// A back end with a Socket lives elsewhere: its slot never runs, and its link is a connection that
// a goroutine of the launcher makes.
//
//	none --front runs--> dialing --connected--> handed --front: serves--> up
//	 ^                     ^  |                    |                       |
//	 |                     |  └--failed--┐         └-----front: ended------┤
//	 |                     └-----due--- down <-----------------------------┘
//	 └------ exit of the front, from any state

// elsewhere says whether the part is no process of the monitor's.
func (s *slot) elsewhere() bool { return s.part.Socket != "" }

// dialSocket begins to connect for a life of the front, if it runs and nobody does already.
func (l *loop) dialSocket(front, back *slot) {
	link := back.linkTo(front)
	if front.run == nil || l.phase != serving {
		link.state = linkNone
		return
	}
	if link.dialing {
		return
	}
	link.dialing, link.made = true, time.Now()
	l.launcher.socket(back.part, func(e event) {
		e.slot, e.front, e.kind = back, front, eventDialled
		if !l.tell(e) && e.conn != nil {
			_ = e.conn.Close() // nobody wants it any more
		}
	})
}

// dialled hands a new connection to the front, or waits for another.
func (l *loop) dialled(e event) {
	if e.conn != nil {
		defer func() { _ = e.conn.Close() }() // the front has its own
	}
	front, back := e.front, e.slot
	if !slices.Contains(l.fronts(), front) {
		return // it has retired, or was given up
	}
	link := back.linkTo(front)
	link.dialing = false
	if front.run == nil || l.phase != serving {
		link.state = linkNone
		return
	}
	if e.err != nil {
		wait := l.linkDown(link)
		if why := e.err.Error(); why != link.away {
			link.away = why
			l.log.Warn("back end is away, its requests wait", "part", back.part.Name, "err", e.err,
				"again in", wait)
		}
		return
	}
	if link.away != "" {
		l.log.Info("back end is back", "part", back.part.Name)
	}
	if link.number > 0 {
		link.again++
	}
	name := back.part.Name
	l.numbers[name]++
	link.away, link.number, link.state, link.made = "", l.numbers[name], linkHanded, time.Now()
	if err := front.run.link(name, back.part.mount(), link.number,
		linkEnd{conn: e.conn}); err != nil {
		l.log.Warn("front takes no link", "part", name, "err", err)
		l.kill(front)
	}
}
