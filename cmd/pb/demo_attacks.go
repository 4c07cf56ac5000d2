package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The attacks, in the order in which they are told.
const (
	readFrontKey  = "read-front-key"
	readSiteFiles = "read-site-files"
	writeOutside  = "write-outside"
	signalFront   = "signal-front"
	claimRoot     = "claim-root"
	siteCookie    = "site-cookie"
	answerOther   = "answer-other"
	takeMount     = "take-mount"
)

var attacks = []string{readFrontKey, readSiteFiles, writeOutside, signalFront, claimRoot,
	siteCookie, answerOther, takeMount}

// fromOutside reports whether an attack needs a board that serves: a visitor of the site makes it,
// or judges it.
func fromOutside(name string) bool { return name == siteCookie || name == takeMount }

// An attack is one that the board, once an attacker has taken it over, makes on the other parts.
type attack struct {
	Name     string
	Key      string   // the front's
	Site     string   // the folder that the static site serves
	Outside  []string // folders that are not the board's
	FrontPID int
}

// An outcome is what became of an attack. Refused needs a reason.
type outcome struct {
	Refused bool
	Reason  string
}

func refused(err error) outcome { return outcome{true, err.Error()} }

var succeeded = outcome{}

// attackFiles makes the attacks that take nothing but the file system.
func (a *attack) attackFiles() (o outcome, known bool) {
	switch a.Name {
	case readFrontKey:
		return a.readKey(), true
	case readSiteFiles:
		return a.readSite(), true
	case writeOutside:
		return a.write(), true
	}
	return outcome{}, false
}

// readKey tries the key file by its name, and by way of the front's process.
func (a *attack) readKey() outcome {
	_, err := os.ReadFile(a.Key)
	if err == nil {
		return succeeded
	}
	if _, err := os.ReadFile(fmt.Sprintf("/proc/%d/root%s", a.FrontPID, a.Key)); err == nil {
		return succeeded
	}
	return refused(err)
}

func (a *attack) readSite() outcome {
	read := errors.New("there is no file in it")
	err := filepath.WalkDir(a.Site, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if _, err := os.ReadFile(path); err != nil { //nolint:gosec // that is the attack
			return err
		}
		return read
	})
	switch {
	case errors.Is(err, read):
		return succeeded
	case err == nil:
		return refused(read)
	}
	return refused(err)
}

// write tries to leave a file in each folder. What it made it takes away.
func (a *attack) write() outcome {
	var first error
	for _, dir := range a.Outside {
		path := filepath.Join(dir, "left-by-the-board")
		file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_ = file.Close()
			_ = os.Remove(path)
			return succeeded
		}
		if first == nil {
			first = err
		}
	}
	return refused(first)
}

// overreach is what a board that was taken over sends to be kept for the whole
// site.
func overreach(w http.ResponseWriter, r *http.Request) {
	host, _, _ := strings.Cut(r.Host, ":")
	for _, c := range []string{
		"everywhere=board; Path=/", "s=board; Path=/", "__Host-s=board; Path=/; Secure",
		"domain=board; Path=/; Domain=" + host,
	} {
		w.Header().Add("Set-Cookie", c)
	}
	_, _ = fmt.Fprintln(w, "have a cookie") // the client may be gone
}

// overreachPath is where a board that is told to serves overreach.
const overreachPath = boardPath + "attack"

// judgeCookies asks for overreachPath as a browser does and looks at what the
// browser would send to the rest of the site afterwards.
func judgeCookies(ctx context.Context, site string) (outcome, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return outcome{}, err
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, site+overreachPath, nil)
	if err != nil {
		return outcome{}, err
	}
	response, err := client.Do(r)
	if err != nil {
		return outcome{}, err
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return outcome{}, fmt.Errorf("pb: demo: %s: %s", overreachPath, response.Status)
	}
	names := func(path string) []string {
		var all []string
		if u, err := url.Parse(site + path); err == nil {
			for _, c := range jar.Cookies(u) {
				all = append(all, c.Name)
			}
		}
		slices.Sort(all)
		return all
	}
	if len(names("/")) > 0 {
		return succeeded, nil
	}
	return outcome{true,
		fmt.Sprintf("of 4 cookies for the whole site a browser keeps %d, for %s alone: %s",
			len(names(boardPath)), boardPath, strings.Join(names(boardPath), " "))}, nil
}

// judgeMount asks, as any client can, for a path that is not clean, so that the board's ServeMux
// answers with a Location three times as long, more than fits into a header between the board and
// the front. Then it looks whether the board is still there.
func (s *show) judgeMount(ctx context.Context) (outcome, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.httpAddr)
	if err != nil {
		return outcome{}, err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_, err = fmt.Fprintf(conn, "GET %s/%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
		boardPath, strings.Repeat("\xe9", 22500), s.httpAddr)
	if err != nil {
		return outcome{}, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return outcome{}, err
	}
	_ = response.Body.Close()
	if _, err := s.get(ctx, boardPath); err != nil {
		if ctx.Err() != nil {
			return outcome{}, err
		}
		return succeeded, nil
	}
	return outcome{true,
		fmt.Sprintf("%s for that request alone, the board still serves", response.Status)}, nil
}

// tell prints the outcomes in their order, and returns how many attacks succeeded.
func (s *show) tell(outcomes map[string]outcome) (won int, err error) {
	for _, name := range attacks {
		o, made := outcomes[name]
		line := "attack " + name + ": SUCCEEDED"
		switch {
		case !made:
			return won, fmt.Errorf("pb: demo: the attack %s was not made", name)
		case o.Refused:
			line = "attack " + name + ": refused (" +
				printable(strings.ReplaceAll(o.Reason, "\n", "; ")) + ")"
		default:
			won++
		}
		if _, err := fmt.Fprintln(s.out, line); err != nil {
			return won, err
		}
	}
	return won, nil
}
