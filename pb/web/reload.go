package web

import (
	"context"
	"fmt"
	"maps"
	"os"
	"reflect"
	"syscall"
	"time"

	"perspective/internal/prefix"
	"perspective/pb/distrib"
)

// answerTime is how long the front may take to answer for a file that it is handed.
const answerTime = time.Minute

// inTurn does one thing at a time that changes what runs.
func (s *site) inTurn(ctx context.Context, do func(context.Context) error) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	// Half of it is worse than all of it: who asked may go.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	return do(ctx)
}

// reload makes the file as it is now the one that runs, at once or not at all: the table of routes,
// who may log in, and the file that requests are logged to. What else has changed is refused, each
// key with its line.
func (s *site) reload(ctx context.Context) error {
	return s.inTurn(ctx, func(ctx context.Context) error {
		config, err := Load(s.config.path)
		if err != nil {
			return err
		}
		if err := unchangeable(s.config, config); err != nil {
			return err
		}
		var trial distrib.Site
		defer func() { _ = trial.Close() }() // it has no links
		if err := trial.Configure(routesOf(config)); err != nil {
			return prefix.Errorf("web: %w", err)
		}
		next, err := s.plan.again(config)
		if err != nil {
			return err
		}
		if err := s.handAll(ctx, next); err != nil {
			return err
		}
		if err := s.routing.Configure(routesOf(config)); err != nil {
			return prefix.Errorf("web: %w", err) // not after the trial
		}
		s.log.Info("the site's file was read again", "file", config.File)
		return nil
	})
}

// handAll hands the front what a plan has in place of the one that runs, and the table of routes
// last. If the front takes one of them not, it gets back those before.
func (s *site) handAll(ctx context.Context, next *plan) error {
	before := s.plan
	names := []string{usersFile, logFile, configFile}
	for i, name := range names {
		if next.front.Files[name] == nil {
			continue
		}
		err := s.monitor.Hand(ctx, frontName, name, next.front.Files[name])
		if err == nil {
			continue
		}
		for _, name := range names[:i] {
			if f := before.front.Files[name]; f != nil {
				if err := s.monitor.Hand(ctx, frontName, name, f); err != nil {
					s.log.Error("the front does not take back what it had", "what", name,
						"err", err)
				}
			}
		}
		next.closeHanded()
		return prefix.Errorf("web: reload: %w", err)
	}
	s.mu.Lock()
	s.plan, s.config = next, next.config
	s.mu.Unlock()
	before.closeHanded() // the front and its next lives have others
	return nil
}

// again is a plan for another configuration of a site with the same parts and listeners.
func (p *plan) again(config *Config) (*plan, error) {
	next := *p
	next.config, next.file, next.log, next.users = config, nil, nil, nil
	next.front.Files = maps.Clone(p.front.Files)
	err := func() (err error) {
		if next.file, err = configToHand(config); err != nil {
			return err
		}
		next.front.Files[configFile] = next.file
		if err := next.openLog(); err != nil || config.Login == nil {
			return err
		}
		return next.readUsers()
	}()
	if err != nil {
		next.closeHanded()
		return nil, err
	}
	return &next, nil
}

// closeHanded closes what again has opened.
func (p *plan) closeHanded() {
	for _, f := range []*os.File{p.file, p.log} {
		if f != nil {
			_ = f.Close() // the front has its own
		}
	}
	if p.users != nil {
		p.users.close()
	}
}

