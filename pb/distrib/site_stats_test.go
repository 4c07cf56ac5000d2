package distrib_test

import (
	"net/http"
	"reflect"
	"testing"

	"perspective/pb/distrib"
)

// A Site tells what it has: the mounts by name, whether they serve, and the requests under way.
func TestSiteStats(t *testing.T) {
	site := &distrib.Site{}
	site.Handle("/down/", distrib.Route{Back: "down", Limits: unhurried})
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	s.back("app", func(http.ResponseWriter, *http.Request) {
		want := distrib.SiteStats{Mounts: []distrib.MountStats{
			{Name: "app", Serves: true, Requests: 1, Links: 1}, {Name: "down"}}}
		if got := site.Stats(); !reflect.DeepEqual(got, want) {
			t.Errorf("Stats() = %+v, want %+v", got, want)
		}
	})
	s.get("/app/")
}
