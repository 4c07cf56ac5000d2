package web

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxNesting is how deep lists and tables may lie in each other in a site's file.
const maxNesting = 16

// positions are the lines of a file's keys and of the elements of its lists, by where they stand:
// "listen", "mount[1].sandbox.write[0]". The TOML package tells no line but that of a syntax error.
type positions map[string]int

// line is that of the key or, where it is not written out, of the nearest table around it; 0 where
// that is the file.
func (p positions) line(path string) int {
	for path != "" {
		if line, ok := p[path]; ok {
			return line
		}
		path = parentOf(path)
	}
	return 0
}

// has says whether the key is written out.
func (p positions) has(path string) bool { return p[path] != 0 }

// parentOf cuts the last key or index off.
func parentOf(path string) string {
	inQuotes, end := false, 0
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '"':
			inQuotes = !inQuotes
		case inQuotes && c == '\\':
			i++
		case !inQuotes && (c == '.' || c == '['):
			end = i
		}
	}
	return path[:end]
}

// below is the place of a key in a table.
func below(path, key string) string {
	if path == "" {
		return keyText(key)
	}
	return path + "." + keyText(key)
}

// element is the place of an element of a list.
func element(path string, index int) string { return fmt.Sprintf("%s[%d]", path, index) }

// keyText is a key as it stands in a place: bare, or in quotes.
func keyText(key string) string {
	if key != "" && strings.Trim(key, bareKey) == "" {
		return key
	}
	return strconv.Quote(key)
}

const bareKey = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

// positionsOf finds the lines of text, which the TOML package has read without an error, or will
// refuse; of such a text it finds what it can. tooDeep is the line in which something lies deeper
// than maxNesting, 0 if nothing does; the text behind it has no positions.
func positionsOf(text string) (found positions, tooDeep int) {
	s := &scanner{text: text, lineNumber: 1, found: positions{}, elements: map[string]int{}}
	for s.blank(true); s.at < len(s.text) && s.tooDeep == 0; s.blank(true) {
		before := s.at
		if s.peek() == '[' {
			s.header()
		} else {
			s.pair(s.table, 0)
		}
		if s.at == before {
			s.skip(1)
		}
	}
	return s.found, s.tooDeep
}

// A scanner walks over a text once, from its start to its end.
type scanner struct {
	text       string
	at         int
	lineNumber int
	table      string         // the place of the table that the last header named
	found      positions      // what has been found
	elements   map[string]int // how many elements arrays of tables have, by their place
	tooDeep    int
}

// peek is the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.at >= len(s.text) {
		return 0
	}
	return s.text[s.at]
}

// skip goes on by n bytes.
func (s *scanner) skip(n int) {
	n = min(n, len(s.text)-s.at)
	s.lineNumber += strings.Count(s.text[s.at:s.at+n], "\n")
	s.at += n
}

// blank goes over white space and comments, and over the ends of lines where they mean nothing.
func (s *scanner) blank(lines bool) {
	for s.at < len(s.text) {
		switch c := s.peek(); {
		case c == ' ', c == '\t', c == '\r', lines && c == '\n':
			s.skip(1)
		case c == '#':
			s.until("\n")
		default:
			return
		}
	}
}

// until goes on to the next of the bytes, or to the end.
func (s *scanner) until(bytes string) {
	n := strings.IndexAny(s.text[s.at:], bytes)
	if n < 0 {
		n = len(s.text)
	}
	s.skip(n)
}

// note keeps the line of a place where it is met first.
func (s *scanner) note(path string) {
	if s.found[path] == 0 {
		s.found[path] = s.lineNumber
	}
}

// header reads "[table]" or "[[element]]".
func (s *scanner) header() {
	s.skip(1)
	array := s.peek() == '['
	if array {
		s.skip(1)
	}
	keys := s.key()
	path := ""
	for i, key := range keys {
		path = below(path, key)
		s.note(path)
		n := s.elements[path]
		switch last := i == len(keys)-1; {
		case last && array:
			s.elements[path] = n + 1
			path = element(path, n)
			s.note(path)
		case n > 0:
			path = element(path, n-1)
		}
	}
	s.table = path
	s.until("\n")
}

