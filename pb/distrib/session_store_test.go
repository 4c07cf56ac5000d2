package distrib_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"perspective/pb/distrib"
)

// What fits one fits the other.
var (
	_ distrib.SessionStore = scs.Store(nil)
	_ scs.Store            = distrib.SessionStore(nil)
)

// A slowStore is a store of another's that holds writers up, and counts what it is asked.
type slowStore struct {
	distrib.SessionStore

	mu      sync.Mutex
	gate    chan struct{} // closed: nobody is held up; nil as well
	waiting chan struct{} // gets a value for each that is held up
	commits atomic.Int64
	finds   atomic.Int64
}

func (s *slowStore) Find(token string) ([]byte, bool, error) {
	s.finds.Add(1)
	return s.SessionStore.Find(token)
}

func (s *slowStore) Commit(token string, b []byte, expiry time.Time) error {
	s.commits.Add(1)
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		s.waiting <- struct{}{}
		<-gate
	}
	return s.SessionStore.Commit(token, b, expiry)
}

// A store of scs keeps the sessions of two instances of a back end, whichever gets the request, and
// each request's changes.
func TestSessionStore(t *testing.T) {
	store := &slowStore{SessionStore: memstore.NewWithCleanupInterval(0),
		waiting: make(chan struct{}, 100)}
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	var first, second distrib.Sessions
	first.Store, second.Store = store, store
	at := func(sessions *distrib.Sessions) {
		s.back("app", sessions.Handler(http.HandlerFunc(func(
			w http.ResponseWriter, r *http.Request,
		) {
			if key := r.URL.Query().Get("key"); key != "" {
				value := distrib.SessionValue[string](key)
				if err := value.Put(distrib.SessionOf(r), "x"); err != nil {
					t.Errorf("Put() = %v", err)
				}
				return
			}
			if r.URL.Query().Has("destroy") {
				if err := distrib.SessionOf(r).Destroy(); err != nil {
					t.Errorf("Destroy() = %v", err)
				}
			}
			if r.URL.Query().Has("keys") {
				n := 0
				for i := range 50 {
					value := distrib.SessionValue[string](fmt.Sprint("k", i))
					if v, _ := value.Get(distrib.SessionOf(r)); v == "x" {
						n++
					}
				}
				_, _ = fmt.Fprint(w, n)
				return
			}
			countVisits(t)(w, r)
		})).ServeHTTP)
	}
	at(&first)
	ann := s.as(s.browser())
	ann.get("/app/")
	at(&second)
	if _, body := ann.get("/app/"); body != "2" {
		t.Errorf("at another instance: %s, want 2", body)
	}
	before := store.finds.Load()
	ann.get("/app/?look")
	if got := store.finds.Load() - before; got != 1 {
		t.Errorf("a look asks the store %d times, want once", got)
	}
	// While one is held up the others' changes gather, and none is lost.
	store.mu.Lock()
	store.gate = make(chan struct{})
	store.mu.Unlock()
	commits := store.commits.Load()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { ann.get(fmt.Sprint("/app/?key=k", i)) })
	}
	<-store.waiting
	close(store.gate)
	wg.Wait()
	if got := store.commits.Load() - commits; got < 1 || got > 50 {
		t.Errorf("%d commits", got)
	}
	if _, body := ann.get("/app/?keys"); body != "50" {
		t.Errorf("%s of 50 values are there", body)
	}
	if _, body := ann.get("/app/?destroy"); body != "1" {
		t.Errorf("after Destroy: %s, want 1", body)
	}
	if _, body := ann.get("/app/?keys"); body != "0" {
		t.Errorf("%s values are there after Destroy", body)
	}
	for _, sessions := range []*distrib.Sessions{&first, &second} {
		if err := sessions.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
}