// unchangeable tells what of a file has changed that needs other parts, other listeners or another
// front, as Problems.
func unchangeable(before, now *Config) error {
	var all Problems
	refuse := func(place, what string) {
		all = append(all, Problem{File: now.path, Line: now.lines.line(place),
			Text: what + " cannot change while the site runs, stop it and run it again"})
	}
	for _, key := range []struct {
		name        string
		before, now any
	}{
		{"listen", before.Listen, now.Listen}, {"tls", before.TLS, now.TLS},
		{"user", before.User, now.User}, {"admin", before.Admin, now.Admin},
		{"metrics", before.Metrics, now.Metrics}, {"login", before.Login, now.Login},
		{"log.format", before.Log.Format, now.Log.Format}, {"degrade", before.Degrade, now.Degrade},
		{"trusted_proxies", before.TrustedProxies, now.TrustedProxies},
	} {
		if !reflect.DeepEqual(key.before, key.now) {
			refuse(key.name, key.name)
		}
	}
	old := map[string]*Mount{}
	for i := range before.Mounts {
		old[before.Mounts[i].Name] = &before.Mounts[i]
	}
	for i := range now.Mounts {
		m, place := &now.Mounts[i], element("mount", i)
		was := old[m.Name]
		delete(old, m.Name)
		switch {
		case was == nil:
			refuse(place, "the list of mounts (mount "+m.Name+" is new)")
		case !reflect.DeepEqual(was.part(), m.part()):
			refuse(place, "what serves mount "+m.Name+", or its rights,")
		}
	}
	for i := range before.Mounts {
		if name := before.Mounts[i].Name; old[name] != nil {
			refuse("", "the list of mounts (mount "+name+" is gone)")
		}
	}
	return all.sorted().Err()
}

// part is the mount without what the front alone knows of it.
func (m *Mount) part() Mount {
	part := *m
	if m.CGI == "" { // which is told its prefix
		part.Paths = nil
	}
	part.Path, part.Host, part.Sticky, part.Strip = "", "", false, false
	part.Require, part.Cookies, part.Encode = Require{}, "", nil
	return part
}

// reopenLog opens the file that requests are logged to anew, and hands it to the front.
func (s *site) reopenLog(ctx context.Context) error {
	return s.inTurn(ctx, func(ctx context.Context) error {
		if s.config.Log.File == "" {
			return nil
		}
		next := *s.plan
		next.front.Files = map[string]*os.File{}
		if err := next.openLog(); err != nil {
			return err
		}
		if err := s.monitor.Hand(ctx, frontName, logFile, next.log); err != nil {
			_ = next.log.Close() // nobody has it
			return err
		}
		before := s.plan.log
		s.mu.Lock()
		s.plan.log, s.plan.front.Files[logFile] = next.log, next.log
		s.mu.Unlock()
		_ = before.Close() // the front has the new one
		return nil
	})
}

// logMoved says whether the log's file has another name by now, or none.
func (s *site) logMoved() bool {
	s.mu.Lock()
	path, file := s.config.Log.File, s.plan.log
	s.mu.Unlock()
	if path == "" {
		return false
	}
	ours, err := file.Stat()
	if err != nil {
		return false // it is being replaced
	}
	named, err := os.Stat(path)
	return err != nil && os.IsNotExist(err) || err == nil && !os.SameFile(ours, named)
}

// watch does what signals ask for, and follows the log's file, until ctx ends: SIGHUP reloads, and
// SIGUSR1 opens the log anew.
func (s *site) watch(ctx context.Context, signals <-chan os.Signal) {
	ticker := time.NewTicker(lookTime)
	defer ticker.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case got := <-signals:
			if got == syscall.SIGHUP {
				err = s.reload(ctx)
			} else {
				err = s.reopenLog(ctx)
			}
		case <-ticker.C:
			if s.logMoved() {
				err = s.reopenLog(ctx)
			}
		}
		if err != nil {
			s.log.Error("nothing has changed", "err", err)
		}
	}
}

// restart starts the parts of a mount again, or the part of that name, one after the other, each
// beside the one that it replaces; an empty name means all of them, the front last.
func (s *site) restart(ctx context.Context, name string) error {
	s.mu.Lock()
	plan := s.plan
	s.mu.Unlock()
	var names []string
	for i := range plan.backs {
		b := &plan.backs[i]
		if b.Socket == "" && (name == "" || b.Mount == name || b.Name == name) {
			names = append(names, b.Name)
		}
	}
	if name == "" || name == frontName {
		names = append(names, frontName)
	}
	if len(names) == 0 {
		return fmt.Errorf("web: the site has no mount %q that it started", name)
	}
	for _, part := range names {
		if err := s.monitor.Restart(ctx, part); err != nil {
			return err
		}
	}
	return nil
}
