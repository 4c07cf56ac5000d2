package login_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The programs of docs/logins.md are built and run, with a password file that pb passwd wrote.
func TestLogin(t *testing.T) {
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./server", "./client", "../../cmd/pb")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	secret, wrong := filepath.Join(dir, "secret.txt"), filepath.Join(dir, "wrong.txt")
	for file, text := range map[string]string{secret: "sesame\n", wrong: "simsalabim\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(program string, args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), filepath.Join(dir, program), args...).CombinedOutput()
		return string(out), err
	}
	users := filepath.Join(dir, "users.passwd")
	if out, err := run("pb", "passwd", "--password-file", secret, users, "ann"); err != nil {
		t.Fatalf("pb passwd: %v\n%s", err, out)
	}
	server := exec.CommandContext(t.Context(), filepath.Join(dir, "server"), users, filepath.Join(dir, "server.key"))
	printed, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	url, err := bufio.NewReader(printed).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url = strings.TrimSpace(url)
	if got, err := run("client", url, "ann", secret); got != "[ann: a note to myself] <nil>\n" || err != nil {
		t.Errorf("the client printed %q, %v", got, err)
	}
	for _, refused := range [][]string{{"ann", wrong}, {"bob", secret}} {
		if got, err := run("client", url, refused[0], refused[1]); err == nil || !strings.Contains(got, "login refused") {
			t.Errorf("client as %v printed %q, %v, want a refusal", refused, got, err)
		}
	}
	if got, err := run("pb", "call", "--user", "ann", "--password-file", secret, url, "read"); got != "[]\n" && got != "null\n" || err != nil {
		t.Errorf("pb call printed %q, %v", got, err)
	}
}