// pair reads "key = value" in the table at base.
func (s *scanner) pair(base string, depth int) {
	path := base
	for _, key := range s.key() {
		path = below(path, key)
		s.note(path)
	}
	s.blank(false)
	if s.peek() != '=' {
		return
	}
	s.skip(1)
	s.blank(false)
	s.value(path, depth)
}

// value reads what belongs to the place.
func (s *scanner) value(path string, depth int) {
	if depth > maxNesting {
		s.tooDeep, s.at = s.lineNumber, len(s.text)
		return
	}
	switch s.peek() {
	case '"', '\'':
		s.quoted()
	case '[':
		s.group(']', func(n int) {
			s.note(element(path, n))
			s.value(element(path, n), depth+1)
		})
	case '{':
		s.group('}', func(int) { s.pair(path, depth+1) })
	default:
		s.until(",]}#\n")
	}
}

// group reads what stands between brackets, with one call of read for each element.
func (s *scanner) group(end byte, read func(n int)) {
	s.skip(1)
	for n := 0; ; {
		s.blank(true)
		switch c := s.peek(); {
		case s.at >= len(s.text):
			return
		case c == end:
			s.skip(1)
			return
		case c == ',':
			s.skip(1)
		default:
			before := s.at
			read(n)
			n++
			if s.at == before {
				s.skip(1)
			}
		}
	}
}

// key reads a key and those it is dotted with.
func (s *scanner) key() []string {
	var keys []string
	for {
		s.blank(false)
		switch c := s.peek(); c {
		case '"', '\'':
			raw := s.quoted()
			if c == '"' {
				raw = unescape(raw)
			}
			keys = append(keys, raw)
		default:
			start := s.at
			for s.at < len(s.text) && strings.IndexByte(bareKey, s.peek()) >= 0 {
				s.skip(1)
			}
			if s.at == start {
				return keys
			}
			keys = append(keys, s.text[start:s.at])
		}
		s.blank(false)
		if s.peek() != '.' {
			return keys
		}
		s.skip(1)
	}
}

// quoted goes over a text in quotes, one or three of a kind, and returns what stands between them.
func (s *scanner) quoted() string {
	quote := s.text[s.at : s.at+1]
	triple := strings.Repeat(quote, 3)
	if !strings.HasPrefix(s.text[s.at:], triple) {
		return s.closing(quote)
	}
	inside := s.closing(triple)
	for range 2 { // the text may end with quotes of its own
		if strings.HasPrefix(s.text[s.at:], quote) {
			s.skip(1)
		}
	}
	return inside
}

// closing goes from an opening quote over the closing one.
func (s *scanner) closing(quote string) string {
	s.skip(len(quote))
	start := s.at
	for s.at < len(s.text) {
		switch {
		case quote[0] == '"' && s.peek() == '\\':
			s.skip(2)
		case strings.HasPrefix(s.text[s.at:], quote):
			s.skip(len(quote))
			return s.text[start : s.at-len(quote)]
		case len(quote) == 1 && s.peek() == '\n':
			return s.text[start:s.at] // no TOML
		default:
			s.skip(1)
		}
	}
	return s.text[start:]
}

// unescape gives the text that a key in quotes stands for.
func unescape(raw string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(raw, `\`)
		b.WriteString(before)
		if !found || rest == "" {
			return b.String()
		}
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[rest[0]]
		plain := strings.IndexByte("btnfre\"\\", rest[0])
		n, err := uint64(0), error(nil)
		if digits > 0 && len(rest) > digits {
			n, err = strconv.ParseUint(rest[1:1+digits], 16, 32)
		}
		switch {
		case plain >= 0:
			b.WriteByte("\b\t\n\f\r\x1b\"\\"[plain])
		case digits == 0 || len(rest) <= digits || err != nil || n > utf8.MaxRune:
			return b.String() // no TOML
		default:
			b.WriteRune(rune(n))
		}
		raw = rest[1+digits:]
	}
}
