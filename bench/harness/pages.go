package harness

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Pages is one way to serve web pages, in one process or in two.
type Pages struct {
	// Name stands in the tables.
	Name string
	// Doc says in one line what is measured.
	Doc string
	// Front serves the clients on ln until the process ends.
	Front func(ln net.Listener, l Link) error
	// Back serves Page to the front until the process ends; nil: Front does it all.
	Back func(l Link) error
}

// Link is what a front and a back end have in common. Each uses what suits it.
type Link struct {
	// Conn is this process's end of a pair of joined sockets.
	Conn net.Conn
	// Path is where the back end may listen on a unix socket, which it does before the front
	// starts.
	Path string
}

// PagePath is the path of the page; a split server mounts the back end at
// PagePrefix.
const (
	PagePrefix = "/app/"
	PagePath   = PagePrefix + "page"
)

// page is 1 KiB.
var page = bytes.Repeat(
	[]byte("<p>A page to serve, sixty-four bytes a line of plain HTML.</p>\n\n"), 16)

// Page is the handler whose answers are counted.
var Page http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page) // a client that is gone is the load generator's to report
})

var (
	pages      = map[string]*Pages{}
	pagesOrder []string
)

// RegisterPages adds a way to serve pages. It is called from init functions and
// panics if the name is taken.
func RegisterPages(p *Pages) {
	if pages[p.Name] != nil {
		panic("harness: pages registered twice: " + p.Name)
	}
	pages[p.Name] = p
	pagesOrder = append(pagesOrder, p.Name)
}

// AllPages returns all ways to serve pages, in the order of the tables.
func AllPages() []*Pages {
	ps := make([]*Pages, len(pagesOrder))
	for i, name := range pagesOrder {
		ps[i] = pages[name]
	}
	return ps
}

func lookupPages(name string) (*Pages, error) {
	p := pages[name]
	if p == nil {
		return nil, fmt.Errorf("harness: no pages %q; there are %s", name,
			strings.Join(pagesOrder, ", "))
	}
	return p, nil
}

// linkFD is the descriptor of Link.Conn in a front or a back end.
const linkFD = 3

func link(q *request) (Link, error) {
	f := os.NewFile(linkFD, "link")
	defer func() { _ = f.Close() }()
	c, err := net.FileConn(f)
	return Link{Conn: c, Path: q.File}, err
}

// serveFront starts the front, which ends with the process.
func serveFront(p *Pages, q *request) (*reply, error) {
	l, err := link(q)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", q.Addr)
	if err != nil {
		return nil, err
	}
	serving(p.Name, func() error { return p.Front(ln, l) })
	return &reply{Addr: ln.Addr().String()}, nil
}

// serveBack starts the back end, which ends with the process.
func serveBack(p *Pages, q *request) (*reply, error) {
	l, err := link(q)
	if err != nil {
		return nil, err
	}
	serving(p.Name, func() error { return p.Back(l) })
	return &reply{}, nil
}

// pageNet stands for the network in the figures of pages.
const pageNet = "http"

// pageServer is the processes that serve pages, and the one that asks for them.
type pageServer struct {
	*Pages
	front, back, load *process // back may be nil
	addr              string
}

func (s *pageServer) close() {
	s.load.close()
	s.front.close()
	s.back.close()
}

// pages measures all ways to serve pages, in rounds.
func (d *driver) pages() error {
	if !d.wants(wlPage) {
		return nil
	}
	var servers []*pageServer
	defer func() {
		for _, s := range servers {
			s.close()
		}
	}()
	for _, name := range d.Pages {
		p, err := lookupPages(name)
		if err != nil {
			return err
		}
		s := &pageServer{Pages: p}
		servers = append(servers, s)
		if err := d.startPages(s); err != nil {
			d.note(name, pageNet, "start", err)
		}
	}
	for i, round := range d.samples {
		d.say("pages: round %d of %d", i+1, d.Rounds)
		rand.Shuffle(len(servers),
			func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
		for _, s := range servers {
			if s.addr == "" {
				continue
			}
			if err := d.fetchPages(round, s); err != nil {
				d.note(s.Name, pageNet, wlPage, err)
			}
		}
	}
	return nil
}

func (d *driver) startPages(s *pageServer) (err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ends := [2]*os.File{os.NewFile(uintptr(fds[0]), "front"), os.NewFile(uintptr(fds[1]), "back")}
	defer func() { err = errors.Join(err, ends[0].Close(), ends[1].Close()) }()
	q := request{File: filepath.Join(d.dir, s.Name)}
	if s.Back != nil {
		if s.back, err = spawn(roleBack, s.Name, anyCore, ends[1]); err != nil {
			return err
		}
		q.Do = doBack
		if _, err := s.back.ask(&q, patience); err != nil {
			return err
		}
	}
	if s.front, err = spawn(roleFront, s.Name, anyCore, ends[0]); err != nil {
		return err
	}
	if s.load, err = spawn(roleLoad, s.Name, anyCore); err != nil {
		return err
	}
	q.Do, q.Addr = doFront, "127.0.0.1:0"
	r, err := s.front.ask(&q, patience)
	if err != nil {
		return err
	}
	s.addr = r.Addr
	return nil
}

// pageConns is how many connections ask for pages at once.
const pageConns = 64

// fetchPages sets the CPU that front and back end use for a page.
func (d *driver) fetchPages(round Round, s *pageServer) error {
	fetch := func(length time.Duration) (*reply, error) {
		load := &Load{Callers: pageConns, Millis: int(length.Milliseconds())}
		return s.load.ask(&request{Do: doFetch, Addr: s.addr, Load: load}, patience)
	}
	used := func() (*Stats, error) {
		sum := &Stats{}
		for _, p := range []*process{s.front, s.back} {
			if p == nil {
				continue
			}
			r, err := p.ask(&request{Do: doStats}, patience)
			if err != nil {
				return nil, err
			}
			sum = sum.plus(r.Stats)
		}
		return sum, nil
	}
	if _, err := fetch(2 * warmup); err != nil {
		return err
	}
	before, err := used()
	if err != nil {
		return err
	}
	r, err := fetch(4 * d.Slice)
	if err != nil {
		return err
	}
	after, err := used()
	if err != nil {
		return err
	}
	spent, n := after.since(before), float64(r.Calls)
	for f, v := range map[string]float64{
		"page": n / r.Seconds, "page.cpu": spent.CPU / n, "page.kernel": spent.Kernel / n,
		"page.allocs": float64(spent.Allocs) / n,
		"page.reads":  float64(spent.Reads) / n, "page.writes": float64(spent.Writes) / n,
	} {
		round.set(pageNet, s.Name, f, v)
	}
	return nil
}
