package distrib

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// A MountDescription is what the front knows of one mount, at one moment.
type MountDescription struct {
	// Name is the mount's, as in Route.Back.
	Name string
	// Routes are its prefixes, each behind its host if it asks for one: "/app/", "app.test/".
	Routes []string
	// Instances are its instances, by name; one may have several links.
	Instances []InstanceDescription
	// Requests are under way, answers being written included.
	Requests int
	// Waiting are requests that wait: for an instance, or until fewer are under way.
	Waiting int
}

// An InstanceDescription is one link to an instance of a mount, at one moment.
type InstanceDescription struct {
	// Name is the instance's, as in Part.Name and Mount.Instance; empty: it has yet to say.
	Name string
	// State is where it is in its life.
	State InstanceState
	// Requests are those of the front's that it has under way.
	Requests int
	// Since is when it became ready, or the link was made if it is not.
	Since time.Time
}

// InstanceState is where a link to an instance is in its life.
type InstanceState string

// The states of a link to an instance.
const (
	Connecting InstanceState = "connecting" // it has not said that it is ready
	Serving    InstanceState = "serving"    // requests go there
	Draining   InstanceState = "draining"   // it gets nothing more and finishes what it has
)

// Describe returns the mounts, by name. What the front serves itself is not among them.
func (s *Site) Describe() []MountDescription {
	table := s.table.Load()
	byName := make(map[string]*MountDescription)
	for rt := range table.all() {
		if rt.back == nil {
			continue
		}
		d := byName[rt.Back]
		if d == nil {
			d = new(MountDescription)
			*d = rt.back.describe()
			byName[rt.Back] = d
		}
		d.Routes = append(d.Routes, rt.String())
	}
	all := make([]MountDescription, 0, len(byName))
	for _, d := range byName {
		slices.Sort(d.Routes)
		all = append(all, *d)
	}
	slices.SortFunc(all, func(a, b MountDescription) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// String is how a route stands in descriptions.
func (rt *route) String() string { return rt.Host + rt.prefix + "/" }

func (b *backEnd) describe() MountDescription {
	d := MountDescription{Name: b.name, Requests: len(b.slots), Waiting: b.waiting.count()}
	b.mu.Lock()
	defer b.mu.Unlock()
	set := b.ready.Load()
	for l := range b.links {
		i := InstanceDescription{Name: l.instance, State: Draining, Since: l.since}
		switch {
		case set.has(l):
			i.State = Serving
		case l.serve.Load() == nil:
			i.State = Connecting
		}
		n := l.users.n.Load()
		if n < 0 {
			n += givenUp
		}
		i.Requests = int(n)
		d.Instances = append(d.Instances, i)
	}
	slices.SortFunc(d.Instances, func(a, b InstanceDescription) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Since.Compare(b.Since))
	})
	return d
}

// A RouteDescription says where a request goes.
type RouteDescription struct {
	// Route is the prefix that leads there, behind its host if it asks for one.
	Route string
	// Target is the request's path and query as the handler sees them.
	Target string
	// Mount is who serves it; nil: a handler of the front's own.
	Mount *MountDescription
}

// Route says where a request for the target (a path and perhaps a query) at the host goes. The
// error says why it goes nowhere: with 400 if the target is ambiguous, or else with 404.
func (s *Site) Route(host, target string) (RouteDescription, error) {
	rt, seen, err := s.table.Load().find(&http.Request{
		Host: host, RequestURI: target, URL: &url.URL{Opaque: target}})
	if err != nil {
		return RouteDescription{}, err
	}
	if rt == nil {
		return RouteDescription{}, fmt.Errorf("%w to %q at the host %q", errNoRoute, target, host)
	}
	d := RouteDescription{Route: rt.String(), Target: seen}
	if rt.back != nil {
		for _, m := range s.Describe() {
			if m.Name == rt.Back {
				d.Mount = &m
			}
		}
	}
	return d, nil
}
