package distrib

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"perspective/internal/guard"
	"perspective/internal/lines"
)

// maxErrorPage is how many bytes a page of Site.ErrorPage may have.
const maxErrorPage = 64 << 10

var errPageTooLong = errors.New("distrib: the page is over 64 KiB")

// answer answers for the front itself, by a page of the program's or a line of text.
func (v *visit) answer(status int, why string) {
	contentType, page := v.page(status)
	if len(page) == 0 {
		refuseBecause(v.w, status, why)
		return
	}
	writeAnswer(v.w, status, contentType, page)
}

// page asks the program for a page; none: there is none.
func (v *visit) page(status int) (contentType string, page []byte) {
	if v.site.ErrorPage == nil || status < http.StatusBadRequest {
		return "", nil
	}
	err := guard.Run(func() error {
		contentType, page = v.site.ErrorPage(v.r, status, v.mark.id)
		if len(page) > maxErrorPage {
			return errPageTooLong
		}
		return nil
	})
	if err == nil {
		return contentType, page
	}
	ctx := context.WithoutCancel(v.r.Context())
	if !lines.Fault(ctx, v.site.logger(), "Site.ErrorPage", err) {
		v.site.logger().WarnContext(ctx, "no error page", "status", status, "err", err)
	}
	return "", nil
}

// refuse answers for the front itself.
func refuse(w http.ResponseWriter, status int) {
	refuseBecause(w, status, strings.ToLower(http.StatusText(status)))
}

func refuseBecause(w http.ResponseWriter, status int, why string) {
	writeAnswer(w, status, "text/plain; charset=utf-8", []byte(why+"\n"))
}

func writeAnswer(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h["Content-Type"] = []string{contentType}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}
