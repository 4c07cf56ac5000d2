package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func journalOf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func texts(messages []message) (all []string) {
	for _, m := range messages {
		all = append(all, fmt.Sprintf("%d %s", m.Number, m.Text))
	}
	return all
}

func TestBoardKeepsItsMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	for life := range 3 {
		b, err := newBoard(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(b.last(1000)), 20*life; got != want {
			t.Errorf("life %d begins with %d messages, want %d", life, got, want)
		}
		var posts sync.WaitGroup
		for i := range 20 {
			posts.Go(func() {
				if _, err := b.RemotePost(t.Context(), "ann",
					fmt.Sprintf("%d of life %d", i, life)); err != nil {
					t.Error(err)
				}
			})
		}
		posts.Wait()
		b.close()
		if _, err := b.RemotePost(t.Context(), "ann", "late"); !errors.Is(err, errBoardClosed) {
			t.Errorf("a post after close: %v", err)
		}
	}
	b, err := newBoard(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	seen := make(map[string]bool)
	for i, m := range b.last(1000) {
		if m.Number != i+1 || seen[m.Text] {
			t.Errorf("message %d is number %d, %q", i+1, m.Number, m.Text)
		}
		seen[m.Text] = true
	}
	if len(seen) != 60 {
		t.Errorf("%d messages, want 60", len(seen))
	}
}

func TestBoardRefuses(t *testing.T) {
	b, err := newBoard(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	long := strings.Repeat("x", maxText+1)
	for _, c := range []struct{ name, text string }{
		{"", "x"},
		{"ann", ""},
		{"ann", "  "},
		{long, "x"},
		{"ann", long},
		{"a\x1b", "x"},
		{"ann", "a\nb"},
		{"ann", "\xff"},
		{"ann", "a\u202eb"},
	} {
		if _, err := b.RemotePost(t.Context(), c.name, c.text); !errors.Is(err, errBadPost) {
			t.Errorf("Post(%.10q, %.10q): %v, want errBadPost", c.name, c.text, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 { // it may be taken before the end is seen
		if n, err := b.RemotePost(ended, "ann", "x"); (err == nil) == (n == 0) {
			t.Errorf("Post = %d, %v", n, err)
		}
	}
}

func TestJournalCutsWhatIsNotWhole(t *testing.T) {
	whole := `{"n":1,"time":"2026-01-02T03:04:05Z","name":"ann","text":"one"}` + "\n"
	path := journalOf(t, whole+`{"n":2,"na`)
	j, messages, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := texts(messages); len(got) != 1 || got[0] != "1 one" {
		t.Errorf("messages %q", got)
	}
	if err := j.add([]message{{Number: 2, Name: "bob", Text: "two"}}); err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	_, messages, err = openJournal(path)
	if got := texts(messages); err != nil || len(got) != 2 || got[1] != "2 two" {
		t.Errorf("messages %q, %v", got, err)
	}
	if _, _, err := openJournal(journalOf(t, "no json\n")); err == nil {
		t.Error("a journal of something else was opened")
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"n":1,"text":"one"}` + "\n{"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		messages, whole, err := readJournal(strings.NewReader(string(text)))
		if err != nil {
			return
		}
		again, same, err := readJournal(strings.NewReader(string(text[:whole])))
		if err != nil || same != whole || len(again) != len(messages) {
			t.Errorf("%q: %d messages in %d bytes, then %d in %d, %v", text, len(messages), whole,
				len(again), same, err)
		}
	})
}

func TestCountTellsWhatWasLost(t *testing.T) {
	line := func(text string) string { return `{"n":1,"text":"` + text + `"}` + "\n" }
	for _, c := range []struct {
		name    string
		journal string
		kept    []string
		failed  int
		want    tally
	}{
		{name: "all there", journal: line("a") + line("b"), kept: []string{"a", "b"}},
		{name: "begun, and there all the same", journal: line("a") + line("b"),
			kept: []string{"a"}},
		{name: "lost", journal: line("a"), kept: []string{"a", "b"}, want: tally{lost: 1}},
		{name: "doubled", journal: line("a") + line("a"), kept: []string{"a"},
			want: tally{doubled: 1}},
		{name: "begun and doubled", journal: line("a") + line("a"), want: tally{doubled: 1}},
		{name: "failed", failed: 2, want: tally{lost: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &load{kept: c.kept}
			l.failed.Store(int64(c.failed))
			got, err := l.count(journalOf(t, c.journal))
			if err != nil || got != c.want {
				t.Errorf("count = %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

// TestLoadCountsAnswers puts the load on a site that fails now and then.
func TestLoadCountsAnswers(t *testing.T) {
	var n int
	var mu sync.Mutex
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		turn := n
		mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
		switch {
		case turn%100 == 0:
			w.WriteHeader(http.StatusBadGateway)
		case turn%500 == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer site.Close()
	kills := 0
	l := &load{site: site.URL, run: "test"}
	if err := l.put(t.Context(), func(context.Context) error { kills++; return nil }); err != nil {
		t.Fatal(err)
	}
	got := tally{
		answered: int(l.answered.Load()),
		begun:    int(l.begun.Load()),
		lost:     int(l.failed.Load()),
	}
	if want := (tally{answered: 1976, begun: 20, lost: 4}); got != want || l.reason == nil {
		t.Errorf("%+v, %v, want %+v", got, l.reason, want)
	}
	if kills != len(killAfter) {
		t.Errorf("%d kills, want %d", kills, len(killAfter))
	}
}

func TestRenderPage(t *testing.T) {
	page, err := renderPage("words", []string{"other", "words"}, []byte(
		"# Words & <more>\n\n<script>alert(1)</script>\n\n[other](other.md#part) "+
			"[out](https://example.org/x.md) [bad](javascript:alert(1))\n\n| a | b "+
			"|\n|---|---|\n| 1 | 2 |\n"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, want := range []string{
		`<a href="other.html#part">`, `<a href="https://example.org/x.md">`, "<table>",
		`<h1 id="words--more">`, `<a href="/other.html">`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %s:\n%s", want, text)
		}
	}
	for _, bad := range []string{"<script", "javascript:", "<more>"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page has %s:\n%s", bad, text)
		}
	}
}
