package distrib

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// A fileSite is a front that serves by a Server of its own, and a back end "files" with a socket
// beside its link.
type fileSite struct {
	site   *Site
	url    string
	client *http.Client
	sender *fileSender
}

type fileServing struct{ tls, http2 bool }

func newFileSite(t testing.TB, how fileServing, route Route, h http.HandlerFunc) *fileSite {
	t.Helper()
	pbtest.NoLeaks(t)
	s := &fileSite{site: &Site{WriteStall: time.Hour}}
	route.Back, route.Limits = "files", Limits{Hold: time.Hour, HeaderTimeout: time.Hour}
	s.site.Handle("/", route)
	front, back := unixPair(t)
	ours, theirs, err := filePair()
	if err != nil {
		t.Fatal(err)
	}
	s.sender = newFileSender(theirs)
	if err := s.site.attach("files", "", front, linkOwner{files: ours}); err != nil {
		t.Fatal(err)
	}
	m := &mountLink{mount: &Mount{Handler: h, Logger: slog.New(slog.DiscardHandler)},
		files: s.sender, connect: func(n *pb.Node) (*pb.Conn, error) {
			return n.Attach(t.Context(), back, pb.Dialer)
		}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { // ends with ctx
		_ = m.serve(ctx)
		m.finish()
	})
	server := httptest.NewUnstartedServer(nil)
	server.Listener = s.site.Clients(server.Listener)
	server.Config = s.site.Server()
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if server.EnableHTTP2 = how.http2; how.tls {
		server.StartTLS()
	} else {
		server.Start()
	}
	s.url, s.client = server.URL, server.Client()
	t.Cleanup(func() {
		cancel()
		running.Wait()
		server.CloseClientConnections()
		server.Close()
		_ = s.site.Close()
	})
	return s
}

// bigFile makes a file of n bytes that no two places of have in common.
func bigFile(t *testing.T, n int) (path string, content []byte) {
	t.Helper()
	content = make([]byte, n)
	for i := 0; i < n; i += sha256.Size {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		copy(content[i:], sum[:])
	}
	path = filepath.Join(t.TempDir(), "big.bin")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, content
}

// passes says whether writing a response passed its file.
func passes(w http.ResponseWriter) bool { return w.(*responseWriter).passed }

