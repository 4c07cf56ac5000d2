package web

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// A Problem is something wrong with a site's file, or something that whoever wrote it may not know.
type Problem struct { //nolint:errname // what it is to whoever reads it
	File string // as the path was given
	Line int    // from 1; 1 also for what concerns the file as a whole
	Text string
	// Warning: the site runs all the same.
	Warning bool
}

// Error tells it as FILE:LINE: text.
func (p Problem) Error() string {
	text := p.Text
	if p.Warning {
		text = "warning: " + text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, max(p.Line, 1), text)
}

// Problems are all that is wrong with a file, in the order of its lines.
type Problems []Problem //nolint:errname // as above

// Error tells them all, a line each.
func (p Problems) Error() string {
	lines := make([]string, 0, len(p))
	for _, one := range p {
		lines = append(lines, one.Error())
	}
	return strings.Join(lines, "\n")
}

// Err is what keeps the site from running, as Problems; nil where there are warnings alone.
func (p Problems) Err() error {
	var hard Problems
	for _, one := range p {
		if !one.Warning {
			hard = append(hard, one)
		}
	}
	if hard == nil {
		return nil
	}
	return hard
}

// sorted puts problems in the order of their lines.
func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return p
}

// maxFile bounds a site's file, in bytes.
const maxFile = 1 << 20

// Load reads the file at path. The error is Problems where the file could be read.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	return Parse(path, text)
}

// Parse reads the text of a site's file, at most 1 MiB. Relative paths in it are relative to the
// folder of path. The error is Problems, all that it finds in the text; what the file names is not
// looked at, see [Check].
func Parse(path string, text []byte) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	d := &decoder{path: path, bad: map[string]bool{}}
	if len(text) > maxFile {
		d.tellf("", false, "the file has over %d MiB", maxFile>>20)
		return nil, d.problems
	}
	var tooDeep int
	if d.lines, tooDeep = positionsOf(string(text)); tooDeep > 0 {
		return nil, Problems{{File: path, Line: tooDeep, Text: fmt.Sprintf("syntax: lists or "+
			"tables lie in each other more than %d deep", maxNesting)}}
	}
	table := map[string]any{}
	if _, err := toml.Decode(string(text), &table); err != nil {
		return nil, Problems{syntaxProblem(path, string(text), err)}
	}
	c := &Config{File: abs, path: path, lines: d.lines}
	d.table("", table, reflect.ValueOf(c).Elem())
	c.complete()
	d.check(c)
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	return c, nil
}

// syntaxProblem is what the TOML package says of a text that it cannot read.
func syntaxProblem(path, text string, err error) Problem {
	p := Problem{File: path, Line: 1, Text: "syntax: " + strings.TrimPrefix(err.Error(), "toml: ")}
	if e, ok := errors.AsType[toml.ParseError](err); ok {
		// At the end of a text it can be off.
		p.Line = max(1, min(e.Position.Line, strings.Count(text, "\n")+1))
		p.Text = "syntax: " + e.Message
	}
	return p
}

// complete fills in what the file may leave out, and makes paths absolute.
func (c *Config) complete() {
	dir := filepath.Dir(c.File)
	abs := func(p *string) {
		switch {
		case *p == "":
		case filepath.IsAbs(*p):
			*p = filepath.Clean(*p)
		default:
			*p = filepath.Join(dir, *p)
		}
	}
	for i, addr := range c.Listen {
		if path, ok := strings.CutPrefix(addr, unixPrefix); ok && path != "" {
			abs(&path)
			c.Listen[i] = unixPrefix + path
		}
	}
	abs(&c.Admin)
	abs(&c.Log.File)
	if c.Login != nil {
		abs(&c.Login.Users)
	}
	if c.TLS != nil {
		for _, p := range []*string{&c.TLS.Cert, &c.TLS.Key, &c.TLS.Cache, &c.TLS.CA} {
			abs(p)
		}
	}
	for i := range c.Mounts {
		c.Mounts[i].complete(abs)
	}
}

// unixPrefix begins the address of a unix socket.
const unixPrefix = "unix:"

// complete does so for a mount; abs makes paths absolute.
func (m *Mount) complete(abs func(*string)) {
	abs(&m.Files)
	abs(&m.CGI)
	if path, ok := strings.CutPrefix(m.Connect, unixPrefix); ok && path != "" {
		abs(&path)
		m.Connect = unixPrefix + path
	}
	if len(m.Run) > 0 {
		abs(&m.Run[0])
	}
	if m.Userdir != nil && len(m.Userdir.Run) > 0 {
		abs(&m.Userdir.Run[0])
	}
	for _, paths := range [][]string{m.Sandbox.Read, m.Sandbox.Write} {
		for j := range paths {
			abs(&paths[j])
		}
	}
	if m.Path != "" {
		m.Paths = append([]string{m.Path}, m.Paths...)
		m.Path = ""
	}
	if len(m.Paths) == 0 {
		m.Paths = []string{"/"}
		if m.Userdir != nil {
			m.Paths[0] = userdirPath
		}
	}
	if m.Name == "" {
		m.Name = nameFor(m.Host, m.Paths[0])
	}
	m.Instances = max(m.Instances, 1)
}

// nameFor is the name of a mount that was given none: "root" for /, "docs-api" for /docs/api/, with
// the host before it where there is one.
func nameFor(host, path string) string {
	name := strings.ReplaceAll(strings.Trim(path, "/"), "/", "-")
	switch {
	case host != "" && name != "":
		name = host + "-" + name
	case host != "":
		name = host
	case name == "":
		name = "root"
	}
	name = strings.Map(func(r rune) rune {
		if r != '.' && r != '~' && !strings.ContainsRune(bareKey, r) {
			return '-'
		}
		return r
	}, name)
	return name[:min(len(name), maxMountName)]
}

// instanceName is the name of a part that is one of several instances of a mount, n from 1.
func instanceName(mount string, n int) string { return mount + "." + strconv.Itoa(n) }
