package web_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb/distrib"
	"perspective/pb/pbtest"
	"perspective/pb/web"
)

// aRecord is what the tests log.
func aRecord() *distrib.Record {
	return &distrib.Record{
		Request: &http.Request{
			Method:     http.MethodGet,
			Host:       "example.org",
			RequestURI: "/app/x\"\x1b[2J\u009b\xff?q=1",
			Proto:      "HTTP/1.1",
			TLS: &tls.ConnectionState{Version: tls.VersionTLS13,
				CipherSuite: tls.TLS_AES_128_GCM_SHA256},
			Header: http.Header{"User-Agent": {"a \\browser\r\n"}, "Referer": {"http://x/"}},
		},
		ID:            "0af7651916cd43dd8448eb211c80319c",
		Trace:         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Client:        "192.0.2.7:1234",
		User:          "ann b",
		Mount:         "app",
		Instance:      "app.1",
		Began:         time.Date(2026, 11, 27, 22, 30, 0, 7e6, time.UTC),
		Status:        200,
		RequestBytes:  5,
		ResponseBytes: 1234,
		Front:         20 * time.Microsecond,
		Queue:         5 * time.Microsecond,
		Handler:       12345 * time.Microsecond,
		Write:         time.Second,
		Sent:          2,
		Outcome:       distrib.Complete,
		Err:           errors.New("none"),
	}
}

