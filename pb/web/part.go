package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"perspective/internal/prefix"
	"perspective/pb/distrib"
)

// A role is what a part of the site that this program itself serves is told to be. It crosses as
// JSON in the part's argument.
type role struct {
	Front  bool     `json:",omitempty"`
	Files  string   `json:",omitempty"`
	Proxy  string   `json:",omitempty"`
	CGI    string   `json:",omitempty"`
	Prefix string   `json:",omitempty"` // that CGI is mounted at
	Env    []string `json:",omitempty"` // of the CGI program
}

// args are the arguments of a part with this role.
func (r role) args(command string) []string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings can be written
	}
	return []string{command, string(text)}
}

// RunPart is main of a part that [Run] starts out of this program, by the command that Options.Part
// names; arg is the argument behind it. It serves until ctx ends.
func RunPart(ctx context.Context, arg string) error {
	// A terminal sends them to all; the monitor says when to end.
	signal.Ignore(os.Interrupt, syscall.SIGHUP)
	var r role
	if err := json.Unmarshal([]byte(arg), &r); err != nil {
		return prefix.Errorf("web: a part of a site is started by its monitor: %w", err)
	}
	h, err := distrib.Inherited()
	if err != nil {
		return err
	}
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	if r.Front {
		return runFront(ctx, h)
	}
	handler, err := r.handler()
	if err != nil {
		return err
	}
	return distrib.Serve(ctx, handler)
}

// handler makes what the part serves.
func (r role) handler() (http.Handler, error) {
	switch {
	case r.Files != "":
		return NewFileServer(r.Files, false)
	case r.Proxy != "":
		upstream, err := url.Parse(r.Proxy)
		if err != nil {
			return nil, fmt.Errorf("web: proxy: %w", err)
		}
		return newProxy(upstream), nil
	case r.CGI != "":
		return newCGI(r.CGI, r.Prefix, r.Env), nil
	}
	return nil, errors.New("web: a part without a role")
}
