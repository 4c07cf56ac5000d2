package distrib

import (
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// A headerBlock makes of what a handler put into its headers what the front takes, which treats
// everything else as an attack: one answer's header, announced trailers and trailers together are
// within the bounds of one block, and all names are names. The zero value is an empty one.
type headerBlock struct {
	size  int
	left  int    // fields left out because their names are none, as net/http does
	bad   string // the name of one
	wrong error  // why the front would not take it; nil: it does
}

// fields appends a header's name with each of its values to list.
func (b *headerBlock) fields(list []string, name string, values []string) []string {
	if len(values) == 0 || !b.named(name) {
		return list
	}
	for _, v := range values {
		v = clean(v)
		if len(list) >= 2*maxFields {
			b.spoil(fmt.Errorf("distrib: a header of over %d fields", maxFields))
		}
		if b.count(len(name) + len(v)); b.wrong != nil {
			return list
		}
		list = append(list, name, v)
	}
	return list
}

// announce appends the names of trailers that stand in a header Trailer.
func (b *headerBlock) announce(list []string, names string) []string {
	for name := range strings.SplitSeq(names, ",") {
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		if name == "" || !b.named(name) {
			continue
		}
		if len(name) > maxTrailerName || len(list) >= maxFields {
			b.spoil(fmt.Errorf("distrib: trailers announced over the bounds of %d names and "+
				"%d bytes for one", maxFields, maxTrailerName))
		}
		if b.count(len(name)); b.wrong != nil {
			return list
		}
		list = append(list, name)
	}
	return list
}

func (b *headerBlock) named(name string) bool {
	if _, known := headerNames[name]; known || httpguts.ValidHeaderFieldName(name) {
		return true
	}
	b.left++
	b.bad = name
	return false
}

func (b *headerBlock) count(n int) {
	if b.size += n; b.size > maxHeaderBytes {
		b.spoil(fmt.Errorf("distrib: a header of over %d bytes", maxHeaderBytes))
	}
}

// spoil says why the front would not take the block. The first reason counts.
func (b *headerBlock) spoil(why error) {
	if b.wrong == nil {
		b.wrong = why
	}
}

// clean makes a value fit for a header, as net/http does: a handler's slip must not cost it the
// link.
func clean(v string) string {
	if httpguts.ValidHeaderFieldValue(v) {
		return v
	}
	b := make([]byte, 0, len(v))
	for _, c := range []byte(v) { // by bytes, for a value need not be UTF-8
		switch {
		case c == '\n' || c == '\r':
			b = append(b, ' ')
		case c < ' ' && c != '\t' || c == 0x7f:
		default:
			b = append(b, c)
		}
	}
	return string(b)
}