// started starts a log into a file.
func started(t *testing.T, l *web.AccessLog) *web.AccessLog {
	t.Helper()
	if l.Log.File == "" {
		l.Log.File = filepath.Join(t.TempDir(), "access.log")
	}
	if l.Logger == nil {
		l.Logger = slog.New(slog.DiscardHandler)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	return l
}

func linesOf(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// A request is one line in both formats, whatever it says.
func TestAccessLogLines(t *testing.T) {
	pbtest.NoLeaks(t)
	for format, want := range map[string]string{
		"": `{"time":"2026-11-27T22:30:00.007Z","request_id":"0af7651916cd43dd8448eb211c80319c",` +
			`"client":"192.0.2.7:1234","user":"ann b","method":"GET","host":"example.org",` +
			`"target":"/app/x\"\u001b[2J\u009b\ufffd?q=1","proto":"HTTP/1.1","tls":"TLS 1.3",` +
			`"cipher":"TLS_AES_128_GCM_SHA256","mount":"app","instance":"app.1","status":200,` +
			`"request_bytes":5,"response_bytes":1234,"front_ms":0.020,"queue_ms":0.005,` +
			`"handler_ms":12.345,"write_ms":1000.000,"sent":2,"outcome":"complete","err":"none",` +
			`"trace":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",` +
			`"referer":"http://x/","user_agent":"a \\browser\u000d\u000a"}`,
		"combined": `192.0.2.7 - ann_b [27/Nov/2026:22:30:00 +0000] ` +
			`"GET /app/x\"\x1b[2J\xc2\x9b\xff?q=1 HTTP/1.1" 200 1234 "http://x/" ` +
			`"a \\browser\x0d\x0a" id=0af7651916cd43dd8448eb211c80319c host=example.org ` +
			`mount=app instance=app.1 tls=TLS_1.3 outcome=complete front=0.020 queue=0.005 ` +
			`handler=12.345 write=1000.000`,
	} {
		l := started(t, &web.AccessLog{Log: web.Log{Format: format}})
		l.Observe(aRecord())
		empty := &distrib.Record{Request: &http.Request{
			RequestURI: "/" + strings.Repeat("x", 1<<16)}}
		l.Observe(empty)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		got := linesOf(t, l.Log.File)
		if len(got) != 2 || got[0] != want {
			t.Fatalf("%q: %d lines, the first\n%s\nwant\n%s", format, len(got), got[0], want)
		}
		if len(got[1]) > 5000 {
			t.Errorf("%q: a line of %d bytes", format, len(got[1]))
		}
		if format == "" && !(json.Valid([]byte(got[0])) && json.Valid([]byte(got[1]))) {
			t.Errorf("no JSON: %s", got)
		}
		if info, err := os.Stat(l.Log.File); err != nil || info.Mode().Perm()&^0o640 != 0 {
			t.Errorf("the file's mode is %v (%v), want 0640 or less", info.Mode(), err)
		}
	}
}

func TestAccessLogStart(t *testing.T) {
	bad := &web.AccessLog{Log: web.Log{Format: "xml"}}
	if err := bad.Start(); err == nil || !strings.Contains(err.Error(), `no format "xml"`) {
		t.Errorf("Start() = %v", err)
	}
	none := &web.AccessLog{Log: web.Log{File: filepath.Join(t.TempDir(), "none", "x")}}
	if err := none.Start(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Start() = %v", err)
	}
}

// A line is in the file within a second, and in the new one once the file was renamed, or is to be
// opened again.
func TestAccessLogFollowsItsName(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	synctest.Test(t, func(t *testing.T) {
		l := started(t, &web.AccessLog{Log: web.Log{File: file}})
		passes := func(d time.Duration) {
			timer := time.NewTimer(d)
			<-timer.C
			synctest.Wait()
		}
		has := func(name string, want int) {
			t.Helper()
			if got := len(linesOf(t, name)); got != want {
				t.Errorf("%s has %d lines, want %d", filepath.Base(name), got, want)
			}
		}
		rename := func(to string) string {
			t.Helper()
			if err := os.Rename(file, file+to); err != nil {
				t.Fatal(err)
			}
			return file + to
		}
		l.Observe(aRecord())
		l.Observe(aRecord())
		passes(time.Second)
		has(file, 2)

		first := rename(".1")
		l.Observe(aRecord())
		passes(time.Second)
		has(first, 2)
		has(file, 1)

		second := rename(".2")
		l.Reopen()
		passes(0)
		l.Observe(aRecord())
		passes(time.Second)
		has(second, 1)
		has(file, 1)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		passes(time.Second)
		l.Observe(aRecord())
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		has(file, 1)
		if n := l.Dropped(); n != 0 {
			t.Errorf("Dropped() = %d", n)
		}
		l.Observe(aRecord())
		if n := l.Dropped(); n != 1 {
			t.Errorf("Dropped() = %d after Close, want 1", n)
		}
	})
}

// A disk that stalls holds no request up: lines are dropped, and a later one tells how many.
func TestAccessLogDropsWhatTheDiskDoesNotTake(t *testing.T) {
	pbtest.NoLeaks(t)
	for _, format := range []string{"json", "combined"} {
		out, in, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		l := started(t, &web.AccessLog{
			Log:     web.Log{File: filepath.Join(t.TempDir(), "x"), Format: format},
			Open:    func(string) (*os.File, error) { return in, nil },
			Pending: 16 << 10,
		})
		const all = 2000 // far more than the pipe and the buffer hold
		for range all {
			l.Observe(aRecord())
		}
		dropped := l.Dropped()
		if dropped == 0 {
			t.Fatal("nothing was dropped")
		}
		whole, told := 0, uint64(0)
		in2 := bufio.NewReader(out)
		for told == 0 {
			line, err := in2.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			var notice struct {
				Status  int
				Dropped uint64
			}
			if rest, ok := strings.CutPrefix(line, "# dropped "); ok {
				err = json.Unmarshal([]byte(rest), &notice.Dropped)
			} else if format == "json" {
				err = json.Unmarshal([]byte(line), &notice)
			}
			if err != nil {
				t.Fatalf("%v: %q", err, line)
			}
			whole++
			told += notice.Dropped
		}
		closed := make(chan error, 1)
		go func() { closed <- l.Close() }()
		rest, err := io.ReadAll(in2)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		_ = out.Close()
		whole += bytes.Count(rest, []byte("\n"))
		if format == "combined" {
			whole -= bytes.Count(rest, []byte("# dropped"))
		} else {
			whole -= bytes.Count(rest, []byte(`"dropped"`))
		}
		if told > dropped || uint64(whole-1)+dropped != all {
			t.Errorf("%d lines, %d dropped, %d of them told, of %d", whole-1, dropped, told, all)
		}
	}
}

// A disk that is full costs lines, which are counted.
func TestAccessLogOnAFullDisk(t *testing.T) {
	pbtest.NoLeaks(t)
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	var book bytes.Buffer
	l := started(t, &web.AccessLog{Log: web.Log{File: "/dev/full"},
		Logger: slog.New(slog.NewTextHandler(&book, nil))})
	l.Observe(aRecord())
	l.Observe(aRecord())
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if n := l.Dropped(); n != 2 {
		t.Errorf("Dropped() = %d, want 2", n)
	}
	if !strings.Contains(book.String(), "no space left") {
		t.Errorf("log: %s", book.String())
	}
}

func BenchmarkAccessLog(b *testing.B) {
	l := &web.AccessLog{Log: web.Log{File: os.DevNull}, Pending: 64 << 20}
	if err := l.Start(); err != nil {
		b.Fatal(err)
	}
	r := aRecord()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Observe(r)
		}
	})
	if err := l.Close(); err != nil {
		b.Error(err)
	}
}
