package distrib

import (
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// A headerRule says what becomes of a header between the browser and a back end.
type headerRule uint8

const (
	dropRequest  headerRule = 1 << iota // never goes to a back end
	dropResponse                        // never goes from a back end to the browser
	dropTrailer                         // may be a header but not a trailer
)

const dropBoth = dropRequest | dropResponse | dropTrailer

type headerName struct {
	name string
	rule headerRule
}

// headerNames has the names that are common, so that a name off the wire costs no memory, and those
// with a rule. It is only read.
var headerNames = makeHeaderNames()

func makeHeaderNames() map[string]headerName {
	names := make(map[string]headerName)
	for rule, list := range map[headerRule]string{
		0: "Accept Accept-Charset Accept-Encoding Accept-Language Accept-Ranges " +
			"Access-Control-Allow-Credentials " +
			"Access-Control-Allow-Headers Access-Control-Allow-Methods " +
			"Access-Control-Allow-Origin " +
			"Access-Control-Expose-Headers Access-Control-Max-Age Access-Control-Request-Headers " +
			"Access-Control-Request-Method Age Allow Content-Disposition Content-Language " +
			"Content-Location " +
			"Content-Security-Policy Cross-Origin-Embedder-Policy Cross-Origin-Opener-Policy " +
			"Cross-Origin-Resource-Policy Date Dnt Etag Expires From If-Match If-Modified-Since " +
			"If-None-Match If-Range " +
			"If-Unmodified-Since Last-Event-Id Last-Modified Link Location Origin " +
			"Permissions-Policy Pragma Priority " +
			"Referer Referrer-Policy Retry-After Sec-Ch-Ua Sec-Ch-Ua-Mobile Sec-Ch-Ua-Platform " +
			"Sec-Fetch-Dest " +
			"Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Server-Timing " +
			"Upgrade-Insecure-Requests User-Agent Vary Via " +
			"X-Content-Type-Options X-Frame-Options X-Powered-By X-Requested-With " +
			"X-Xss-Protection",
		// Framing, routing, authentication and caching are decided before a body; a trailer must
		// not change them.
		dropTrailer: "Authorization Cache-Control Content-Encoding Content-Range Content-Type " +
			"Cookie Max-Forwards Range " +
			"Set-Cookie Www-Authenticate",
		// The hop's own, what travels in a typed field, and the front's name for the request.
		dropBoth: "Connection Content-Length Expect Host Keep-Alive Te Trailer Transfer-Encoding " +
			"Upgrade X-Request-Id",
		// The front alone says which client it is, and what is passed on of a trace.
		dropRequest | dropTrailer: "Cf-Connecting-Ip Client-Ip Fastly-Client-Ip Forwarded Proxy " +
			"Remote-User Traceparent Tracestate True-Client-Ip " +
			"X-Cluster-Client-Ip X-Forwarded X-Original-Url X-Real-Ip X-Remote-User X-Rewrite-Url",
		// What rules a whole origin is not a back end's to say.
		dropResponse | dropTrailer: "Accept-Ch Alt-Svc Clear-Site-Data Critical-Ch Nel " +
			"Origin-Agent-Cluster Report-To " +
			"Reporting-Endpoints Sec-Session-Registration Secure-Session-Challenge " +
			"Secure-Session-Registration Server " +
			"Service-Worker-Allowed Set-Cookie2 Set-Login Strict-Transport-Security " +
			"Use-As-Dictionary X-Sendfile",
	} {
		for name := range strings.FieldsSeq(list) {
			names[name] = headerName{name, rule}
		}
	}
	return names
}

// ruleByPrefix finds the rule of a canonical name that is not in headerNames.
func ruleByPrefix(name string) headerRule {
	switch {
	case strings.HasPrefix(name, "Proxy-"), strings.HasPrefix(name, "Pb-"):
		return dropBoth
	case strings.HasPrefix(name, "X-Forwarded-"), strings.HasPrefix(name, "X-Client-"):
		return dropRequest | dropTrailer
	case strings.HasPrefix(name, "Public-Key-"), strings.HasPrefix(name, "X-Accel-"):
		return dropResponse | dropTrailer
	}
	return 0
}

// knownHeader returns a canonical name and its rule; ok is false if b is no name of a header at
// all.
func knownHeader(b []byte) (n headerName, ok bool) {
	if n, ok = headerNames[string(b)]; ok {
		return n, true
	}
	name := string(b)
	if !httpguts.ValidHeaderFieldName(name) {
		return headerName{}, false
	}
	return ruleOf(textproto.CanonicalMIMEHeaderKey(name)), true
}

// ruleOf returns the rule of a canonical name.
func ruleOf(name string) headerName {
	if n, ok := headerNames[name]; ok {
		return n
	}
	return headerName{name, ruleByPrefix(name)}
}
