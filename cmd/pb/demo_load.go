package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"perspective/pb"
)

const (
	loadRequests = 2000
	loadWorkers  = 16
)

// killAfter are how many requests are done when the board is killed.
var killAfter = []int64{400, 900, 1400}

// A load asks for the board and posts to it, half and half, and knows afterwards
// what must be in the journal.
type load struct {
	site string
	run  string // in every text, so that none is an older one

	next, done, answered, begun, failed atomic.Int64

	mu     sync.Mutex
	kept   []string // texts that the board said it kept
	reason error    // of the first request that failed
}

// A tally is what became of a load.
type tally struct{ answered, begun, lost, doubled int }

// String is the line that --once prints.
func (t tally) String() string {
	return fmt.Sprintf("requests %d answered %d begun-and-lost %d lost %d doubled %d", loadRequests,
		t.answered, t.begun, t.lost, t.doubled)
}

// put puts the load on the site. kill, if not nil, ends the board's process and
// returns when there is another; it is called while requests are under way.
func (l *load) put(ctx context.Context, kill func(context.Context) error) error {
	transport := &http.Transport{MaxIdleConnsPerHost: loadWorkers}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var workers sync.WaitGroup
	due := make(chan struct{}, len(killAfter))
	for range loadWorkers {
		workers.Go(func() { // ends when all requests are made, or with ctx
			for n := l.next.Add(1); n <= loadRequests && ctx.Err() == nil; n = l.next.Add(1) {
				l.request(ctx, client, n)
				done := l.done.Add(1)
				for _, after := range killAfter {
					if done == after {
						due <- struct{}{}
					}
				}
			}
		})
	}
	var killed error
	var killer sync.WaitGroup
	killer.Go(func() { // ends after the last kill, or with the load
		for range killAfter {
			select {
			case <-due:
			case <-ctx.Done():
				return
			}
			if kill != nil && killed == nil {
				killed = kill(ctx)
			}
		}
	})
	workers.Wait()
	killer.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return killed
}

// request makes one request and notes what became of it.
func (l *load) request(ctx context.Context, client *http.Client, n int64) {
	text := ""
	method, body := http.MethodGet, io.Reader(nil)
	if n%2 == 0 {
		text = fmt.Sprintf("request %d of %s", n, l.run)
		method, body = http.MethodPost,
			strings.NewReader(url.Values{"name": {"load"}, "text": {text}}.Encode())
	}
	status, err := send(ctx, client, method, l.site+boardPath, body)
	switch {
	case err == nil && status >= 200 && status < 300:
		l.answered.Add(1)
		if text != "" {
			l.mu.Lock()
			l.kept = append(l.kept, text)
			l.mu.Unlock()
		}
		return
	case err == nil && status == http.StatusBadGateway:
		l.begun.Add(1)
		return
	case err == nil:
		err = fmt.Errorf("status %d", status)
	}
	l.failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reason == nil {
		l.reason = fmt.Errorf("pb: demo: %s %s: %w", method, boardPath, err)
	}
}

func send(
	ctx context.Context, client *http.Client, method, to string, body io.Reader,
) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, method, to, body)
	if err != nil {
		return 0, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, errors.Join(err, response.Body.Close())
}

// count compares what was answered with the journal. Lost is what was neither
// answered nor begun, and what was said to be kept and is not there.
func (l *load) count(journal string) (tally, error) {
	file, err := os.Open(journal)
	if err != nil {
		return tally{}, fmt.Errorf("pb: demo: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	messages, _, err := readJournal(file)
	if err != nil {
		return tally{}, fmt.Errorf("pb: demo: journal: %w", err)
	}
	written := make(map[string]int)
	for _, m := range messages {
		written[m.Text]++
	}
	t := tally{
		answered: int(l.answered.Load()),
		begun:    int(l.begun.Load()),
		lost:     int(l.failed.Load()),
	}
	for _, text := range l.kept {
		if written[text] == 0 {
			t.lost++
		}
	}
	for _, n := range written {
		if n > 1 {
			t.doubled++
		}
	}
	return t, nil
}

// underLoad is what --once does after ready: the load, the kills and the line
// about it.
func (s *show) underLoad(ctx context.Context, kill func(context.Context) error) error {
	if err := s.throughBothDoors(ctx); err != nil {
		return err
	}
	l := &load{site: "http://" + s.httpAddr, run: rand.Text()}
	if err := l.put(ctx, kill); err != nil {
		return err
	}
	t, err := l.count(s.folder.journal())
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(s.out, t); err != nil {
		return err
	}
	if t.lost > 0 || t.doubled > 0 {
		return errors.Join(fmt.Errorf("pb: demo: %d requests were lost and %d done twice",
			t.lost, t.doubled), l.reason)
	}
	return nil
}

// throughBothDoors posts over pb and looks for it on the web page, and the other
// way round.
func (s *show) throughBothDoors(ctx context.Context) error {
	node := &pb.Node{Logger: quietLogger()}
	defer node.Close() //nolint:errcheck // it gives none
	conn, err := node.Dial(ctx, s.pbURL)
	if err != nil {
		return err
	}
	text := "over pb " + rand.Text()
	if _, err := pb.Do[int](ctx, conn.Root(), "Post", "pb", text); err != nil {
		return err
	}
	page, err := s.get(ctx, boardPath)
	if err != nil {
		return err
	}
	if !strings.Contains(page, text) {
		return errors.New("pb: demo: what was posted over pb is not on the web page")
	}
	text = "over the web " + rand.Text()
	form := strings.NewReader(url.Values{"name": {"web"}, "text": {text}}.Encode())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if status, err := send(ctx, client, http.MethodPost,
		"http://"+s.httpAddr+boardPath, form); err != nil || status != http.StatusCreated {
		return fmt.Errorf("pb: demo: posting over the web: status %d, %w", status, err)
	}
	lines, err := pb.Do[[]string](ctx, conn.Root(), "Read", 1)
	if err != nil {
		return err
	}
	if len(lines) != 1 || !strings.Contains(lines[0], text) {
		return errors.New("pb: demo: what was posted over the web cannot be read over pb")
	}
	return nil
}

// get fetches a page of the site, which must be there.
func (s *show) get(ctx context.Context, path string) (string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.httpAddr+path, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(r)
	if err != nil {
		return "", fmt.Errorf("pb: demo: %w", err)
	}
	body, err := io.ReadAll(response.Body)
	err = errors.Join(err, response.Body.Close())
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	if err != nil {
		return "", fmt.Errorf("pb: demo: GET %s: %w", path, err)
	}
	return string(body), nil
}
