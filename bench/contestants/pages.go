package contestants

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"

	"perspective/pb/distrib"

	"bench/harness"
)

func init() {
	harness.RegisterPages(&harness.Pages{
		Name: "direct",
		Doc:  "one process: net/http and the handler",
		Front: func(ln net.Listener, _ harness.Link) error {
			return (&http.Server{Handler: harness.Page}).Serve(ln)
		},
	})
	harness.RegisterPages(&harness.Pages{
		Name: "split",
		Doc:  "a distrib.Site and a back end behind a pair of sockets",
		Front: func(ln net.Listener, l harness.Link) error {
			site := &distrib.Site{}
			site.Handle(harness.PagePrefix, distrib.Route{Back: "app"})
			if err := site.Attach("app", l.Conn); err != nil {
				return err
			}
			return (&http.Server{Handler: site}).Serve(ln)
		},
		Back: func(l harness.Link) error {
			m := &distrib.Mount{Handler: harness.Page, Name: "app"}
			if err := m.ServeConn(context.Background(), l.Conn); err != nil {
				return err
			}
			return errors.New("contestants: the front has gone")
		},
	})
	harness.RegisterPages(&harness.Pages{
		Name: "reverseproxy",
		Doc:  "httputil.ReverseProxy and a net/http back end behind a unix socket",
		Front: func(ln net.Listener, l harness.Link) error {
			t := http.DefaultTransport.(*http.Transport).Clone()
			t.MaxIdleConnsPerHost = 256 // the default of 2 would make a connection for most pages
			t.DisableCompression = true
			t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", l.Path)
			}
			back := &url.URL{Scheme: "http", Host: "bench.invalid"}
			p := &httputil.ReverseProxy{Transport: t,
				Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(back) }}
			return (&http.Server{Handler: p}).Serve(ln)
		},
		Back: func(l harness.Link) error {
			ln, err := net.Listen("unix", l.Path)
			if err != nil {
				return err
			}
			return (&http.Server{Handler: harness.Page}).Serve(ln)
		},
	})
}
