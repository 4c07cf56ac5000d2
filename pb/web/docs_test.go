package web

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func configDoc(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestConfigDocBlocks reads each block of TOML in docs/config.md; what is shown alone gets the rest
// of a site around it.
func TestConfigDocBlocks(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(configDoc(t), -1)
	if len(blocks) < 6 {
		t.Fatalf("docs/config.md has %d blocks", len(blocks))
	}
	for _, block := range blocks {
		text := block[1]
		if !strings.Contains(text, "listen ") {
			text = "listen = [\"127.0.0.1:8080\"]\n" + text
		}
		if !strings.Contains(text, "[[mount]]") {
			text += "[[mount]]\nfiles = \"www\"\n"
		}
		if _, err := Parse("/srv/site.toml", []byte(text)); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
}

// TestConfigDocKeys wants a row of docs/config.md for each key of the grammar, in the section of
// its table, and no row for another.
func TestConfigDocKeys(t *testing.T) {
	sections := map[string]string{"": "## The site", "mount": "## Mounts",
		"mount.sandbox": "### Sandbox", "mount.userdir": "### Users' folders", "tls": "### TLS",
		"log": "### Log", "login": "### Login"}
	key := regexp.MustCompile("`([a-z_]+)`")
	for _, table := range tables {
		_, rest, found := strings.Cut(configDoc(t), sections[table.name]+"\n")
		if !found {
			t.Fatalf("docs/config.md has no section %q", sections[table.name])
		}
		section, _, _ := strings.Cut(rest, "\n#")
		documented := map[string]bool{}
		for line := range strings.Lines(section) {
			cells := strings.Split(line, "|")
			if len(cells) < 5 {
				continue
			}
			for _, m := range key.FindAllStringSubmatch(cells[1], -1) {
				documented[m[1]] = true
			}
		}
		for _, k := range keysOf(table.of) {
			if !documented[k] {
				t.Errorf("%q has no row for %s", sections[table.name], k)
			}
			delete(documented, k)
		}
		for k := range documented {
			t.Errorf("%q has a row for %s, which is no key", sections[table.name], k)
		}
	}
}
