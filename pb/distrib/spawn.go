package distrib

import (
	"errors"
	"os"
	"sync/atomic"
)

// ranChild is set by RunChild: only a program that calls it can be started again as a part.
var ranChild atomic.Bool

// launcher starts parts and makes links. The monitor's loop knows processes only through it.
type launcher interface {
	// launch starts the part. What becomes of it is told to tell, from other goroutines; the last
	// event is always eventExited, after which there is none.
	launch(p *Part, tell func(event)) (running, error)
	// pair makes a link.
	pair() (front, back linkEnd, err error)
	// dialPair makes a socket between a part and its dialer.
	dialPair() (part, dialer *os.File, err error)
	// socket connects to a part's Socket and tells what came of it by one event eventDialled, from
	// another goroutine. That waits for no peer.
	socket(p *Part, tell func(event))
	// close ends what the launcher itself runs; every part has exited by then.
	close()
}

// running is one life of a part.
type running interface {
	pid() int
	// link hands an end of a link over without ever waiting; the caller still closes its own copy.
	link(name, mount string, number uint64, end linkEnd) error
	// file hands a file over as link does.
	file(name string, f *os.File) error
	// dialer hands over an end of the socket to the part's dialer, or to its part, as link does.
	dialer(end *os.File) error
	signal(os.Signal) error
}

// A linkEnd is one end of a link, and of the socket for files beside it, if there is one.
type linkEnd struct{ conn, files *os.File }

// Close closes both.
func (e linkEnd) Close() error {
	if e.files == nil {
		return e.conn.Close()
	}
	return errors.Join(e.conn.Close(), e.files.Close())
}

type eventKind int

const (
	eventExited  eventKind = iota // text: how
	eventDying                    // its control socket ended, eventExited follows
	eventStarted                  // its process is known
	eventReport                   // held: what holds the part
	eventFailed                   // text: the sandbox could not be built
	eventReady
	eventStart      // text: name of a part
	eventStop       // text: name of a part
	eventFault      // text: the part broke the rules of the control socket
	eventLinkEnded  // text, number: name and number of a link
	eventLinkServes // text, number: as above
	eventTook       // text: name of a file that it was handed; why: it did not take it, or empty
	eventDialEnded  // its socket to the dialer ended by its own doing
	eventDialled    // conn or err: a connection to a part's Socket
)

type event struct {
	slot *slot
	run  running
	kind eventKind
	text string
	why  string
	held []string

	report report // of eventReport

	number uint64

	conn  *os.File // of eventDialled
	err   error
	front *slot // for which it was made
}
