package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"perspective/cred"
	"perspective/internal/prefix"
	"perspective/pb/distrib"
)

const (
	// drainTime is how long requests under way have when the site ends.
	drainTime = 10 * time.Second

	configFile = "config" // the handed-over file with the front's configuration
	maxConfig  = 4 << 20  // bytes of it

	usersFile = "users" // that with the password file
	logFile   = "log"   // that which requests are logged to
	keysFile  = "keys"  // that with the secrets of sessions and of sticky cookies
	keyBytes  = 32      // of each of them

	metricsName  = "metrics" // the listener of /metrics and /healthz
	listenerName = "site"    // with a number behind it: the listeners of the site
)

// A front is the process that has the listeners: it reads its configuration from the monitor, never
// from a path.
type front struct {
	config *Config
	site   *distrib.Site
	server *http.Server

	certificates *Certificates // nil: there is no TLS
	log          *AccessLog
	metrics      *Metrics
	metered      net.Listener // where metrics are served; nil: nowhere
	users        *userList    // nil: nobody logs in
}

// runFront serves the site's clients until ctx ends.
func runFront(ctx context.Context, h *distrib.Handover) error {
	f, listeners, err := newFront(h)
	if err != nil {
		return errors.Join(err, h.Fail(err))
	}
	return f.serve(ctx, h, listeners)
}

// newFront makes a front of what the monitor handed over.
func newFront(h *distrib.Handover) (*front, []net.Listener, error) {
	config, err := takeConfig(h)
	if err != nil {
		return nil, nil, err
	}
	f := &front{config: config, site: &distrib.Site{Logger: slog.Default()}}
	if err := f.configure(h); err != nil {
		return nil, nil, err
	}
	if config.TLS != nil {
		if f.certificates, err = takeCertificates(config, h.File, slog.Default()); err != nil {
			return nil, nil, err
		}
	}
	var listeners []net.Listener
	for i := range config.Listen {
		l, err := h.Listener(listenerName + strconv.Itoa(i))
		if err != nil {
			return nil, nil, err
		}
		listeners = append(listeners, l)
	}
	if err := h.Confine(); err != nil {
		return nil, nil, err
	}
	if config.Metrics != "" {
		if f.metered, err = h.Listener(metricsName); err != nil {
			return nil, nil, err
		}
	}
	f.server = f.site.Server()
	if config.TLS != nil {
		f.server.TLSConfig = f.certificates.Config()
	}
	return f, listeners, nil
}

// takeConfig reads the configuration that the monitor handed over.
func takeConfig(h *distrib.Handover) (*Config, error) {
	file, err := h.File(configFile)
	if err != nil {
		return nil, err
	}
	return readConfig(file)
}

func readConfig(file *os.File) (*Config, error) {
	defer func() { _ = file.Close() }() // only read
	// From its beginning, wherever an earlier front's reading has left it.
	text, err := io.ReadAll(io.NewSectionReader(file, 0, maxConfig))
	config := new(Config)
	if err == nil {
		err = json.Unmarshal(text, config)
	}
	if err != nil {
		return nil, prefix.Errorf("web: the front's configuration: %w", err)
	}
	return config, nil
}

// configure makes the site's table of routes, its login and its log.
func (f *front) configure(h *distrib.Handover) error {
	for _, text := range f.config.TrustedProxies {
		network, err := parseNetwork(text)
		if err != nil {
			return prefix.Errorf("web: trusted_proxies: %w", err)
		}
		f.site.TrustedProxies = append(f.site.TrustedProxies, network)
	}
	if f.config.Login != nil {
		file, err := h.File(usersFile)
		if err != nil {
			return err
		}
		f.users = &userList{}
		if err := f.users.take(file); err != nil {
			return err
		}
		f.site.Login = &distrib.Login{Portal: &cred.Portal{
			Realm: distrib.Accounts{}, Checkers: []cred.Checker{f.users}, Logger: slog.Default(),
		}}
		if f.config.Login.Method == "basic" {
			f.site.Login.Method = distrib.BasicLogin
		}
	}
	if err := f.takeKeys(h); err != nil {
		return err
	}
	log, err := h.File(logFile)
	if err != nil {
		return err
	}
	f.log = &AccessLog{Log: Log{Format: f.config.Log.Format}, handed: log}
	if err := f.log.Start(); err != nil {
		return err
	}
	f.metrics = NewMetrics(f.site.Stats, f.log.Dropped)
	f.site.Observe = func(r *distrib.Record) {
		f.log.Observe(r)
		f.metrics.Observe(r)
	}
	return f.site.Configure(routesOf(f.config))
}

