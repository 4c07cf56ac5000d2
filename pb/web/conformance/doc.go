// Package conformance holds the web server to programs of others: h2spec asks what it knows of
// HTTP/2, and pebble, an ACME server, gives it certificates. It is a module of its own so that what
// they depend on is not what Perspective depends on. go.mod says which versions they are.
package conformance
