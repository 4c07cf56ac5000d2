// Package web runs a split web site from its file.
//
// The file, in TOML, says which parts of the URL space there are, what serves each of them, and
// with which rights:
//
//	listen = ["127.0.0.1:8080"]
//
//	[[mount]]
//	path  = "/"
//	files = "www"
//
//	[[mount]]
//	path    = "/app/"
//	run     = ["bin/app"]
//	sandbox = { write = ["data/app"] }
//
// [Parse] reads it, [Run] starts a monitor, a front and a process for each mount, all built on
// package distrib, and serves until it is told to end. The command is "pb web"; docs/config.md is
// the whole grammar.
package web
