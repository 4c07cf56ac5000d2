package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// webCheckOf runs pb web check on a file with the text and returns what it prints, without the path
// of its folder.
func webCheckOf(t *testing.T, text string) (code int, stdout, stderr string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "site-") // t.TempDir lets no other user in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	www := filepath.Join(dir, "www")
	file := filepath.Join(dir, "site.toml")
	for _, err := range []error{
		os.Chmod(dir, 0o755), os.Mkdir(www, 0o755), os.Chmod(www, 0o755),
		os.WriteFile(file, []byte(text), 0o644), os.Chmod(file, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var out, errors bytes.Buffer
	c := webCheckCommand()
	c.Writer, c.ErrWriter = &out, &errors
	code = codeOf(c.Run(t.Context(), []string{"check", file}))
	plain := strings.NewReplacer(dir+"/", "")
	return code, plain.Replace(out.String()), plain.Replace(errors.String())
}

func TestWebCheck(t *testing.T) {
	const head = "listen  = [\"127.0.0.1:0\"]\ndegrade = true\n\n[[mount]]\nfiles = \"www\"\n"
	code, stdout, stderr := webCheckOf(t, head)
	if code != exitDone || stdout != "site.toml: ok, 1 mounts\n" ||
		strings.Count(stderr, "\n") != strings.Count(stderr, ": warning: ") {
		t.Errorf("a right file: exit code %d, %q, %q", code, stdout, stderr)
	}
	for _, c := range []struct{ text, stderr string }{
		{"listen = [", "site.toml:1: syntax: unexpected EOF; expected value\n"},
		{"listne = []\n\n[[mount]]\npath = \"/\u202e\"\nflies = \"www\"\n",
			"site.toml:1: unknown key listne, did you mean listen?\n" +
				"site.toml:3: mount: nothing serves it, write one of files, run, connect, proxy, " +
				"cgi and userdir\n" +
				"site.toml:5: unknown key flies in mount, did you mean files?\n"},
	} {
		code, stdout, stderr := webCheckOf(t, c.text)
		if code != exitUsage || stdout != "" || stderr != c.stderr {
			t.Errorf("check %q: exit code %d, %q, got\n%swant\n%s", c.text, code, stdout, stderr,
				c.stderr)
		}
	}
	// What is wrong with the machine is told as well.
	code, stdout, stderr = webCheckOf(t, strings.Replace(head, "www", "elsewhere", 1))
	if code != exitUsage || stdout != "" ||
		!strings.Contains(stderr, "site.toml:5: files: elsewhere does not exist\n") {
		t.Errorf("a folder that is not there: exit code %d, %q, %q", code, stdout, stderr)
	}
	err := webCheckCommand().Run(t.Context(), []string{"check", "/no/such/file"})
	if code := codeOf(err); code != exitUsage {
		t.Errorf("a file that is not there: exit code %d", code)
	}
}
