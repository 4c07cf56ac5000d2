package web

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
)

// A Problem is something wrong with a site's file.
type Problem struct {
	File string
	Line int // from 1; 0: the file as a whole
	Text string
}

// Error tells it as FILE:LINE: text.
func (p Problem) Error() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Problems are all that is wrong with a file, in the order of its lines.
type Problems []Problem

// Error tells them all, a line each.
func (p Problems) Error() string {
	lines := make([]string, 0, len(p))
	for _, one := range p {
		lines = append(lines, one.Error())
	}
	return strings.Join(lines, "\n")
}

// Load reads the file at path. The error is Problems where the file could be read.
func Load(path string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	return Parse(path, text)
}

// Parse reads the text of a site's file. Relative paths in it are relative to the folder of path.
// The error is Problems, all that it finds.
func Parse(path string, text []byte) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	c := &Config{File: abs}
	meta, err := toml.Decode(string(text), c)
	if err != nil {
		return nil, Problems{{File: path, Text: err.Error()}}
	}
	var problems Problems
	for _, key := range meta.Undecoded() {
		problems = append(problems, Problem{File: path, Text: fmt.Sprintf("unknown key %s", key)})
	}
	if len(problems) > 0 {
		return nil, problems
	}
	c.complete()
	return c, nil
}

// complete fills in what the file may leave out, and makes paths absolute.
func (c *Config) complete() {
	dir := filepath.Dir(c.File)
	abs := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
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
		m := &c.Mounts[i]
		abs(&m.Files)
		abs(&m.CGI)
		if len(m.Run) > 0 {
			abs(&m.Run[0])
		}
		for j := range m.Sandbox.Read {
			abs(&m.Sandbox.Read[j])
		}
		for j := range m.Sandbox.Write {
			abs(&m.Sandbox.Write[j])
		}
		if m.Path != "" {
			m.Paths = append([]string{m.Path}, m.Paths...)
			m.Path = ""
		}
		if len(m.Paths) == 0 {
			m.Paths = []string{"/"}
		}
		m.Instances = max(m.Instances, 1)
	}
}
