package conformance

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"perspective/pb/distrib"
)

// A report is what h2spec writes, as JUnit does.
type report struct {
	Suites []struct {
		Section string `xml:"package,attr"`
		Cases   []struct {
			Name    string    `xml:"classname,attr"`
			Error   *struct{} `xml:"error"`
			Failure *struct{} `xml:"failure"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// A failing is what failed, by section and name.
type failing map[string]bool

// h2spec runs its cases of the sections, or all, against a server. total is how many they are.
func h2spec(t *testing.T, addr string, overTLS bool, sections ...string) (total int, f failing) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "report.xml")
	args := []string{"run", "github.com/summerwind/h2spec/cmd/h2spec", "-h", host, "-p", port,
		"-j", file, "-o", "10"}
	if overTLS {
		args = append(args, "-t", "-k")
	}
	out, err := exec.CommandContext(t.Context(), "go", append(args, sections...)...).CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Errorf("h2spec: %v\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Errorf("h2spec left no report: %v\n%s", err, out)
	}
	var all report
	if err := xml.Unmarshal(text, &all); err != nil {
		t.Error(err)
	}
	f = failing{}
	for _, s := range all.Suites {
		for _, c := range s.Cases {
			total++
			if c.Error != nil || c.Failure != nil {
				f[s.Section+": "+c.Name] = true
			}
		}
	}
	return total, f
}

func page(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page\n") }

// serve serves until the test ends, over TLS or by h2c, and returns the address.
func serve(
	t *testing.T, server *http.Server, wrap func(net.Listener) net.Listener, overTLS bool,
) string {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.Config = server
	s.Listener = wrap(s.Listener)
	if overTLS {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.Listener.Addr().String()
}

// serveBare serves the page by net/http alone.
func serveBare(t *testing.T, overTLS bool) string {
	t.Helper()
	server := &http.Server{Handler: http.HandlerFunc(page), Protocols: new(http.Protocols),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return serve(t, server, func(l net.Listener) net.Listener { return l }, overTLS)
}

// serveSplit serves the page by a back end behind a Site's own server.
func serveSplit(t *testing.T, overTLS bool) string {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	site := &distrib.Site{Logger: quiet}
	site.Handle("/", distrib.Route{Back: "app", Limits: distrib.Limits{Hold: time.Hour,
		HeaderTimeout: time.Hour}})
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	back, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	front, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		mount := &distrib.Mount{Handler: http.HandlerFunc(page), Name: "app", Logger: quiet}
		_ = mount.ServeConn(ctx, back)
	})
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		cancel()
		serving.Wait()
	})
	if err := site.Attach("app", front); err != nil {
		t.Fatal(err)
	}
	return serve(t, site.Server(), site.Clients, overTLS)
}

// TestHTTP2 shows that a Site fails no case of h2spec that net/http by itself does not, and that
// docs/web.md lists those that it fails.
func TestHTTP2(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/web.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, overTLS := range map[string]bool{"h2": true, "h2c": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // h2spec mostly waits
			addrs := [2]string{serveBare(t, overTLS), serveSplit(t, overTLS)}
			var running sync.WaitGroup
			var total [2]int
			var failed [2]failing
			for i, addr := range addrs {
				running.Go(func() { total[i], failed[i] = h2spec(t, addr, overTLS) })
			}
			running.Wait()
			bare, split := failed[0], failed[1]
			if total[0] != total[1] || total[1] != 145 {
				t.Errorf("%d cases under net/http, %d here, want 145", total[0], total[1])
			}
			t.Logf("net/http fails %d, the Site %d", len(bare), len(split))
			for f := range split {
				listed := strings.Contains(string(doc), f)
				if (!bare[f] || !listed) && !sometimes(t, addrs[1], overTLS, f) {
					t.Errorf("%s: fails under net/http: %v; is in docs/web.md: %v", f, bare[f], listed)
				}
			}
		})
	}
}

// sometimes says whether a case that was failed can be passed: what some of them see is a matter of
// which is first, the answer or the client's next frame.
func sometimes(t *testing.T, addr string, overTLS bool, f string) bool {
	t.Helper()
	section, _, _ := strings.Cut(f, ":")
	for range 5 {
		if _, failed := h2spec(t, addr, overTLS, section); !failed[f] {
			return true
		}
	}
	return false
}
