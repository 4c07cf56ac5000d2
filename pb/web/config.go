package web

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Config is a site's file. [Parse] makes it; paths in it are absolute from then on. It is only
// read afterwards, by any goroutine. It crosses to the front as JSON.
type Config struct {
	// File is the path of the file, absolute.
	File string `toml:"-"`
	// Listen are the addresses that the site is served at, "HOST:PORT" or "unix:PATH"; where a
	// service manager hands listeners over they stand in place of these. At least one.
	Listen []string `toml:"listen"`
	// TLS makes every address of Listen one of TLS but those with port 80, which send to https and
	// answer ACME's http-01 challenges; nil: plain HTTP.
	TLS *TLS `toml:"tls"`
	// User is the front's user; empty: a free uid.
	User string `toml:"user"`
	// Admin is the path of the control socket; empty: none.
	Admin string `toml:"admin"`
	// Metrics is the address of /metrics and /healthz; empty: none.
	Metrics string `toml:"metrics"`
	// Log says where requests are logged.
	Log Log `toml:"log"`
	// TrustedProxies are the networks whose word about a client's address counts.
	TrustedProxies []string `toml:"trusted_proxies"`
	// Degrade runs the site too where the kernel lacks what separates its parts.
	Degrade bool `toml:"degrade"`
	// Login says how visitors log in; nil: nobody can.
	Login *Login `toml:"login"`
	// Mounts are the parts of the site, at least one.
	Mounts []Mount `toml:"mount"`
}

// TLS names a certificate: its two files, or how one is got by ACME (RFC 8555).
type TLS struct {
	// Cert and Key are PEM files, read again when they change.
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
	// ACME gets certificates for Domains from the ACME server whose directory is Directory (empty:
	// Let's Encrypt's), whose terms it accepts, keeps them in the folder Cache, and trusts the PEM
	// file CA beside the system's authorities when it talks to that server. It is asked for by
	// tls-alpn-01, and where an address of Config.Listen has port 80 by http-01 too.
	ACME      bool     `toml:"acme"`
	Domains   []string `toml:"domains"`
	Cache     string   `toml:"cache"`
	Directory string   `toml:"directory"`
	CA        string   `toml:"ca"`
}

// Log says where and how requests are logged. The zero value is JSON on standard output.
type Log struct {
	File   string `toml:"file"`
	Format string `toml:"format"` // json (also for empty) or combined
}

// Login says how visitors prove their names.
type Login struct {
	// Users is a password file as "pb passwd" writes it.
	Users string `toml:"users"`
	// Method is "form" (also for empty) or "basic".
	Method string `toml:"method"`
}

// A Mount is one part of the site: where it lies in the URL space, what serves it, and what that may
// do. Exactly one of Files, Run, Connect, Proxy, CGI and Userdir is set.
type Mount struct {
	// Path or Paths are the prefixes, plain paths such as /app/; Host is the host name that they
	// are served under, empty: any. A Host without a path stands for all of it.
	Path  string   `toml:"path"`
	Paths []string `toml:"paths"`
	Host  string   `toml:"host"`
	// Name is the mount's name in logs, metrics and commands, unique in the site.
	Name string `toml:"name"`

	Files   string   `toml:"files"`   // a folder
	Run     []string `toml:"run"`     // a program and its arguments
	Connect string   `toml:"connect"` // an end point that a back end joins by
	Proxy   string   `toml:"proxy"`   // the URL of an HTTP server
	CGI     string   `toml:"cgi"`     // a CGI program
	Userdir *Userdir `toml:"userdir"` // the folders of users

	// User is the part's user; empty: a free uid.
	User string `toml:"user"`
	// Instances is how many processes serve; zero: one.
	Instances int `toml:"instances"`
	// Sticky sends a visitor to one instance as long as it serves.
	Sticky bool `toml:"sticky"`
	// Strip takes the prefix off before the part sees the path.
	Strip bool `toml:"strip"`
	// Require says who may come in; the zero value lets everybody in.
	Require Require `toml:"require"`
	// Cookies is "own" (also for empty), "shared" or "all".
	Cookies string `toml:"cookies"`
	// Env are variables for the program, "NAME=value".
	Env []string `toml:"env"`
	// Encode are the compressions offered: "zstd", "gzip"; none: none.
	Encode []string `toml:"encode"`
	// Sandbox is what the part may do; the zero value is nothing.
	Sandbox Sandbox `toml:"sandbox"`
}

