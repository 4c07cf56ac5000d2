package login_test

import (
	"os"
	"strings"
	"testing"

	"perspective/examples/internal/program"
)

// The programs of docs/logins.md are built and run, with a password file that pb passwd wrote.
func TestLogin(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	p := program.Build(t, "./server", "./client", "../../cmd/pb")
	secret, wrong := p.File("secret.txt"), p.File("wrong.txt")
	for file, text := range map[string]string{secret: "sesame\n", wrong: "simsalabim\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	users := p.File("users.passwd")
	if out, err := p.Run("pb", "passwd", "--password-file", secret, users, "ann"); err != nil {
		t.Fatalf("pb passwd: %v\n%s", err, out)
	}
	url := p.Start("server", users, p.File("server.key"))
	if got, err := p.Run("client", url, "ann", secret); got != "[ann: a note to myself] <nil>\n" ||
		err != nil {
		t.Errorf("the client printed %q, %v", got, err)
	}
	for _, refused := range [][]string{{"ann", wrong}, {"bob", secret}} {
		if got, err := p.Run("client", url, refused[0], refused[1]); err == nil ||
			!strings.Contains(got, "login refused") {
			t.Errorf("client as %v printed %q, %v, want a refusal", refused, got, err)
		}
	}
	got, err := p.Run("pb", "call", "--user", "ann", "--password-file", secret, url, "read")
	if got != "[]\n" && got != "null\n" || err != nil {
		t.Errorf("pb call printed %q, %v", got, err)
	}
}