func TestFilesByDescriptor(t *testing.T) {
	path, content := bigFile(t, 1<<20)
	const middle = "bytes=100000-299999"
	tests := []struct {
		name, method, header, value string
		status                      int
		body                        []byte
		passed                      bool
	}{
		{"whole", "GET", "", "", 200, content, true},
		{"head", "HEAD", "", "", 200, nil, false},
		{"range", "GET", "Range", middle, 206, content[100000:300000], true},
		{"end", "GET", "Range", "bytes=-70000", 206, content[len(content)-70000:], true},
		{"short range", "GET", "Range", "bytes=5-9", 206, content[5:10], false},
		{"not modified", "GET", "If-None-Match", `"one"`, 304, nil, false},
		{"no such range", "GET", "Range", "bytes=9999999-", 416, nil, false},
		{"two ranges", "GET", "Range", "bytes=0-99999,200000-299999", 206, nil, false},
	}
	for _, how := range []fileServing{{}, {tls: true}, {tls: true, http2: true}} {
		passed := make(chan bool, 1)
		s := newFileSite(t, how, Route{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"one"`)
			http.ServeFile(w, r, path)
			if passes(w) {
				if n, err := w.Write([]byte("x")); err == nil {
					t.Errorf("%d bytes more were taken", n)
				}
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Errorf("Flush() = %v", err)
			}
			passed <- passes(w)
		})
		seen := make(chan Record, 1)
		s.site.Observe = func(r *Record) { seen <- *r }
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s %+v", tt.name, how), func(t *testing.T) {
				r, err := http.NewRequestWithContext(t.Context(), tt.method, s.url+"/big.bin", nil)
				if err != nil {
					t.Fatal(err)
				}
				if tt.header != "" {
					r.Header.Set(tt.header, tt.value)
				}
				resp, err := s.client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = resp.Body.Close() }()
				body, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != tt.status ||
					tt.body != nil && !bytes.Equal(body, tt.body) {
					t.Errorf("%d, %d bytes, %v, want %d, %d bytes", resp.StatusCode, len(body), err,
						tt.status, len(tt.body))
				}
				if tt.method == "HEAD" && resp.ContentLength != int64(len(content)) {
					t.Errorf("length %d", resp.ContentLength)
				}
				if r := <-seen; r.ResponseBytes != int64(len(body)) || r.Outcome != Complete {
					t.Errorf("%d bytes, %s, in the record", r.ResponseBytes, r.Outcome)
				}
				if got := <-passed; got != tt.passed {
					t.Errorf("passed: %v, want %v", got, tt.passed)
				}
			})
		}
	}
}

// TestFilesManyAtOnce has more files on their way than may lie there: the others go over the link.
func TestFilesManyAtOnce(t *testing.T) {
	path, content := bigFile(t, 100<<10)
	s := newFileSite(t, fileServing{}, Route{}, func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, path)
	})
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() {
			for range 4 {
				body, err := s.get()
				if err != nil || !bytes.Equal(body, content) {
					t.Errorf("%d bytes, %v", len(body), err)
				}
			}
		})
	}
	clients.Wait()
	s.sender.hear()
	if n := s.sender.unclaimed.Load(); n != 0 {
		t.Errorf("%d descriptors were never acknowledged", n)
	}
}

func (s *fileSite) get() ([]byte, error) {
	resp, err := s.client.Get(s.url + "/big.bin")
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return body, err
}

// TestFilesShareNoPosition has the handler use its file while the front sends it.
func TestFilesShareNoPosition(t *testing.T) {
	path, content := bigFile(t, 8<<20)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	s := newFileSite(t, fileServing{}, Route{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Error(err)
		}
		n, err := w.(io.ReaderFrom).ReadFrom(f)
		if at, _ := f.Seek(0, io.SeekCurrent); err != nil || n != at || !passes(w) {
			t.Errorf("ReadFrom() = %d, %v, and the file is at %d", n, err, at)
		}
		_, _ = f.Seek(1234, io.SeekStart)
	})
	resp, err := s.client.Get(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(body, content) {
		t.Errorf("%d bytes, %v", len(body), err)
	}
	if got := resp.Header.Get("Content-Type"); got != http.DetectContentType(content[:512]) {
		t.Errorf("Content-Type: %s", got)
	}
}

// TestFilesThatShrink are cut visibly.
func TestFilesThatShrink(t *testing.T) {
	for _, how := range []fileServing{{}, {tls: true}, {tls: true, http2: true}} {
		t.Run(fmt.Sprintf("%+v", how), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "big.bin")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, 1<<30); err != nil {
				t.Fatal(err)
			}
			s := newFileSite(t, how, Route{}, func(w http.ResponseWriter, r *http.Request) {
				http.ServeFile(w, r, path)
			})
			seen := make(chan Record, 1)
			s.site.Observe = func(r *Record) { seen <- *r }
			resp, err := s.client.Get(s.url)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if err := os.Truncate(path, 1<<20); err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			if err == nil || n >= 1<<30 {
				t.Errorf("%d bytes and a clean end", n)
			}
			if r := <-seen; r.Outcome != CutOff {
				t.Errorf("the record says %s: %v", r.Outcome, r.Err)
			}
		})
	}
}

// TestFilesOfAClientThatGoes ends in the record as the client's doing.
func TestFilesOfAClientThatGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big.bin")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<30); err != nil {
		t.Fatal(err)
	}
	s := newFileSite(t, fileServing{}, Route{}, func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, path)
	})
	seen := make(chan Record, 1)
	s.site.Observe = func(r *Record) { seen <- *r }
	resp, err := s.client.Get(s.url)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close() // and with it the connection
	if r := <-seen; r.Outcome != ClientGone {
		t.Errorf("the record says %s: %v", r.Outcome, r.Err)
	}
}

// TestFilesAreEncoded has the front compress what was passed.
func TestFilesAreEncoded(t *testing.T) {
	text := strings.Repeat("the same words again and again\n", 10000)
	path := filepath.Join(t.TempDir(), "words.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	route := Route{Encode: []string{"gzip"}}
	s := newFileSite(t, fileServing{}, route, func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, path)
		if !passes(w) {
			t.Error("it went over the link")
		}
	})
	resp, err := s.client.Get(s.url) // which asks for gzip, and takes it off
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != text || !resp.Uncompressed {
		t.Errorf("%d bytes, %v, compressed: %v", len(body), err, resp.Uncompressed)
	}
}

// A passer passes descriptors by hand.
type passer struct {
	t      *testing.T
	socket *control
}

func (p passer) pass(number uint64, fds ...int) {
	p.t.Helper()
	p.passText(binary.BigEndian.AppendUint64(nil, number), fds...)
}

func (p passer) passText(text []byte, fds ...int) {
	p.t.Helper()
	err := p.socket.sendRaw(text, unix.UnixRights(fds...))
	if err != nil && !errors.Is(err, unix.EPIPE) { // the link may have ended by now
		p.t.Errorf("sendmsg: %v", err)
	}
}

// attackByFiles is attackSite with a socket for files beside the evil back end's link. Each
// response names a file of 1 KiB under the number of its request, after attack.
func attackByFiles(t *testing.T, attack func(p passer, id uint64)) *hostileSite {
	t.Helper()
	ours, theirs, err := filePair()
	if err != nil {
		t.Fatal(err)
	}
	socket, err := controlOf(theirs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(socket.close)
	back := &hostileBack{files: ours,
		answer: func(_ context.Context, q *request) (*response, error) {
			attack(passer{t, socket}, q.id)
			return &response{status: 200, length: 1 << 10, file: filePart{number: q.id}}, nil
		}}
	return attackSite(t, back)
}

func TestHostileFiles(t *testing.T) {
	path, content := bigFile(t, 1<<10)
	open := func(path string) int {
		t.Helper()
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	file, folder := open(path), open(filepath.Dir(path))
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// Regular, but another process may have to say what is in it.
	pipe, foreign := open(fifo), open("/proc/self/status")
	tests := []struct {
		name   string
		attack func(p passer, id uint64)
		status string // of the answer
		ends   bool   // the link
	}{
		{"none of these", func(p passer, id uint64) { p.pass(id, file) }, "200", false},
		{"a folder", func(p passer, id uint64) { p.pass(id, folder) }, "502", true},
		{"a FIFO", func(p passer, id uint64) { p.pass(id, pipe) }, "502", true},
		{"a file of /proc", func(p passer, id uint64) { p.pass(id, foreign) }, "502", true},
		{"never passed", func(passer, uint64) {}, "502", false},
		{"another number", func(p passer, id uint64) { p.pass(id+1, file) }, "502", false},
		{"twice", func(p passer, id uint64) { p.pass(id, file); p.pass(id, file) }, "", true},
		{"two at once", func(p passer, id uint64) { p.pass(id, file, file) }, "", true},
		{"more than there is room for", func(p passer, id uint64) {
			p.pass(id, file, file, file, file)
		}, "", true},
		{"none in the message", func(p passer, id uint64) { p.pass(id) }, "", true},
		{"no number", func(p passer, id uint64) {
			p.passText([]byte("here"), file)
		}, "", true},
		{"too long a number", func(p passer, id uint64) {
			p.passText(binary.BigEndian.AppendUint64([]byte{0}, id), file)
		}, "", true},
		{"too many", func(p passer, id uint64) {
			for i := range uint64(maxUnclaimed + 2) {
				p.pass(id+i, file)
			}
		}, "", true},
		{"as many as may be", func(p passer, id uint64) {
			for i := range uint64(maxUnclaimed) {
				p.pass(id+i, file)
			}
		}, "200", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := attackByFiles(t, tt.attack)
			answer := s.raw("GET /evil/ HTTP/1.1\r\n" + closing)
			head, body, _ := strings.Cut(answer, "\r\n\r\n")
			if tt.status != "" && !strings.HasPrefix(head, "HTTP/1.1 "+tt.status) {
				t.Errorf("answer %.200q, want %s", answer, tt.status)
			}
			if tt.status == "200" && body != string(content) {
				t.Errorf("%d bytes, want the file", len(body))
			}
			if tt.ends {
				<-s.conn.Done()
			} else if err := s.conn.Err(); err != nil {
				t.Errorf("the link ended: %v", err)
			}
			s.good()
		})
	}
}

// TestHostileFileResponses has responses that no file can go with.
func TestHostileFileResponses(t *testing.T) {
	for _, p := range []response{
		{status: 200, length: -1, file: filePart{number: 1}},
		{status: 200, length: 1, file: filePart{number: 1, offset: -1}},
		{status: 200, length: 1, file: filePart{number: 1, offset: 1<<63 - 1}},
		{status: 200, length: 1, streamed: true, file: filePart{number: 1}},
		{status: 200, length: 1, body: []byte("x"), file: filePart{number: 1}},
		{status: 204, length: 1, file: filePart{number: 1}},
		{status: 304, length: 1, file: filePart{number: 1}},
		{status: 200, length: 1, trailers: []string{"A"}, file: filePart{number: 1}},
	} {
		var got response
		if err := got.read(p.append(p.body)); err == nil {
			t.Errorf("read(%+v) = nil", p)
		}
	}
	s := newHostileSite(t, func(context.Context, *request) (*response, error) {
		return &response{status: 200, length: 1, file: filePart{number: 1}}, nil
	})
	answer := s.raw("GET /evil/ HTTP/1.1\r\n" + closing)
	if !strings.HasPrefix(answer, "HTTP/1.1 502") {
		t.Errorf("a file without a socket: %.200q", answer)
	}
	<-s.conn.Done()
	s.good()
}

// TestFilesNobodyClaims are closed after their time.
func TestFilesNobodyClaims(t *testing.T) {
	ours, theirs, err := filePair()
	if err != nil {
		t.Fatal(err)
	}
	r := newFileReceiver(ours, func(err error) { t.Errorf("the link ends: %v", err) })
	r.keep = time.Millisecond
	var running sync.WaitGroup
	running.Go(r.run) // ends with close
	defer running.Wait()
	defer r.close()
	socket, err := controlOf(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.close()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	reader := os.NewFile(uintptr(fds[0]), "reader")
	defer func() { _ = reader.Close() }()
	passer{t, socket}.pass(7, fds[1])
	_ = unix.Close(fds[1])
	// The end of the pipe comes when the last descriptor of its other end is closed.
	if n, err := reader.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("Read() = %d, %v", n, err)
	}
	if _, err := r.claim(7); !errors.Is(err, errNoFile) {
		t.Errorf("claim() = %v", err)
	}
}

// TestFilesEndWithTheirLink closes what nobody has claimed.
func TestFilesEndWithTheirLink(t *testing.T) {
	passed := make(chan struct{})
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	reader := os.NewFile(uintptr(fds[0]), "reader")
	defer func() { _ = reader.Close() }()
	s := attackByFiles(t, func(p passer, id uint64) {
		p.pass(id+1, fds[1])
		_ = unix.Close(fds[1])
		close(passed)
	})
	_ = s.raw("GET /evil/ HTTP/1.1\r\n" + closing)
	<-passed
	_ = s.conn.Close()
	if n, err := reader.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("Read() = %d, %v", n, err)
	}
}

// TestMonitorPassesFiles has parts of their own users pass files, and one without a sandbox not.
func TestMonitorPassesFiles(t *testing.T) {
	path, content := bigFile(t, 1<<20)
	for dir := filepath.Dir(path); dir != filepath.Dir(os.TempDir()); dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode()&0o005 != 0o005 {
			_ = os.Chmod(dir, 0o755)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	eachSeparation(t, func(t *testing.T, sep Separation) {
		for _, unconfined := range []bool{false, true} {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = listener.Close() }()
			p := startProcesses(t, sep, func(m *Monitor) {
				m.Front = Part{Args: []string{"front of instances"},
					Listeners: map[string]net.Listener{"http": listener}}
				m.Backs = []Part{{Name: "app", Args: []string{"instance"}, Unconfined: unconfined,
					Rights: Rights{Read: []string{path}}}}
			})
			resp, err := http.Get("http://" + listener.Addr().String() + "/passed?path=" + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || !bytes.Equal(body, content) {
				t.Errorf("%s, %d bytes, %v", resp.Status, len(body), err)
			}
			want := fmt.Sprintf("passed: %v", !unconfined)
			for limit := time.Now().Add(patience); !strings.Contains(p.output.String(), want); {
				if runtime.Gosched(); time.Now().After(limit) {
					t.Fatalf("the part never printed %q: %s", want, p.output)
				}
			}
			p.stop()
		}
	})
}
