package distrib

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// buildPart builds testdata/part, with or without cgo; its version says which.
func buildPart(t *testing.T, cgo string) (file string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a program")
	}
	for _, tool := range []string{"go", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil && (tool == "go" || cgo == "1") {
			skipOrFail(t, err.Error())
		}
	}
	file = filepath.Join(t.TempDir(), "part")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", file,
		"-ldflags=-X main.version="+cgo, "./testdata/part")
	build.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	// Whatever the umask. No other may enter the folder, and none has to.
	if err := os.Chmod(file, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestProgramOfItsOwn runs programs that are not this one, without cgo and with it, replaces the
// file, and has the part start again.
func TestProgramOfItsOwn(t *testing.T) {
	built := map[string]string{"0": buildPart(t, "0"), "1": buildPart(t, "1")}
	for first, then := range map[string]string{"0": "1", "1": "0"} {
		t.Run("cgo "+first, func(t *testing.T) {
			older, newer := built[first], built[then]
			eachSeparation(t, func(t *testing.T, sep Separation) {
				read, _, secret := sandboxFiles(t)
				program := filepath.Join(t.TempDir(), "program")
				if err := os.Link(older, program); err != nil {
					t.Fatal(err)
				}
				p := startProcesses(t, sep, func(m *Monitor) {
					b := &m.Backs[0]
					b.Program, b.Args, b.Dir = program, []string{"one", "two"}, read
					b.Env = []string{"OWN=1"}
					b.Rights.Read = []string{read}
				})
				_, back := p.until("ready", func(_, b Description) bool { return b.State == Ready })
				want := fmt.Sprintf("version %s [%q \"one\" \"two\"] in %s (<nil>) user %d "+
					"[\"OWN=1\"]", first, program, read, back.UID)
				if got := p.order(p.back, "who"); got != want {
					t.Errorf("it is %s, want %s", got, want)
				}
				if back.Runs != program+" one two" {
					t.Errorf("the table says that it runs %q", back.Runs)
				}
				if got := p.order(p.back, "read", read+"/file"); got != "text <nil>" {
					t.Errorf("reading what it may: %s", got)
				}
				for _, not := range []string{secret + "/file", program} {
					if got := p.order(p.back, "read", not); strings.HasSuffix(got, "<nil>") {
						t.Errorf("reading %s: %.100s", not, got)
					}
				}
				replaceFile(t, newer, program)
				if err := syscall.Kill(back.PID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				p.until("another run", func(_, b Description) bool {
					return b.State == Ready && b.Restarts > back.Restarts
				})
				if got := p.order(p.back, "who"); !strings.HasPrefix(got, "version "+then+" ") {
					t.Errorf("after the file was replaced it is %s", got)
				}
			})
		})
	}
}

// replaceFile puts a file in the place of another, as a deploy does.
func replaceFile(t *testing.T, file, at string) {
	t.Helper()
	if err := os.Link(file, at+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(at+".new", at); err != nil {
		t.Fatal(err)
	}
}

// lookFor is a writer that tells when a text has come by.
type lookFor struct {
	syncBuffer
	text  string
	found chan struct{}
}

func newLookFor(text string) *lookFor {
	return &lookFor{text: text, found: make(chan struct{})}
}

func (l *lookFor) Write(b []byte) (int, error) {
	n, err := l.syncBuffer.Write(b)
	if strings.Contains(l.String(), l.text) {
		select {
		case <-l.found:
		default:
			close(l.found)
		}
	}
	return n, err
}

func (l *lookFor) wait(t *testing.T) {
	t.Helper()
	expired := time.NewTimer(patience)
	defer expired.Stop()
	select {
	case <-l.found:
	case <-expired.C:
		t.Fatalf("no %q, but:\n%s", l.text, l)
	}
}

// TestScriptAsPart runs a script by its first line, with and without the right to start programs.
func TestScriptAsPart(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		read, _, _ := sandboxFiles(t)
		script := filepath.Join(read, "script")
		text := "#! /bin/sh -u\nid=none\n[ -r /bin/true ] && /bin/true && id=started\n" +
			"echo \"script $0 $* $id in $PWD\"\n"
		if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			name, want string
			rights     Rights
		}{
			{"alone", "script " + script + " one two none in /", Rights{}},
			{"among programs", "script " + script + " one two started in /",
				Rights{Read: systemFolders(), Exec: true}},
		} {
			out := newLookFor(test.want)
			p := startProcesses(t, sep, func(m *Monitor) {
				m.Backs = append(m.Backs, Part{Name: "script", Program: script,
					Args: []string{"one", "two"}, Rights: test.rights, Stdout: out, OnDemand: true})
			})
			if got := p.order(p.front, "start", "script"); got != "ok" {
				t.Fatal(got)
			}
			out.wait(t)
			p.stop()
			if err := p.wait(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestScriptsOfAPart has a part run scripts, as CGI does; its limits hold for what they start.
func TestScriptsOfAPart(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		read, write, secret := sandboxFiles(t)
		script := filepath.Join(read, "script")
		text := "#!/bin/sh\n/bin/sh -c '[ $(ulimit -n) = 300 ]' && /bin/cat " + read + "/file &&" +
			" ! /bin/cat " + secret + "/file && ! echo x >" + read + "/new && echo x >" + write +
			"/new\n"
		if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		p := startProcesses(t, sep, func(m *Monitor) {
			m.Backs[0].Rights = Rights{Read: append(systemFolders(), read), Write: []string{write},
				Exec: true, Descriptors: 300}
		})
		for _, order := range [][2]string{{"confine"}, {"exec program", script}} {
			if got := p.order(p.back, order[0], order[1]); got != "ok" {
				t.Errorf("%s: %s", order[0], got)
			}
		}
	})
}

// systemFolders are what programs of the system need.
func systemFolders() []string {
	system := []string{"/bin", "/usr", "/lib"}
	if _, err := os.Stat("/lib64"); err == nil {
		system = append(system, "/lib64")
	}
	return system
}

// TestProgramsThatCannotRun says of each what is wrong, and with which file.
func TestProgramsThatCannotRun(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		folder := t.TempDir()
		file := func(name, text string, mode os.FileMode) string {
			path := filepath.Join(folder, name)
			if err := os.WriteFile(path, []byte(text), mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			return path
		}
		tests := []struct{ path, want string }{
			{filepath.Join(folder, "missing"), "no such file or directory"},
			{folder, "it is no regular file"},
			{file("plain", "#!/bin/sh\n", 0o644), "nobody may execute it (chmod +x)"},
			{file("text", "hello", 0o755), "neither a program nor a script"},
			{file("empty", "", 0o755), "neither a program nor a script"},
			{file("lost", "#!/no/such/program\n", 0o755), "open /no/such/program: no such file"},
			{file("relative", "#!sh\n", 0o755), "is no absolute path"},
			{file("long", "#!/"+strings.Repeat("x", maxShebang), 0o755), "longer than 256 bytes"},
			{file("nested", "#!"+file("inner", "#!/bin/sh\n", 0o755)+"\n", 0o755),
				"is a script itself"},
		}
		if sep.Mode == ByUser {
			tests = append(tests, struct{ path, want string }{file("private", "#!/bin/sh\n", 0o700),
				"may not execute it (-rwx------, owner 0, group 0)"})
		}
		for _, test := range tests {
			m := &Monitor{
				Front:      Part{Args: []string{"obey", "idle"}},
				Backs:      []Part{{Name: "other", Program: test.path}},
				Separation: &sep,
				Output:     &syncBuffer{},
				Logger:     slog.New(slog.DiscardHandler),
			}
			err := m.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) ||
				!strings.Contains(err.Error(), "part other") ||
				!strings.Contains(err.Error(), test.path) {
				t.Errorf("Run = %v, want %q of %s", err, test.want, test.path)
			}
		}
	})
	for _, path := range []string{"part", "/", "/a/../b"} {
		m := &Monitor{Backs: []Part{{Name: "other", Program: path}}}
		if err := m.Run(t.Context()); err == nil ||
			!strings.Contains(err.Error(), "clean absolute path") {
			t.Errorf("program %q: %v", path, err)
		}
	}
}

// TestFolderThatIsNotThere names the folder in which a part cannot start.
func TestFolderThatIsNotThere(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		m := &Monitor{
			Front:      Part{Args: []string{"obey", "idle"}},
			Backs:      []Part{{Name: "other", Args: []string{"obey", "idle"}, Dir: "/no/such"}},
			Separation: &sep,
			Output:     &syncBuffer{},
			Logger:     slog.New(slog.DiscardHandler),
		}
		if err := m.Run(t.Context()); err == nil ||
			!strings.Contains(err.Error(), "part other: start in /no/such") {
			t.Errorf("Run = %v", err)
		}
	})
}

