package web_test

import (
	"reflect"
	"testing"

	"perspective/pb/web"
)

const aSite = `
listen = ["127.0.0.1:18090"]
log    = { file = "log/access.log", format = "json" }

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

func TestUnknownKey(t *testing.T) {
	if _, err := web.Parse("/srv/site.toml", []byte("listne = []\n")); err == nil {
		t.Error("an unknown key is no error")
	}
}
