package harness

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// The driver speaks to its children in lines of JSON over their standard input
// and output: one request, one reply. A child ends when its input does, so none
// outlives the driver.

// request is what the driver wants of a child.
type request struct {
	Do     action    `json:"do"`
	Kind   string    `json:"kind,omitempty"` // of network
	Addr   string    `json:"addr,omitempty"`
	TLS    *Identity `json:"tls,omitempty"`
	Load   *Load     `json:"load,omitempty"`   // for run and fetch
	Count  int       `json:"count,omitempty"`  // clients to open; chains to make
	Depth  int       `json:"depth,omitempty"`  // of a chain
	Settle bool      `json:"settle,omitempty"` // collect garbage before the stats are read
	File   string    `json:"file,omitempty"`   // for a profile; the socket between front and back
}

// action is what a child can do.
type action string

const (
	doServe   action = "serve"   // a server: listen and serve
	doOpen    action = "open"    // a client: open Count clients
	doPop     action = "pop"     // a client: close the newest client
	doRun     action = "run"     // a client: make the calls of Load
	doChain   action = "chain"   // a client: make Count chains of Depth calls
	doBack    action = "back"    // a back end of pages: serve
	doFront   action = "front"   // a front of pages: listen and serve
	doFetch   action = "fetch"   // a load generator: get pages
	doStats   action = "stats"   // any: read the stats
	doProfile action = "profile" // any: begin a CPU profile in File
	doStop    action = "stop"    // any: end it
	doAllocs  action = "allocs"  // any: write a profile of allocations to File
)

// reply is a child's answer.
type reply struct {
	Err     string  `json:"err,omitempty"`
	Addr    string  `json:"addr,omitempty"`
	Calls   int64   `json:"calls,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	P50     float64 `json:"p50_us,omitempty"` // of one caller
	P99     float64 `json:"p99_us,omitempty"`
	Stats   *Stats  `json:"stats,omitempty"` // now, or what a load used
}

// Child is what a process of the benchmark does that the driver started, until
// its input ends: it plays a role for the contestant or the pages of that name.
func Child(role, name string) error {
	do, err := playing(role, name)
	if err != nil {
		return err
	}
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var q request
		if err := json.Unmarshal(line, &q); err != nil {
			return fmt.Errorf("harness: what the driver asks: %w", err)
		}
		r, err := do(&q)
		if err != nil {
			r = &reply{Err: err.Error()}
		}
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if _, err := out.Write(append(b, '\n')); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

// The roles of children.
const (
	roleServer = "server"
	roleClient = "client"
	roleFront  = "front"
	roleBack   = "back"
	roleLoad   = "load"
)

// playing returns what answers the requests to a role.
func playing(role, name string) (func(*request) (*reply, error), error) {
	var own map[action]func(*request) (*reply, error)
	switch role {
	case roleServer, roleClient:
		c, err := lookup(name)
		if err != nil {
			return nil, err
		}
		ch := &caller{contestant: c}
		own = map[action]func(*request) (*reply, error){
			doServe: func(q *request) (*reply, error) { return serve(c, q) },
			doOpen:  ch.open, doPop: ch.pop, doRun: ch.run, doChain: ch.chain,
		}
	case roleFront, roleBack:
		p, err := lookupPages(name)
		if err != nil {
			return nil, err
		}
		own = map[action]func(*request) (*reply, error){
			doFront: func(q *request) (*reply, error) { return serveFront(p, q) },
			doBack:  func(q *request) (*reply, error) { return serveBack(p, q) },
		}
	case roleLoad:
		own = map[action]func(*request) (*reply, error){doFetch: fetch}
	default:
		return nil, fmt.Errorf("harness: no role %q", role)
	}
	var prof profiler
	return func(q *request) (*reply, error) {
		switch q.Do {
		case doStats:
			s, err := readStats(q.Settle)
			return &reply{Stats: s}, err
		case doProfile:
			return &reply{}, prof.start(q.File)
		case doStop:
			return &reply{}, prof.stop()
		case doAllocs:
			return &reply{}, writeAllocs(q.File)
		default:
			if f := own[q.Do]; f != nil {
				return f(q)
			}
			return nil, fmt.Errorf("harness: a %s can not %s", role, q.Do)
		}
	}, nil
}