// TestUnconfined gives a part what its user may, and tells so.
func TestUnconfined(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		_, _, secret := sandboxFiles(t)
		p := startProcesses(t, sep, func(m *Monitor) {
			m.Backs[0].Unconfined = true
			m.Backs[0].Rights.Descriptors = 300
		})
		front, back := p.until("ready", func(f, b Description) bool {
			return f.State == Ready && b.State == Ready
		})
		if got := p.order(p.front, "ask", "board", "hello"); got != "board says hello" {
			t.Errorf("over the link: %q", got)
		}
		held := strings.Join(back.Held, ", ")
		want := "NO SANDBOX, MAY OUTLIVE A KILLED MONITOR (no process namespace), no_new_privs"
		if !strings.Contains(held, want) || !strings.Contains(held, "rlimits descriptors 300") {
			t.Errorf("the table says %q", held)
		}
		if got := strings.Join(back.May, " "); got != "EVERYTHING THAT ITS USER MAY" {
			t.Errorf("the table says that it may %q", got)
		}
		for _, may := range [][2]string{{"read", secret + "/file"}, {"write", secret + "/file"},
			{"udp", ""}, {"netlink", ""}, {"confine", ""}, {"exec program", "/bin/true"}} {
			if got := p.order(p.back, may[0], may[1]); got != "ok" {
				t.Errorf("%s %s: %s", may[0], may[1], got)
			}
		}
		if got := p.order(p.back, "rlimit", strconv.Itoa(syscall.RLIMIT_NOFILE)); got !=
			"refused: 300 300" {
			t.Errorf("descriptors: %s", got)
		}
		if sep.Mode != ByUser {
			return
		}
		if back.UID == 0 || back.UID == front.UID {
			t.Errorf("users %d and %d", front.UID, back.UID)
		}
		for _, not := range [][2]string{{"setuid", ""}, {"capable", ""},
			{"signal", strconv.Itoa(os.Getpid())}, {"read", "/proc/1/environ"}} {
			if got := p.order(p.back, not[0], not[1]); !strings.HasPrefix(got, "refused: ") {
				t.Errorf("%s %s: %s", not[0], not[1], got)
			}
		}
	})
}
