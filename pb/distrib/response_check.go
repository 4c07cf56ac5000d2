package distrib

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"golang.org/x/net/http/httpguts"
)

var (
	// errHostile is in the errors about answers that no honest back end can give. They end the
	// link.
	errHostile = errors.New("distrib: the back end broke the rules")
	// errTooLarge is in the errors about answers over a bound. They end the request alone.
	errTooLarge = errors.New("distrib: the answer is too large")
)

// copyHeader puts into h what the back end of rt may say in its header. One wrong field spoils the
// response: the rest of it is not to be trusted either.
func (rt *route) copyHeader(h http.Header, fields []string) error {
	values := make([]string, len(fields)/2)
	for i := 0; i+1 < len(fields); i += 2 {
		n, ok := headerNames[fields[i]]
		if !ok {
			if n, ok = knownHeader([]byte(fields[i])); !ok {
				return fmt.Errorf("%w: header name %.64q", errHostile, fields[i])
			}
		}
		v := fields[i+1]
		if !httpguts.ValidHeaderFieldValue(v) {
			return fmt.Errorf("%w: value of header %.64q", errHostile, fields[i])
		}
		if n.rule&dropResponse != 0 {
			continue
		}
		if n.name == "Set-Cookie" {
			if v, ok = rt.cookies.set(v); !ok {
				continue
			}
		}
		if old, ok := h[n.name]; ok {
			h[n.name] = append(old, v)
			continue
		}
		values[0] = v
		h[n.name] = values[:1:1]
		values = values[1:]
	}
	return nil
}

// trailerNames returns which of the trailers that a back end announces may pass.
func trailerNames(announced []string) ([]string, error) {
	var names []string
	for _, a := range announced {
		n, ok := knownHeader([]byte(a))
		if !ok {
			return nil, fmt.Errorf("%w: trailer name %.64q", errHostile, a)
		}
		if n.rule&(dropResponse|dropTrailer) == 0 {
			names = append(names, n.name)
		}
	}
	return names, nil
}

// copyTrailer puts trailers into h once the body was written. Those not announced before go by
// http.TrailerPrefix.
func copyTrailer(h http.Header, announced, fields []string) error {
	for i := 0; i+1 < len(fields); i += 2 {
		names, err := trailerNames(fields[i : i+1])
		if err != nil {
			return err
		}
		if !httpguts.ValidHeaderFieldValue(fields[i+1]) {
			return fmt.Errorf("%w: value of trailer %.64q", errHostile, fields[i])
		}
		if len(names) == 0 {
			continue
		}
		name := names[0]
		if !listed(announced, name) {
			name = http.TrailerPrefix + name
		}
		h[name] = append(h[name], fields[i+1])
	}
	return nil
}

// bodyAllowed says whether a response may have a body at all.
func bodyAllowed(method string, status int) bool {
	return method != http.MethodHead && status != http.StatusNoContent &&
		status != http.StatusResetContent && status != http.StatusNotModified &&
		status != http.StatusSwitchingProtocols
}

// frame sets what announces the length and the trailers, before the header is written. It returns
// how many bytes of body may follow, -1 if any number.
func (p *response) frame(h http.Header, method string, announced []string) int64 {
	if _, typed := h["Content-Type"]; !typed {
		// The back end has looked at the body, or wants no type: the front must not guess.
		h["Content-Type"] = nil
	}
	if !bodyAllowed(method, p.status) {
		// A length is what a body would have had, but of a 205 it would be what is to follow.
		if p.length >= 0 && p.status != http.StatusNoContent &&
			(p.status != http.StatusResetContent || method == http.MethodHead) {
			h["Content-Length"] = []string{strconv.FormatInt(p.length, 10)}
		}
		return 0
	}
	if len(announced) > 0 {
		h["Trailer"] = announced
	}
	length := p.length
	if !p.streamed && length < 0 {
		length = int64(len(p.body))
	}
	// Trailers need a body in chunks, which HTTP/1 has only without a length.
	if length >= 0 && len(announced) == 0 && len(p.fields) == 0 {
		h["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	}
	return length
}
