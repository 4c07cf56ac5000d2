package web_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"perspective/pb/web"
)

const aSite = `
listen = ["127.0.0.1:18090"]
log    = { file = "log/access.log", format = "json" }
login  = { users = "users" }

[[mount]]
path  = "/"
name  = "pages"
files = "www"

[[mount]]
path    = "/app/"
name    = "app"
run     = ["bin/app", "-v"]
require = ["ann"]
sandbox = { write = ["data/app"], network = "none", memory = "256MiB", processes = 64 }
`

func TestParse(t *testing.T) {
	c, err := web.Parse("/srv/site.toml", []byte(aSite))
	if err != nil {
		t.Fatal(err)
	}
	if c.Log.File != "/srv/log/access.log" || len(c.Mounts) != 2 {
		t.Errorf("%+v", c)
	}
	app := c.Mounts[1]
	want := web.Mount{
		Paths: []string{"/app/"}, Name: "app", Run: []string{"/srv/bin/app", "-v"}, Instances: 1,
		Require: web.Require{Login: true, Users: []string{"ann"}},
		Sandbox: web.Sandbox{Write: []string{"/srv/data/app"}, Memory: 256 << 20, Processes: 64},
	}
	if !reflect.DeepEqual(app, want) {
		t.Errorf("app = %+v\nwant %+v", app, want)
	}
}

// wanted are the problems that the comments of a file announce, "# want: text", in their lines; of
// several, parted by " | ", each has that line.
func wanted(text string) []string {
	var all []string
	for i, line := range strings.Split(text, "\n") {
		if _, want, found := strings.Cut(line, "# want: "); found {
			for one := range strings.SplitSeq(want, " | ") {
				all = append(all, fmt.Sprintf("%d: %s", i+1, one))
			}
		}
	}
	return all
}

// TestProblems reads files that are wrong in many places, and wants each told in its line.
func TestProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/problems/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = web.Parse("/srv/site.toml", text)
			problems, _ := errors.AsType[web.Problems](err)
			var got []string
			for _, p := range problems {
				if p.File != "/srv/site.toml" || p.Warning {
					t.Errorf("%+v", p)
				}
				got = append(got, fmt.Sprintf("%d: %s", p.Line, p.Text))
			}
			want := wanted(string(text))
			for _, p := range got {
				if !slices.Contains(want, p) {
					t.Errorf("not wanted: %s", p)
				}
			}
			for _, p := range want {
				if !slices.Contains(got, p) {
					t.Errorf("not told:   %s", p)
				}
			}
			byLine := func(a, b web.Problem) int { return a.Line - b.Line }
			if !slices.IsSortedFunc(problems, byLine) {
				t.Errorf("the lines are out of order: %v", problems)
			}
		})
	}
}

// TestSiteFile reads the site that an owner would write.
func TestSiteFile(t *testing.T) {
	c, err := web.Load("testdata/site/site.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Mounts) != 6 || c.Mounts[5].Host != "other.test" || c.Mounts[1].Instances != 2 {
		t.Errorf("%+v", c)
	}
}
