package perspective_test

import (
	"strings"
	"testing"
)

// module is the import path of the root.
const module = "perspective"

// floors is the house, from the ground up; the first row that matches a room decides. A package
// imports only from floors below its own, so the rooms of one floor know nothing of each other.
var floors = []struct {
	floor int
	rooms string // a pattern for path.Match
}{
	// How a program's code is called, its log written, errors joined, contexts ended.
	{1, "internal"},
	{2, "jelly"},
	{2, "cred"},
	{3, "broker"},
	{4, "pb"},
	{5, "pb/adapt"},
	{7, "pb/web"}, // runs what pb/distrib makes
	{6, "pb/*"},
	{7, "docs"},     // served by the demo
	{7, "examples"}, // what the examples' tests share
	{8, "cmd/*"},
	{8, "examples/*"},
	{9, ""}, // the root: no code
}

// homes says which rooms may import what comes from outside. Every package with a dot in its first
// step needs an entry; the entries without one keep parts of the standard library out of the
// product.
var homes = map[string][]string{
	"github.com/vmihailenco/msgpack/v5":   {"jelly"},
	"github.com/coder/websocket":          {"examples/site"}, // and for tests
	"github.com/gorilla/websocket":        {},                // as above
	"github.com/hashicorp/yamux":          {"broker"},
	"github.com/hashicorp/memberlist":     {"pb/cluster"},
	"github.com/landlock-lsm/go-landlock": {"pb/distrib"},
	"github.com/rogpeppe/go-internal":     {}, // for tests alone
	"github.com/alexedwards/scs/v2":       {}, // as above
	"github.com/prometheus/client_golang": {"pb/web"},
	"github.com/klauspost/compress":       {"pb/distrib"},
	"github.com/BurntSushi/toml":          {"pb/web"},
	"github.com/urfave/cli/v3":            {"cmd/pb"},
	"github.com/yuin/goldmark":            {"cmd/pb"},
	"golang.org/x/crypto":                 {"cred", "pb/manhole"},
	"golang.org/x/crypto/acme":            {"pb/web"},
	"golang.org/x/net/http/httpguts":      {"pb/distrib"},
	"golang.org/x/net/http2":              {}, // for tests alone
	"golang.org/x/sys":                    {"broker", "pb/distrib", "pb/web", "cmd/pb"},
	"golang.org/x/term":                   {"cmd/pb"},
	"encoding/gob":                        {}, // builds what the peer names
	"net/http/httptest":                   {"pb/pbtest"},
	"testing":                             {"pb/pbtest", "examples"},
}

// emptyNames are package names that say nothing.
var emptyNames = []string{"util", "utils", "common", "types", "helper", "helpers", "misc", "shared"}

