package distrib

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// The control socket of a part is one end of a SOCK_SEQPACKET pair, so messages keep their bounds
// and nothing is ever in between. A message is one byte of kind and at most 255 bytes of text; some
// carry exactly one descriptor.
//
//	monitor → part: the plan (JSON, read by the sandbox before the program runs), then
//	                listener(name)+fd, file(name)+fd, …, begin, then
//	                [files(name:number)+fd,] link(name:number[:mount])+fd as links come
//	init → monitor: born+fd, where an init starts the part, and failed(why) where it cannot
//	part → monitor: report(what holds) or failed(why) from the sandbox, then ready, start(name),
//	                stop(name), ended(name:number) of a link that ended, serves(name:number) of
//	                one that serves, took(name[:why not]) of each file that came after begin
//
// A part with a list of addresses, and its dialer, also get dialer+fd, and may say dialEnded.
//
// The links of a back end are numbered from 1, so that a late word about one is not taken for its
// successor's.
//
// The end of the socket is the end of the other side: a part without a monitor exits, a part that
// closes it is killed.

type messageKind byte

const (
	msgListener messageKind = iota + 1
	msgFile
	msgBegin
	msgLink
	msgReport
	msgFailed
	msgReady
	msgStart
	msgStop
	msgBorn // from init, before all else: the part's process, as a descriptor
	msgEnded
	msgServes
	msgDialer    // a new socket between a part and its dialer, to both
	msgDialEnded // from a part that closed it, or had no descriptor for it
	msgTook
	msgFiles // the socket beside a link, before that
)

const (
	maxText = 255
	maxPlan = 64 << 10
)

var (
	errControl = errors.New("distrib: control socket out of step")
	// errLost is a message whose descriptor the kernel dropped, as this process may open no more.
	// The next may come whole.
	errLost = errors.New("distrib: a descriptor was lost, this process has none free; raise " +
		"Rights.Descriptors or close some")
)

type message struct {
	kind messageKind
	text string
}

// carries says whether a descriptor comes with the message.
func (k messageKind) carries() bool {
	return k == msgListener || k == msgFile || k == msgLink || k == msgBorn ||
		k == msgDialer || k == msgFiles
}

// named says whether the text is the name of a part, a listener or a file.
func (k messageKind) named() bool {
	return k == msgListener || k == msgFile || k == msgStart || k == msgStop
}

// numbered says whether the text is the name and the number of a link.
func (k messageKind) numbered() bool {
	return k == msgEnded || k == msgServes || k == msgFiles
}

// bare says whether there is no text.
func (k messageKind) bare() bool {
	return k == msgBegin || k == msgReady || k == msgDialer || k == msgDialEnded
}

// linkText names a link in a message.
func linkText(name string, number uint64) string {
	return name + ":" + strconv.FormatUint(number, 10)
}

// parseLink is the reverse of linkText.
func parseLink(text string) (name string, number uint64, ok bool) {
	name, digits, _ := strings.Cut(text, ":")
	number, err := strconv.ParseUint(digits, 10, 64)
	return name, number, err == nil && number > 0 && validName(name)
}

// handedText is what goes with a link: its name and number, and its mount if that is another name.
func handedText(name, mount string, number uint64) string {
	if mount == name {
		return linkText(name, number)
	}
	return linkText(name, number) + ":" + mount
}

// parseHanded is the reverse of handedText.
func parseHanded(text string) (l Link, ok bool) {
	link, mount, other := text, "", false
	if i := strings.LastIndexByte(text, ':'); i > strings.IndexByte(text, ':') {
		link, mount, other = text[:i], text[i+1:], true
	}
	l.Name, l.number, ok = parseLink(link)
	if l.Mount = l.Name; other {
		l.Mount = mount
	}
	return l, ok && validName(l.Mount)
}

func (m message) encode() []byte {
	return append([]byte{byte(m.kind)}, m.text[:min(len(m.text), maxText)]...)
}

