package web

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"

	"perspective/pb/distrib"
)

// A Status is what of a site runs, at one moment.
type Status struct {
	File    string        `json:"file"`
	Listen  []string      `json:"listen"`            // as they are, with the ports that were free
	Metrics string        `json:"metrics,omitempty"` // as it is
	Ready   bool          `json:"ready"`             // every mount answers
	Parts   []PartStatus  `json:"parts"`             // the monitor, the front, then the back ends
	Mounts  []MountStatus `json:"mounts"`
}

// A PartStatus is one process.
type PartStatus struct {
	Name     string   `json:"name"`
	Mount    string   `json:"mount,omitempty"`
	State    string   `json:"state"`
	PID      int      `json:"pid"`
	UID      uint32   `json:"uid"`
	Restarts int      `json:"restarts"`
	May      []string `json:"may"`
	Held     []string `json:"held"`
}

// A MountStatus is a mount of the file.
type MountStatus struct {
	Name  string   `json:"name"`
	Kind  string   `json:"kind"`
	Host  string   `json:"host,omitempty"`
	Paths []string `json:"paths"`
	Up    int      `json:"up"`    // instances that serve
	Parts []string `json:"parts"` // their names
}

// Kind says what serves the mount: files, run, connect, proxy, cgi or userdir.
func (m *Mount) Kind() string {
	switch {
	case m.Files != "":
		return "files"
	case len(m.Run) > 0:
		return "run"
	case m.Connect != "":
		return "connect"
	case m.Proxy != "":
		return "proxy"
	case m.CGI != "":
		return "cgi"
	case m.Userdir != nil:
		return "userdir"
	}
	return ""
}

func (s *site) status() *Status {
	s.mu.Lock()
	plan := s.plan
	s.mu.Unlock()
	st := &Status{File: plan.config.File, Ready: true}
	for _, l := range plan.listeners {
		st.Listen = append(st.Listen, l.Addr().String())
	}
	if plan.metrics != nil {
		st.Metrics = plan.metrics.Addr().String()
	}
	mounts := map[string]*MountStatus{}
	st.Mounts = make([]MountStatus, len(plan.config.Mounts))
	for i := range plan.config.Mounts {
		m := &plan.config.Mounts[i]
		st.Mounts[i] = MountStatus{Name: m.Name, Kind: m.Kind(), Host: m.Host, Paths: m.Paths}
		mounts[m.Name] = &st.Mounts[i]
	}
	for _, d := range s.monitor.Describe() {
		st.Parts = append(st.Parts, PartStatus{Name: d.Name, Mount: d.Mount, State: string(d.State),
			PID: d.PID, UID: d.UID, Restarts: d.Restarts, May: d.May, Held: d.Held})
		if m := mounts[d.Mount]; m != nil {
			m.Parts = append(m.Parts, d.Name)
			if d.State == distrib.Ready {
				m.Up++
			}
		}
	}
	for _, m := range st.Mounts {
		st.Ready = st.Ready && m.Up > 0
	}
	return st
}

// Print writes it for people.
func (s *Status) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "SITE\t%s\nLISTENS ON\t%s\n\n", s.File, strings.Join(s.Listen, " "))
	_, _ = fmt.Fprintln(t, "MOUNT\tKIND\tROUTES\tUP")
	for _, m := range s.Mounts {
		routes := make([]string, 0, len(m.Paths))
		for _, p := range m.Paths {
			routes = append(routes, m.Host+p)
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%d of %d\n", m.Name, m.Kind, strings.Join(routes, " "),
			m.Up, len(m.Parts))
	}
	_, _ = fmt.Fprintln(t, "\nPART\tSTATE\tPID\tUID\tRESTARTS\tMAY\tHELD BY")
	for _, p := range s.Parts {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", p.Name, p.State, p.PID, p.UID,
			p.Restarts, strings.Join(p.May, ", "), strings.Join(p.Held, ", "))
	}
	return t.Flush()
}

// A Why tells where a URL leads.
type Why struct {
	URL    string       `json:"url"`
	Mount  string       `json:"mount"`            // empty: none, or it is refused
	Kind   string       `json:"kind,omitempty"`   // of the mount
	Prefix string       `json:"prefix,omitempty"` // the route that won
	Needs  string       `json:"needs,omitempty"`  // a login
	Why    string       `json:"why"`              // in words
	Parts  []PartStatus `json:"parts,omitempty"`  // what serves it
}

// why routes a URL as the front does.
func (s *site) why(text string) (*Why, error) {
	u, err := url.Parse(text)
	if err != nil || !strings.HasPrefix(u.EscapedPath(), "/") && u.EscapedPath() != "" {
		return nil, fmt.Errorf("web: %q is no URL, write http://HOST/PATH or /PATH", text)
	}
	target := u.EscapedPath()
	if target == "" {
		target = "/"
	}
	w := &Why{URL: text}
	found, err := s.routing.Route(u.Host, target)
	switch {
	case err != nil:
		w.Why = err.Error()
	case found.Mount != nil:
		w.Mount, w.Prefix = found.Mount.Name, found.Route
		w.Why = "the route " + found.Route + " is the longest that leads there; the mount sees " +
			found.Target
	}
	st := s.status()
	for _, m := range st.Mounts {
		if m.Name == w.Mount {
			w.Kind = m.Kind
		}
	}
	for _, p := range st.Parts {
		if w.Mount != "" && p.Mount == w.Mount {
			w.Parts = append(w.Parts, p)
		}
	}
	return w, nil
}

// Print writes it for people.
func (w *Why) Print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	mount := w.Mount
	if mount == "" {
		mount = "none"
	} else {
		mount += " (" + w.Kind + ")"
	}
	_, _ = fmt.Fprintf(t, "URL\t%s\nMOUNT\t%s\nWHY\t%s\n", w.URL, mount, w.Why)
	for _, p := range w.Parts {
		_, _ = fmt.Fprintf(t, "PART\t%s, %s, pid %d, uid %d\n", p.Name, p.State, p.PID, p.UID)
	}
	return t.Flush()
}