// Userdir serves /~NAME/ for users of the machine. Only those in Users or in Group, with a uid of at
// least MinUID and a home of their own, are served.
type Userdir struct {
	Users  []string `toml:"users"`
	Group  string   `toml:"group"`
	MinUID uint32   `toml:"min_uid"` // zero: 1000
	// Files is a folder in the home; Run a program that is started as the user; Socket the name of
	// a unix socket in the home that a program of the user's listens at.
	Files  string   `toml:"files"`
	Run    []string `toml:"run"`
	Socket string   `toml:"socket"`
	// Most is how many programs of users run at once; zero: 64.
	Most int `toml:"most"`
}

// Require says who may come in.
type Require struct {
	// Login lets in whoever has logged in.
	Login bool
	// Users are those who may come in once they have logged in; nil: see Login.
	Users []string
}

// UnmarshalTOML reads "login" or a list of names.
func (r *Require) UnmarshalTOML(v any) error {
	switch v := v.(type) {
	case string:
		if v != "login" {
			return fmt.Errorf(`require = %q: write "login", or a list of users`, v)
		}
		r.Login = true
		return nil
	case []any:
		users, err := stringsOf("require", v)
		if err == nil && len(users) == 0 {
			err = fmt.Errorf("require = []: nobody could come in; leave it out to let everybody in")
		}
		r.Login, r.Users = true, users
		return err
	}
	return fmt.Errorf(`require: write "login", or a list of users`)
}

// A Sandbox is what a part may do beyond computing and answering. The zero value is nothing.
type Sandbox struct {
	// None leaves the part unconfined but for its user. It must be written out: sandbox = "none".
	None bool
	// Read and Write are files and folders that the part may read, and read and change.
	Read, Write []string
	// Network is where it may connect to.
	Network Network
	// Memory in bytes, Files open at once, and Processes with threads; zero: the defaults of
	// distrib.Rights.
	Memory, Files, Processes uint64
}

// A Network is where a part may connect to. The zero value is nowhere.
type Network struct {
	Any  bool     // everywhere, and it may listen
	List []string // these addresses, "HOST:PORT"
}

// UnmarshalTOML reads "none" or a table.
func (s *Sandbox) UnmarshalTOML(v any) error {
	switch v := v.(type) {
	case string:
		if v != "none" {
			return fmt.Errorf(`sandbox = %q: write "none", or a table of rights`, v)
		}
		s.None = true
		return nil
	case map[string]any:
		for name, value := range v {
			if err := s.set(name, value); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf(`sandbox: write "none", or a table of rights`)
}

func (s *Sandbox) set(name string, v any) (err error) {
	switch name {
	case "read":
		s.Read, err = stringsOf(name, v)
	case "write":
		s.Write, err = stringsOf(name, v)
	case "network":
		s.Network, err = networkOf(v)
	case "memory":
		s.Memory, err = sizeOf(name, v)
	case "files":
		s.Files, err = countOf(name, v)
	case "processes":
		s.Processes, err = countOf(name, v)
	default:
		err = fmt.Errorf("unknown key %q in sandbox", name)
	}
	return err
}

func networkOf(v any) (Network, error) {
	if list, ok := v.([]any); ok {
		addrs, err := stringsOf("network", list)
		return Network{List: addrs}, err
	}
	switch v {
	case "none":
		return Network{}, nil
	case "any":
		return Network{Any: true}, nil
	}
	return Network{}, fmt.Errorf(`network = %v: write "none", "any", or a list of "HOST:PORT"`, v)
}

func stringsOf(name string, v any) ([]string, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s: write a list of strings", name)
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			return nil, fmt.Errorf("%s: %v is no string", name, e)
		}
		out = append(out, s)
	}
	return out, nil
}

func countOf(name string, v any) (uint64, error) {
	n, ok := v.(int64)
	if !ok || n <= 0 {
		return 0, fmt.Errorf("%s = %v: write a number over 0", name, v)
	}
	return uint64(n), nil
}

// units are those of sizes, powers of 1,024.
var units = []struct {
	name  string
	shift uint
}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}

// sizeOf reads a number of bytes, or a text such as "256MiB".
func sizeOf(name string, v any) (uint64, error) {
	text, ok := v.(string)
	if !ok {
		return countOf(name, v)
	}
	shift, digits := uint(0), text
	for _, u := range units {
		if d, found := strings.CutSuffix(text, u.name); found {
			shift, digits = u.shift, strings.TrimSpace(d)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf(`%s = %q: write a size such as "256MiB", or a number of bytes`,
			name, text)
	}
	return n << shift, nil
}
