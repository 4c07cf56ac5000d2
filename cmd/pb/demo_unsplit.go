package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"

	"perspective/pb"
	"perspective/pb/web"
)

// onePart is everything in one process: an attacker that takes the board over reaches the rest of
// it too.
type onePart struct {
	*show

	files http.Handler
	board *board
	mux   atomic.Pointer[http.ServeMux]
}

// unsplit serves the same handlers under one http.ServeMux in one process, for
// comparison.
func (s *show) unsplit(ctx context.Context) (err error) {
	if s.folder, err = newFolder(s.root, nil); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.folder.remove()) }()
	o := &onePart{show: s}
	if o.files, err = web.NewFileServer(s.folder.site, true); err != nil {
		return err
	}
	if o.board, err = newBoard(s.folder.journal()); err != nil {
		return err
	}
	defer o.board.close()
	o.mux.Store(o.newMux())

	server := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mux.Load().ServeHTTP(w, r)
	}))
	node := &pb.Node{Root: o.board, Logger: quietLogger()}
	performing, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	ended := make(chan struct{}, 2)
	serve := func(run func() error) {
		fail(run())
		ended <- struct{}{}
	}
	go serve(func() error { return server.Serve(s.http) }) // ends with Close
	go serve(func() error { return node.Serve(s.pb) })     //nolint:contextcheck // ends with Close
	err = o.perform(performing)
	if cause := context.Cause(performing); cause != nil && ctx.Err() == nil {
		err = errors.Join(cause, err)
	}
	_ = node.Close()
	_ = server.Close()
	<-ended
	<-ended
	return err
}

func (o *onePart) newMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/", o.files)
	mux.Handle(boardPath, newBoardSite(o.board))
	mux.HandleFunc("GET "+overreachPath, overreach)
	return mux
}

// perform does everything while the servers run.
func (o *onePart) perform(ctx context.Context) error {
	if _, err := fmt.Fprintf(o.out, "process %d of user %d does everything\n", os.Getpid(),
		os.Getuid()); err != nil {
		return err
	}
	outcomes, err := o.attack(ctx)
	if err != nil {
		return err
	}
	if _, err := o.tell(outcomes); err != nil {
		return err
	}
	if err := o.ready(); err != nil {
		return err
	}
	if o.once {
		return o.underLoad(ctx, nil)
	}
	<-ctx.Done()
	return nil
}

// attack makes the same attacks where nothing stands in their way.
func (o *onePart) attack(ctx context.Context) (map[string]outcome, error) {
	outcomes := make(map[string]outcome)
	f := o.folder
	for _, name := range attacks {
		a := &attack{
			Name:     name,
			Key:      f.key(),
			Site:     f.site,
			FrontPID: os.Getpid(),
			Outside:  []string{f.front, f.base},
		}
		if done, known := a.attackFiles(); known {
			outcomes[name] = done
			continue
		}
		var err error
		switch name {
		case signalFront:
			outcomes[name] = succeeded // a process may signal itself
		case siteCookie:
			outcomes[name], err = judgeCookies(ctx, "http://"+o.httpAddr)
		case takeMount:
			outcomes[name], err = o.judgeMount(ctx) // there is no link to lose
		case claimRoot:
			o.mux.Load().HandleFunc("GET /{$}", spoken("claimed"))
			outcomes[name], err = o.firstPage(ctx, "claimed")
		case answerOther:
			mine := http.NewServeMux()
			mine.HandleFunc("/", spoken("answered"))
			o.mux.Store(mine)
			outcomes[name], err = o.firstPage(ctx, "answered")
		}
		if err != nil {
			return nil, err
		}
	}
	return outcomes, nil
}

func spoken(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, text) // the client may be gone
	}
}

// firstPage looks whose the site's first page is, and puts it right again.
func (o *onePart) firstPage(ctx context.Context, taken string) (outcome, error) {
	defer o.mux.Store(o.newMux())
	page, err := o.get(ctx, "/")
	if err != nil {
		return outcome{}, err
	}
	if page == taken {
		return succeeded, nil
	}
	return outcome{true, "the first page is the site's"}, nil
}
