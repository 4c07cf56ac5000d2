package web

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

	path  string    // the path of the file as Parse got it
	lines positions // where what it says stands
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

// A Mount is one part of the site: where it lies in the URL space, what serves it, and what that
// may do. Exactly one of Files, Run, Connect, Proxy, CGI and Userdir is set.
type Mount struct {
	// Path or Paths are the prefixes, plain paths such as /app/; after Parse all are in Paths. Host
	// is the host name that they are served under, empty: any. A Host without a path stands for all
	// of it.
	Path  string   `toml:"path"`
	Paths []string `toml:"paths"`
	Host  string   `toml:"host"`
	// Name is the mount's name in logs, metrics and commands, unique in the site. Where the file
	// has none, Parse makes one out of Host and the first path.
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

// Userdir serves /~NAME/ for users of the machine. Only those in Users or in Group, with a uid of
// at least MinUID and a home of their own, are served.
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

// A Sandbox is what a part may do beyond computing and answering. The zero value is nothing.
type Sandbox struct {
	// None leaves the part unconfined but for its user. It must be written out: sandbox = "none".
	None bool `toml:"-"`
	// Read and Write are files and folders that the part may read, and read and change.
	Read  []string `toml:"read"`
	Write []string `toml:"write"`
	// Network is where it may connect to.
	Network Network `toml:"network"`
	// Memory in bytes, Files open at once, and Processes with threads; zero: the defaults of
	// distrib.Rights.
	Memory    uint64 `toml:"memory"`
	Files     uint64 `toml:"files"`
	Processes uint64 `toml:"processes"`
}

// A Network is where a part may connect to. The zero value is nowhere.
type Network struct {
	Any  bool     // everywhere, and it may listen
	List []string // these addresses, "HOST:PORT"
}
