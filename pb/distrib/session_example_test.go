package distrib_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"

	"perspective/pb/distrib"
)

// A handler that counts a browser's visits. Behind a front the same handler works as it is.
func ExampleSessions() {
	const visits distrib.SessionValue[int] = "visits"
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session := distrib.SessionOf(r)
		n, _ := visits.Get(session)
		if err := visits.Put(session, n+1); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintln(w, "visit", n+1)
	})
	sessions := &distrib.Sessions{}
	server := httptest.NewServer(sessions.Handler(handler))
	browser := server.Client()
	browser.Jar, _ = cookiejar.New(nil)
	for range 2 {
		if resp, err := browser.Get(server.URL); err == nil {
			page, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			fmt.Print(string(page))
		}
	}
	server.Close()
	fmt.Println(sessions.Close())
	// Output:
	// visit 1
	// visit 2
	// <nil>
}
