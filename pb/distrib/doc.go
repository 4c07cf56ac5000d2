// Package distrib splits a web server across processes: a front that owns the port and the TLS
// keys, and back ends, each with a user and rights of its own, that serve parts of the URL space
// over the object broker.
//
// A program becomes a back end by changing one line:
//
//	http.ListenAndServe(addr, handler)   // before
//	distrib.Serve(ctx, handler)          // after
//
// The front is an http.Handler that routes each path to a handler or to a back end:
//
//	site := &distrib.Site{}
//	site.Local("/", pages)
//	site.Handle("/board/", distrib.Route{Back: "board"})
//	handover, err := distrib.Inherited()
//	…
//	go site.Follow(ctx, handover)
//	err = site.Server().Serve(site.Clients(listener))
//
// A [Monitor] starts both, makes the links between them, and starts again what dies. It reads
// nothing from any network. Where no monitor is wanted, each back end may be a service of its own
// that dials the front: see [Site.Accept] and the environment variable PB_MOUNT_URL.
//
// # What a back end is trusted with
//
// Nothing but its own requests:
//
//   - Its identity follows from the descriptor it sits on. What it serves stands in the front's
//     configuration, and an announcement only says "ready".
//   - It gets the headers of its requests without those that belong to the connection, to proxies
//     or to the front, and of the cookies only its own. Request.RemoteAddr and X-Forwarded-For have
//     the client's address as the front knows it.
//   - The front checks its answers like a stranger's input. It drops headers that speak for the
//     whole origin and keeps cookies under the back end's prefix and name. A header that could
//     split a response (response splitting) and a body that breaks its promised length cost the
//     back end its link. Other back ends do not notice.
//
// Paths are no boundary inside a browser: a script from one prefix can read pages under another.
// Parts that must not trust each other need host names of their own.
//
// # Sessions and logins
//
// [SessionOf] gives a handler what the site keeps of the browser, as values with types, behind a
// front or within [Sessions.Handler] alone. The cookie is the front's; a back end gets a key made
// from it that opens the sessions of this mount and of no other.
//
// A Site with a [Login] lets users in, by a page of its own or by Basic, and a [Route] says who may
// pass. [UserFrom] tells the handler who it is. Passwords and cookies stay in the front.
//
// # What becomes of a request
//
// A small request is one call. Long bodies, both ways, and responses that are flushed take byte
// streams, at the pace of the slower side. When the client goes, the handler's context ends. While
// a back end is away its requests wait, a bounded number for a bounded time ([Limits]), and get 503
// with Retry-After after that. When one dies with a request, GET, HEAD and OPTIONS are sent once
// more if nothing was answered; any other method is sent again if its handler had certainly not
// begun, for the back end tells the front of each such request before it begins, and gets 502
// otherwise. Over a pair of sockets, which a monitor makes, telling takes no round trip. A link
// that ends while both processes live is made again within a second. A response whose header has
// over 256 fields or 64 KiB, its trailers included, becomes status 500 and a line in the back end's
// log.
//
// A handler may take its client's connection over, as under net/http: what asks for an Upgrade
// reaches it, and http.Hijacker works over HTTP/1. Behind a 101 bytes go both ways over a stream of
// the link, each direction with its own end, and without a limit of time; a tunnel counts as one of
// its client's streams ([Limits]). A 101 to a protocol that the client did not ask for costs the
// back end its link.
package distrib