// TestRulesOnPackages shows that checkPackage tells good packages from bad ones.
func TestRulesOnPackages(t *testing.T) {
	tests := []struct {
		name    string
		path    string
		pkg     string // the last step of path where it is empty
		imports []string
		want    string // a part of the only problem; empty if there is none
	}{
		{name: "ground", path: "perspective/jelly", imports: []string{"fmt",
			"github.com/vmihailenco/msgpack/v5", "github.com/vmihailenco/msgpack/v5/msgpcode"}},
		{name: "down one", path: "perspective/broker",
			imports: []string{"perspective/jelly", "github.com/hashicorp/yamux"}},
		{name: "down two", path: "perspective/pb",
			imports: []string{"perspective/jelly", "perspective/cred", "perspective/broker"}},
		{name: "upper room", path: "perspective/pb/doors",
			imports: []string{"perspective/pb", "perspective/cred"}},
		{name: "the ground", path: "perspective/jelly",
			imports: []string{"perspective/internal/guard"}},
		{name: "the ground within", path: "perspective/internal/lines",
			imports: []string{"perspective/internal/guard"}},
		{name: "up from the ground", path: "perspective/internal/lines",
			imports: []string{"perspective/cred"}, want: "not below"},
		{name: "within a room", path: "perspective/pb/distrib", imports: []string{
			"perspective/pb/distrib/internal/frames", "perspective/pb/distrib/toml",
		}},
		{name: "hidden room of pb", path: "perspective/pb",
			imports: []string{"perspective/pb/internal/turns"}},
		{name: "program", path: "perspective/cmd/pb", pkg: "main", imports: []string{
			"perspective/pb/distrib", "perspective/docs", "github.com/urfave/cli/v3",
		}},
		{name: "example", path: "perspective/examples/echo", pkg: "main",
			imports: []string{"perspective/pb"}},
		{name: "root", path: "perspective"},
		{name: "longest home", path: "perspective/pb/web",
			imports: []string{"golang.org/x/crypto/acme/autocert"}},
		{name: "kit", path: "perspective/pb/pbtest",
			imports: []string{"testing", "testing/synctest", "net/http/httptest"}},

		{name: "neighbours", path: "perspective/jelly", imports: []string{"perspective/cred"},
			want: "imports perspective/cred, which is not below"},
		{name: "neighbours the other way", path: "perspective/cred",
			imports: []string{"perspective/jelly"}, want: "not below"},
		{name: "up", path: "perspective/broker", imports: []string{"perspective/pb"},
			want: "not below"},
		{name: "up to an upper room", path: "perspective/pb",
			imports: []string{"perspective/pb/doors"}, want: "not below"},
		{name: "across upper rooms", path: "perspective/pb/doors",
			imports: []string{"perspective/pb/distrib"}, want: "not below"},
		{name: "deep across", path: "perspective/pb/doors/sse",
			imports: []string{"perspective/pb/distrib/internal/frames"}, want: "not below"},
		{name: "example into a program", path: "perspective/examples/echo", pkg: "main",
			imports: []string{"perspective/cmd/pb/demo"}, want: "not below"},
		{name: "into the root", path: "perspective/docs", imports: []string{"perspective"},
			want: "not below"},
		{name: "no floor", path: "perspective/wire", want: "stands on no floor"},
		{name: "no floor beside programs", path: "perspective/cmd", want: "stands on no floor"},
		{name: "imports what has no floor is up", path: "perspective/pb",
			imports: []string{"perspective/wire"}, want: "not below"},
		{name: "not at home", path: "perspective/broker",
			imports: []string{"github.com/vmihailenco/msgpack/v5"}, want: "whose home is jelly"},
		{name: "not at home in a part", path: "perspective/cred", imports: []string{
			"golang.org/x/crypto/acme/autocert",
		}, want: "whose home is pb/web"},
		{name: "homeless", path: "perspective/pb", imports: []string{"github.com/sirupsen/logrus"},
			want: "has no home"},
		{name: "tests alone", path: "perspective/cmd/pb", pkg: "main",
			imports: []string{"github.com/rogpeppe/go-internal/testscript"}, want: "has no home"},
		{name: "standard but kept out", path: "perspective/jelly",
			imports: []string{"encoding/gob"}, want: "has no home"},
		{name: "testing in the product", path: "perspective/pb", imports: []string{"testing"},
			want: "whose home is pb/pbtest"},
		{name: "testing in an example", path: "perspective/examples/echo", pkg: "main",
			imports: []string{"testing"}, want: "whose home is pb/pbtest, examples"},
		{name: "what examples share", path: "perspective/examples/internal/program",
			imports: []string{"testing"}},
		{name: "name that says nothing", path: "perspective/pb/util", want: `"util" says nothing`},
		{name: "clause that says nothing", path: "perspective/pb/doors", pkg: "helpers",
			want: `"helpers" says nothing`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := housePackage{ImportPath: test.path, Name: test.pkg, Imports: test.imports}
			if p.Name == "" {
				p.Name = test.path[strings.LastIndex(test.path, "/")+1:]
			}
			expectProblems(t, checkPackage(p), test.want)
		})
	}
}

// TestFloorsAreKnown shows that every home stands in the house, so that a slip in the table is no
// open door.
func TestFloorsAreKnown(t *testing.T) {
	for imported, rooms := range homes {
		for _, room := range rooms {
			if floorOf(room) == 0 {
				t.Errorf("the home of %s is %q, which is on no floor", imported, room)
			}
		}
	}
}

// expectProblems fails unless the problems are one that contains want, or none where want is empty.
func expectProblems(t *testing.T, problems []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(problems) > 0:
		t.Errorf("problems %q, want none", problems)
	case want != "" && (len(problems) != 1 || !strings.Contains(problems[0], want)):
		t.Errorf("problems %q, want one about %q", problems, want)
	}
}
