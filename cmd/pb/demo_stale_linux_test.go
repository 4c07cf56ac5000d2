package main

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perspective/pb/web"

	"golang.org/x/sys/unix"
)

func TestSweepTakesOnlyLeftovers(t *testing.T) {
	dir := t.TempDir()
	inside := func(names ...string) string {
		return filepath.Join(append([]string{dir}, names...)...)
	}
	for _, path := range []string{
		folderPrefix + "1/front", folderPrefix + "1/board", folderPrefix + "2",
		folderPrefix + "3/site", folderPrefix + "4/mine", folderPrefix + "mine/site", "other/site",
	} {
		if err := os.MkdirAll(inside(path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(inside(folderPrefix+"1", "board", "journal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("other", inside(folderPrefix+"5")); err != nil {
		t.Fatal(err)
	}
	want := []string{"other", folderPrefix + "3", folderPrefix + "4", folderPrefix + "5",
		folderPrefix + "mine"}
	if os.Getuid() == 0 {
		if err := os.Mkdir(inside(folderPrefix+"6"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(inside(folderPrefix+"6"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		want = append(want, folderPrefix+"6")
	}
	mark, err := claim(inside(folderPrefix + "3"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim(inside(folderPrefix + "3")); err == nil {
		t.Error("a folder was claimed twice")
	}
	sweep(dir)
	for _, name := range want {
		if _, err := os.Lstat(inside(name)); err != nil {
			t.Errorf("%s should have stayed: %v", name, err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != len(want) {
		t.Errorf("there are %v, %v, want %v", left, err, want)
	}
	if err := mark.Close(); err != nil {
		t.Fatal(err)
	}
	sweep(dir)
	if _, err := os.Lstat(inside(folderPrefix + "3")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what nobody has claimed any more is still there: %v", err)
	}
}

func TestNewFolderIsClaimed(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	f, err := newFolder("", nil)
	if err != nil {
		t.Fatal(err)
	}
	sweep(os.TempDir())
	if _, err := os.Stat(f.key()); err != nil {
		t.Errorf("another demo took it away: %v", err)
	}
	if err := f.remove(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestStaticOpensNoPipes would wait without end if one were opened.
func TestStaticOpensNoPipes(t *testing.T) {
	folder := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(folder, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{
		"out":     "/etc/passwd",
		"nowhere": "missing",
		"round":   "round",
		"piped":   "pipe",
	} {
		if err := os.Symlink(to, filepath.Join(folder, link)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := web.NewFileServer(folder, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/pipe", "/out", "/nowhere", "/round", "/piped"} {
		w := httptest.NewRecorder()
		files.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("GET %s: status %d, want 404", path, w.Code)
		}
	}
}

func TestRestartsAreTold(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newRestarts(slog.NewTextHandler(&out, nil)))
	log.Info("part started", "part", "board", "pid", 7)
	log.Info("part ready", "part", "board")
	if out.Len() > 0 {
		t.Errorf("a first start is told: %s", &out)
	}
	log.Info("part ended", "part", "board", "how", "signal: killed")
	log.Info("part started", "part", "board", "pid", 8)
	if text := out.String(); strings.Count(text, "\n") != 1 ||
		!strings.Contains(text, `part=board ended="signal: killed" pid=8`) {
		t.Errorf("a restart is told as %q", text)
	}
	out.Reset()
	log.Warn("part outlived its grace", "part", "board")
	log.Info("part ended", "part", "board", "how", "exit status 0")
	if text := out.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "grace") {
		t.Errorf("the end is told as %q", text)
	}
}

// TestLateAnswersAreTold keeps the front's patience with a part below the time after
// which the server cuts the client off.
func TestLateAnswersAreTold(t *testing.T) {
	const hold = 10 * time.Second // distrib's default
	if limit := newServer(nil).WriteTimeout; 2*answerLimit+hold >= limit {
		t.Errorf("a part may take %v twice and %v to come back, and the client is cut off after %v",
			answerLimit, hold, limit)
	}
}

func TestBesides(t *testing.T) {
	other := errors.New("other")
	for _, c := range []struct {
		err  error
		want string
	}{{nil, ""}, {fs.ErrExist, ""}, {errors.Join(fs.ErrExist, other), "other"},
		{errors.Join(errors.Join(fs.ErrExist)), ""}, {other, "other"}} {
		got := ""
		if err := besides(c.err, fs.ErrExist); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("besides(%v) = %q, want %q", c.err, got, c.want)
		}
	}
}