// takeKeys takes the secrets that the front before this one had too.
func (f *front) takeKeys(h *distrib.Handover) error {
	file, err := h.File(keysFile)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	keys, err := readMemory(file)
	if err != nil {
		return err
	}
	if len(keys) != 2*keyBytes {
		return fmt.Errorf("web: the front's keys have %d bytes", len(keys))
	}
	f.site.SessionKeys, f.site.StickyKey = [][]byte{keys[:keyBytes]}, keys[keyBytes:]
	return nil
}

// take takes what the monitor hands over anew.
func (f *front) take(name string, file *os.File) error {
	switch {
	case name == configFile:
		config, err := readConfig(file)
		if err != nil {
			return err
		}
		return f.site.Configure(routesOf(config))
	case name == logFile:
		f.log.take(file)
		return nil
	case name == usersFile && f.users != nil:
		return f.users.take(file)
	}
	return errors.Join(fmt.Errorf("web: nobody here takes %s", name), file.Close())
}

// A userList is who may log in, by the newest password file that was handed over.
type userList struct{ now atomic.Pointer[cred.InMemory] }

// take reads a password file.
func (u *userList) take(file *os.File) error {
	defer func() { _ = file.Close() }() // only read
	text, err := readMemory(file)
	if err != nil {
		return err
	}
	users, err := cred.ParsePasswords(usersFile, text)
	if err != nil {
		return err
	}
	u.now.Store(users)
	return nil
}

// Kinds are those of a list of passwords.
func (u *userList) Kinds() []cred.Kind { return u.now.Load().Kinds() }

// Check looks in the newest list.
func (u *userList) Check(
	ctx context.Context, credentials cred.Credentials, peer *cred.Peer,
) (cred.AvatarID, error) {
	return u.now.Load().Check(ctx, credentials, peer)
}

// serve serves until ctx ends, and lets what is under way end.
func (f *front) serve(ctx context.Context, h *distrib.Handover, listeners []net.Listener) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var running sync.WaitGroup
	running.Go(func() { end(f.site.Follow(ctx, h)) }) // ends with ctx
	running.Go(func() { end(h.Files(ctx, f.take)) })  // ends with ctx
	plain := f.site.Server()                          // sends to https
	if f.certificates != nil {
		plain.Handler = f.certificates.Plain(httpsPort(f.config.Listen))
		running.Go(func() { f.certificates.Watch(ctx) }) // ends with ctx
	}
	meter := f.site.Server()
	if meter.Handler = f.metrics; f.metered != nil {
		running.Go(func() { end(meter.Serve(f.metered)) }) // ends with Close
	}
	served := make([]net.Listener, len(listeners))
	for i, l := range listeners {
		clients := f.site.Clients(l)
		served[i] = clients
		running.Go(func() { // ends with Drain
			switch {
			case f.certificates == nil:
				end(f.server.Serve(clients))
			case isRedirect(f.config.Listen[i]):
				end(plain.Serve(clients))
			default:
				end(f.server.ServeTLS(clients, "", ""))
			}
		})
	}
	if err := h.Ready(); err != nil {
		return err
	}
	<-ctx.Done()
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	_ = plain.Close()                               // it only redirects
	_ = f.site.Drain(draining, f.server, served...) // what is late is cut off
	_ = f.site.Close()                              // it gives none
	_ = meter.Close()                               // what it tells is over
	running.Wait()
	_ = f.log.Close() // it has told what went wrong
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}
