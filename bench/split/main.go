// Command split gives the same HTTP load to one Go handler that is served in several ways: by
// net/http alone, through a site of `pb web run` as it comes, through httputil.ReverseProxy,
// through nginx, and to a Twisted page through twisted.web.distrib. It prints what each of them
// uses of the processors for a request, all processes together, against net/http alone.
//
//	go run ./split -rounds 9
//
// It needs Linux, root, and what Debian calls wrk, nginx-light and python3-twisted; ways whose
// programs are missing are left out.
package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "split:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	role           role
	ways, rows     string
	rounds, slice  int
	clients        int
	pb, chart, dir string
	other          string
	quiet          bool
}

func run(args []string) error {
	o := &options{}
	fs := flag.NewFlagSet("split", flag.ExitOnError)
	fs.StringVar(&o.role.name, "role", "", "what the benchmark starts itself as")
	fs.StringVar(&o.role.addr, "addr", "", "with -role: where to listen")
	fs.StringVar(&o.role.back, "back", "", "with -role: the back end's socket")
	fs.StringVar(&o.role.files, "files", "", "with -role: the folder of files")
	fs.StringVar(&o.ways, "ways", "", "measure these, with commas between; all if empty")
	fs.StringVar(&o.rows, "rows", "", "loads, with commas between; all if empty")
	fs.IntVar(&o.rounds, "rounds", 5, "rounds, of which the medians are reported")
	fs.IntVar(&o.slice, "slice", 1, "seconds of one load")
	fs.IntVar(&o.clients, "clients", 1000, "clients of the load that measures memory; 0: none")
	fs.StringVar(&o.pb, "pb", "", "the program pb; empty: it is built")
	fs.StringVar(&o.other, "other", "", "a folder with programs pb and split, made from another "+
		"state of the source: they are the way other")
	fs.StringVar(&o.chart, "chart", "", "write an SVG to this file")
	fs.StringVar(&o.dir, "keep", "", "a folder for files and logs, which stay there")
	fs.BoolVar(&o.quiet, "quiet", false, "do not say what is being done")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.role.name != "" {
		return o.role.serve()
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("there are no arguments but flags: %q", fs.Args())
	}
	return o.measure()
}

// measure starts all ways, loads them in turn, and prints what came of it.
func (o *options) measure() (err error) {
	b := &bench{options: o, dir: o.dir}
	if b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "split"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	}
	if err := b.prepare(); err != nil {
		return err
	}
	defer b.close()
	b.begin()
	if o.clients > 0 {
		b.measureMemory()
	}
	for i := range o.rounds {
		b.say("round %d of %d, load average %s", i+1, o.rounds, loadAverage())
		b.round()
	}
	b.print(os.Stdout)
	if o.chart != "" {
		return os.WriteFile(o.chart, b.drawing(), 0o644)
	}
	return nil
}

// A bench is one run.
type bench struct {
	*options

	dir     string
	servers []*server
	loads   []load
	samples []sample
	memory  map[string]float64 // KiB of anonymous memory for a client, by way
	before  string             // the load average
}

// A sample is what one way used for one load in one round.
type sample struct {
	round     int
	way, load string
	cpu       float64 // µs a request
	rate      float64 // requests a second
}

// prepare makes what the servers need and picks ways and loads.
func (b *bench) prepare() error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { // parts have users of their own
		return err
	}
	files := filepath.Join(b.dir, "files")
	if err := os.MkdirAll(files, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(files, "1M"), make([]byte, 1<<20), 0o644); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// Where parts of a site find it.
	if err := copyFile(filepath.Join(b.dir, "split"), self); err != nil {
		return err
	}
	pb := filepath.Join(b.dir, "pb")
	if b.pb != "" {
		err = copyFile(pb, b.pb)
	} else {
		err = buildPB(pb)
	}
	if err != nil {
		return err
	}
	if b.other != "" {
		if err := errors.Join(copyFile(pb+"-other", filepath.Join(b.other, "pb")),
			copyFile(filepath.Join(b.dir, "split-other"),
				filepath.Join(b.other, "split"))); err != nil {
			return err
		}
	}
	for _, w := range allWays {
		if (wanted(b.ways, w.name) || w.name == direct) && (w.name != other || b.other != "") {
			b.servers = append(b.servers, &server{way: w, bench: b})
		}
	}
	for _, l := range allLoads {
		if wanted(b.rows, l.name) {
			b.loads = append(b.loads, l)
		}
	}
	return nil
}

// buildPB builds the command pb in its own module: this one has not all that it is made of.
func buildPB(to string) error {
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	where, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "perspective").Output()
	if err != nil {
		return fmt.Errorf("go list perspective: %w", err)
	}
	build := exec.Command("go", "build", "-o", to, "./cmd/pb")
	build.Dir, build.Stderr = strings.TrimSpace(string(where)), os.Stderr
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	return build.Run()
}

func copyFile(to, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}

func wanted(list, name string) bool {
	return list == "" || strings.Contains(","+list+",", ","+name+",")
}

// begin starts the servers. Those that do not start are left out.
func (b *bench) begin() {
	b.before = loadAverage()
	var started []*server
	for _, s := range b.servers {
		if err := s.start(); err != nil {
			b.say("%s is left out: %v", s.way.name, err)
			s.stop()
			continue
		}
		started = append(started, s)
	}
	b.servers = started
}

func (b *bench) close() {
	for _, s := range b.servers {
		s.stop()
	}
}

// round gives each load to each way, in an order drawn anew.
func (b *bench) round() {
	n := 0
	if len(b.samples) > 0 {
		n = b.samples[len(b.samples)-1].round + 1
	}
	for _, l := range b.loads {
		rand.Shuffle(len(b.servers), func(i, j int) {
			b.servers[i], b.servers[j] = b.servers[j], b.servers[i]
		})
		for _, s := range b.servers {
			if !s.way.takes(l) {
				continue
			}
			cpu := s.cpu()
			did, took, err := l.run(s, time.Duration(b.slice)*time.Second)
			if err == nil && did == 0 {
				err = errors.New("not one answer")
			}
			if err != nil {
				b.say("%s, %s: %v", s.way.name, l.name, err)
				continue
			}
			b.samples = append(b.samples, sample{round: n, way: s.way.name, load: l.name,
				cpu:  (s.cpu() - cpu).Seconds() * 1e6 / float64(did),
				rate: float64(did) / took.Seconds()})
		}
	}
}

func (b *bench) say(format string, args ...any) {
	if !b.quiet {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}
