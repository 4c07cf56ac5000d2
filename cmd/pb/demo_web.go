package main

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

const (
	boardPath   = "/board/"
	maxForm     = 64 << 10
	shownOnPage = 50
)

var boardPage = template.Must(template.New("board").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Board – Perspective</title><style>` + pageStyle + `</style></head>
<body><nav><a href="/">Perspective</a><a href="/board/">Board</a></nav>
<h1>Board</h1>
<form method="post" action="/board/"><p>
<input name="name" placeholder="name" maxlength="{{.MaxName}}" required>
<input name="text" placeholder="message" maxlength="{{.MaxText}}" size="40" required>
<button>Post</button></p></form>
<dl>{{range .Messages}}<dt>{{.Number}} <b>{{.Name}}</b>
<time>{{.Time.Format "2006-01-02 15:04:05"}}</time></dt><dd>{{.Text}}</dd>
{{end}}</dl></body></html>
`))

// A boardView is what boardPage shows.
type boardView struct {
	Messages []message
	// A browser counts some characters twice. It never counts fewer than the board does.
	MaxName, MaxText int
}

// newBoardSite is the board as a part of a web site.
func newBoardSite(b *board) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+boardPath+"{$}", func(w http.ResponseWriter, _ *http.Request) {
		messages := b.last(shownOnPage)
		slices.Reverse(messages)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_ = boardPage.Execute(w, boardView{messages, maxName, maxText}) // the client may be gone
	})
	mux.HandleFunc("POST "+boardPath+"{$}", func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		n, err := b.post(r.Context(), r.PostFormValue("name"), r.PostFormValue("text"))
		switch {
		case errors.Is(err, errBadPost):
			http.Error(w, badPost, http.StatusBadRequest)
		case errors.Is(err, errBoardClosed):
			http.Error(w, "the board is closed", http.StatusServiceUnavailable)
		case err != nil:
			http.Error(w, "the message may not have been kept", http.StatusInternalServerError)
		case strings.Contains(r.Header.Get("Accept"), "text/html"):
			http.Redirect(w, r, boardPath, http.StatusSeeOther)
		default:
			w.WriteHeader(http.StatusCreated)
			_, _ = fmt.Fprintln(w, n) //nolint:gosec // a number
		}
	})
	// A form of another site must not post here (CSRF).
	return http.NewCrossOriginProtection().Handler(mux)
}
