package distrib

import (
	"fmt"
	"net/http"
	"strings"
)

// upgradeTokens returns the protocols that lists of an Upgrade field name, but for those that would
// carry requests past the front: HTTP itself, and TLS around it.
func upgradeTokens(lists []string) []string {
	var tokens []string
	for _, l := range lists {
		for t := range strings.SplitSeq(l, ",") {
			t = strings.TrimSpace(t)
			name, _, _ := strings.Cut(t, "/")
			switch strings.ToLower(name) {
			case "", "h2", "h2c", "http", "tls":
				continue
			}
			tokens = append(tokens, t)
		}
	}
	return tokens
}

// asksUpgrade returns the protocols that r asks for and that a back end may switch to; nil: none.
// In HTTP/1.0 there is no such thing, and where the answer's writer has no connection to hand over
// there cannot be.
func asksUpgrade(w http.ResponseWriter, r *http.Request) []string {
	lists := r.Header["Upgrade"]
	if len(lists) == 0 || r.ProtoMajor != 1 || r.ProtoMinor < 1 ||
		!hasToken(r.Header["Connection"], "upgrade") || !hijackable(w) {
		return nil
	}
	return upgradeTokens(lists)
}

// hijackable says whether http.ResponseController.Hijack finds something.
func hijackable(w http.ResponseWriter) bool {
	for {
		switch t := w.(type) {
		case *observed: // which hands over what is beneath
			w = t.ResponseWriter
		case http.Hijacker:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return false
		}
	}
}

// offer says in the request to which protocols the client may be switched, unless a body follows
// whose end is not reached yet: behind it there would be no telling what is body and what is not.
// It returns the status of a refusal, or 0.
func (ex *exchange) offer(tokens []string) int {
	switch {
	case len(tokens) == 0:
		return 0
	case unseen(ex.r):
		return http.StatusBadRequest
	case ex.upload != nil:
		return 0
	}
	ex.upgrade = tokens
	ex.req.bits |= bitUpgrade
	ex.req.header = append(ex.req.header, "Connection", "Upgrade", "Upgrade",
		strings.Join(tokens, ", "))
	return 0
}

// switchedTo returns the protocol that a back end's 101 names, which must be one that the client
// asked for.
func (ex *exchange) switchedTo(fields []string) (string, error) {
	to, n := "", 0
	for i := 0; i+1 < len(fields); i += 2 {
		if strings.EqualFold(fields[i], "Upgrade") {
			to = fields[i+1]
			n++
		}
	}
	for _, t := range ex.upgrade {
		if n == 1 && strings.EqualFold(t, to) {
			return t, nil
		}
	}
	return "", fmt.Errorf("%w: status 101 to a protocol that the client did not ask for, %.64q",
		errHostile, to)
}