// decodeMessage takes one message as it came; descriptors is how many came with it.
func decodeMessage(b []byte, descriptors int) (message, error) {
	if len(b) < 1 || len(b) > 1+maxText {
		return message{}, fmt.Errorf("%w: %d bytes", errControl, len(b))
	}
	m := message{messageKind(b[0]), string(b[1:])}
	if m.kind < msgListener || m.kind > msgFiles {
		return message{}, fmt.Errorf("%w: kind %d", errControl, b[0])
	}
	want := 0
	if m.kind.carries() {
		want = 1
	}
	if descriptors != want {
		return message{}, fmt.Errorf("%w: kind %d with %d descriptors", errControl,
			b[0], descriptors)
	}
	if m.kind.named() && !validName(m.text) {
		return message{}, fmt.Errorf("%w: %q is no name", errControl, m.text)
	}
	if _, _, ok := parseLink(m.text); m.kind.numbered() && !ok {
		return message{}, fmt.Errorf("%w: %q is no link", errControl, m.text)
	}
	if _, ok := parseHanded(m.text); m.kind == msgLink && !ok {
		return message{}, fmt.Errorf("%w: %q is no link", errControl, m.text)
	}
	if name, _, _ := strings.Cut(m.text, ":"); m.kind == msgTook && !validName(name) {
		return message{}, fmt.Errorf("%w: %q is no file", errControl, m.text)
	}
	if m.kind.bare() && m.text != "" {
		return message{}, fmt.Errorf("%w: text after kind %d", errControl, b[0])
	}
	return m, nil
}

// rules is what the monitor holds a part to. It is used by the one goroutine that reads the part's
// socket; words is for any.
type rules struct {
	mayBeBorn               bool // an init starts the part, and nothing was said yet
	reported, failed, ready bool
	tokens                  float64
	last                    time.Time
	words                   atomic.Int64 // about links, that the part may still say
	files                   atomic.Int64 // that it has yet to answer
}

// wordsPerLink is what a part may say of each link that it was handed: once that it serves, once
// that it ended.
const wordsPerLink = 2

const (
	burst  = 32  // messages at once
	refill = 4.0 // messages a second
)

// admit says whether a part may send this message now.
func (r *rules) admit(m message, now time.Time) error {
	if m.kind == msgEnded || m.kind == msgServes { // paid for by the links that the monitor made
		switch {
		case !r.reported:
			return fmt.Errorf("%w: a word about a link before the report", errControl)
		case r.words.Add(-1) < 0:
			return fmt.Errorf("%w: more words about links than links", errControl)
		}
		return nil
	}
	if m.kind == msgTook {
		switch {
		case !r.reported:
			return fmt.Errorf("%w: a word about a file before the report", errControl)
		case r.files.Add(-1) < 0:
			return fmt.Errorf("%w: more words about files than files", errControl)
		}
		return nil
	}
	if r.last.IsZero() {
		r.last, r.tokens = now, burst
	}
	r.tokens = min(burst, r.tokens+refill*now.Sub(r.last).Seconds())
	r.last = now
	if r.tokens < 1 {
		return fmt.Errorf("%w: too many messages", errControl)
	}
	r.tokens--
	mayBeBorn := r.mayBeBorn
	r.mayBeBorn = false
	switch m.kind {
	case msgBorn:
		if !mayBeBorn {
			return fmt.Errorf("%w: born out of turn", errControl)
		}
		return nil
	case msgReport:
		if r.reported {
			return fmt.Errorf("%w: a second report", errControl)
		}
		r.reported = true
		return nil
	case msgFailed: // also after the report, where the program cannot be executed
		if r.failed || r.ready {
			return fmt.Errorf("%w: failed out of turn", errControl)
		}
		r.failed = true
		return nil
	case msgReady:
		if r.ready || !r.reported {
			return fmt.Errorf("%w: ready out of turn", errControl)
		}
		r.ready = true
		return nil
	case msgStart, msgStop, msgDialEnded:
		if !r.reported {
			return fmt.Errorf("%w: a request before the report", errControl)
		}
		return nil
	default:
		return fmt.Errorf("%w: kind %d is the monitor's", errControl, m.kind)
	}
}
