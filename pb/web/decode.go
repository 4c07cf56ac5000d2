package web

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"perspective/internal/near"
)

// A decoder fills a Config from what the TOML package has read. It goes on behind every mistake, so
// that all of them are told at once.
type decoder struct {
	lines    positions
	path     string // of the file, as whoever gave it wrote it
	problems Problems
	bad      map[string]bool // places about which something has been said
}

// complainf tells of a problem at a place, the first one of each.
func (d *decoder) complainf(path, format string, args ...any) {
	for at := path; ; at = parentOf(at) {
		if d.bad[at] {
			return
		}
		if at == "" {
			break
		}
	}
	d.bad[path] = true
	d.tellf(path, false, format, args...)
}

// tellf adds a problem or a warning.
func (d *decoder) tellf(path string, warning bool, format string, args ...any) {
	d.problems = append(d.problems, Problem{File: d.path, Line: max(d.lines.line(path), 1),
		Text: fmt.Sprintf(format, args...), Warning: warning})
}

// A reader is a field that is written in more than one way.
type reader interface {
	read(d *decoder, path string, v any)
}

// value fills a field with what stands at path.
func (d *decoder) value(path string, v any, into reflect.Value) {
	if r, ok := reflect.TypeAssert[reader](into.Addr()); ok {
		r.read(d, path, v)
		return
	}
	switch into.Kind() {
	case reflect.String:
		into.SetString(d.text(path, v))
	case reflect.Bool:
		b, ok := v.(bool)
		if !ok {
			d.complainf(path, "%s: write true or false, not %s", last(path), shown(v))
		}
		into.SetBool(b)
	case reflect.Int:
		into.SetInt(d.number(path, v, math.MaxInt32))
	case reflect.Uint32:
		into.SetUint(uint64(d.number(path, v, math.MaxUint32))) //nolint:gosec // not below 0
	case reflect.Uint64:
		if last(path) == "memory" {
			into.SetUint(d.size(path, v))
		} else {
			into.SetUint(d.limit(path, v))
		}
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.value(path, v, into.Elem())
	case reflect.Struct:
		d.table(path, v, into)
	case reflect.Slice:
		if into.Type().Elem().Kind() == reflect.String {
			into.Set(reflect.ValueOf(d.texts(path, v)))
			return
		}
		tables := tablesOf(v)
		if tables == nil {
			d.complainf(path, "%s: write [[%s]] before each of them", last(path), path)
		}
		into.Set(reflect.MakeSlice(into.Type(), len(tables), len(tables)))
		for i, table := range tables {
			d.value(element(path, i), table, into.Index(i))
		}
	default:
		panic("web: a Config has a field of kind " + into.Kind().String())
	}
}

// tablesOf gives the elements of a list of tables; each is checked by whoever reads it.
func tablesOf(v any) []any {
	var all []any
	switch v := v.(type) {
	case []map[string]any:
		for _, table := range v {
			all = append(all, table)
		}
	case []any:
		all = v
	}
	return all
}

// table fills a struct by the names that its fields have in TOML.
func (d *decoder) table(path string, v any, into reflect.Value) {
	table, ok := v.(map[string]any)
	known := keysOf(into.Type())
	if !ok {
		d.complainf(path, "%s: write a table of %s, not %s", last(path), list(known), shown(v))
		return
	}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		i := fieldOf(into.Type(), key)
		if i < 0 {
			d.unknown(path, key, known)
			continue
		}
		d.value(below(path, key), table[key], into.Field(i))
	}
}

// fieldOf is the index of the field with the name, -1 if there is none.
func fieldOf(t reflect.Type, key string) int {
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("toml"); name == key && name != "" && name != "-" {
			return i
		}
	}
	return -1
}

// keysOf gives the names of a struct's fields in TOML.
func keysOf(t reflect.Type) []string {
	var keys []string
	for field := range t.Fields() {
		if name := field.Tag.Get("toml"); name != "" && name != "-" {
			keys = append(keys, name)
		}
	}
	return keys
}

// tables are those of the grammar, for keys that stand in the wrong one.
var tables = []struct {
	name string
	of   reflect.Type
}{
	{"", reflect.TypeFor[Config]()},
	{"mount", reflect.TypeFor[Mount]()},
	{"mount.sandbox", reflect.TypeFor[Sandbox]()},
	{"mount.userdir", reflect.TypeFor[Userdir]()},
	{"tls", reflect.TypeFor[TLS]()},
	{"log", reflect.TypeFor[Log]()},
	{"login", reflect.TypeFor[Login]()},
}

// unknown tells of a key that the table at path does not have.
func (d *decoder) unknown(path, key string, known []string) {
	hint := ""
	for _, k := range known {
		if len(key) <= 64 && near.Is(strings.ToLower(key), k) {
			hint = fmt.Sprintf(", did you mean %s?", k)
			if meant := below(path, k); !d.lines.has(meant) {
				d.bad[meant] = true // that it is missing has been said
			}
			break
		}
	}
	for i := 0; hint == "" && i < len(tables); i++ {
		switch t := tables[i]; {
		case fieldOf(t.of, key) < 0:
		case t.name == "":
			hint = ": it belongs to the top of the file, before the first table"
		default:
			hint = ": it belongs to " + t.name
		}
	}
	if hint == "" {
		hint = ": there are " + list(known)
	}
	where := ""
	if path != "" {
		where = " in " + withoutIndexes(path)
	}
	d.complainf(below(path, key), "unknown key %s%s%s", keyText(key), where, hint)
}

// withoutIndexes is a place in words: mount.sandbox for mount[1].sandbox.
func withoutIndexes(path string) string {
	var b strings.Builder
	for path != "" {
		before, rest, _ := strings.Cut(path, "[")
		b.WriteString(before)
		_, path, _ = strings.Cut(rest, "]")
	}
	return b.String()
}

// last is the last key of a place, without indexes.
func last(path string) string {
	for strings.HasSuffix(path, "]") {
		path = parentOf(path)
	}
	return strings.TrimPrefix(strings.TrimPrefix(path, parentOf(path)), ".")
}

// list writes names out.
func list(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// shown is a value as the file may have it, shortened.
func shown(v any) string {
	switch v := v.(type) {
	case string:
		if len(v) > 60 {
			v = v[:60] + "…"
		}
		return strconv.Quote(v)
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return fmt.Sprint(v)
}

func (d *decoder) text(path string, v any) string {
	s, ok := v.(string)
	switch {
	case !ok:
		d.complainf(path, "%s: write a text in quotes, not %s", last(path), shown(v))
	case strings.ContainsRune(s, 0):
		d.complainf(path, "%s: a text with a zero byte", last(path))
		s = ""
	}
	return s
}

func (d *decoder) texts(path string, v any) []string {
	elements, ok := v.([]any)
	if !ok {
		example := `"…"`
		if s, ok := v.(string); ok {
			example = shown(s)
		}
		d.complainf(path, "%s: write a list: %s = [%s]", last(path), last(path), example)
		return nil
	}
	texts := make([]string, 0, len(elements))
	for i, e := range elements {
		texts = append(texts, d.text(element(path, i), e))
	}
	return texts
}

// number reads a whole number from 1 to most.
func (d *decoder) number(path string, v any, most int64) int64 {
	n, ok := v.(int64)
	if !ok || n < 1 || n > most {
		d.complainf(path, "%s: write a whole number from 1 to %d, not %s", last(path), most,
			shown(v))
		return 0
	}
	return n
}

// limit reads a bound: a whole number over 0.
func (d *decoder) limit(path string, v any) uint64 {
	n, ok := v.(int64)
	if !ok || n <= 0 {
		d.complainf(path, "%s: write a whole number over 0, not %s", last(path), shown(v))
		return 0
	}
	return uint64(n)
}

// units are those of sizes, powers of 1,024.
var units = []struct {
	name  string
	shift uint
}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}

// size reads a number of bytes, or a text such as "256MiB".
func (d *decoder) size(path string, v any) uint64 {
	text, ok := v.(string)
	if !ok {
		return d.limit(path, v)
	}
	shift, digits := uint(0), text
	for _, u := range units {
		if before, found := strings.CutSuffix(text, u.name); found {
			shift, digits = u.shift, strings.TrimSpace(before)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || n > math.MaxInt64>>shift {
		d.complainf(path, `%s: write a size such as "256MiB", or a number of bytes, not %s`,
			last(path), shown(v))
		return 0
	}
	return n << shift
}

func (r *Require) read(d *decoder, path string, v any) {
	r.Login = true
	switch v := v.(type) {
	case string:
		if v != "login" {
			d.complainf(path, `require: write "login" or a list of users, require = [%s]`, shown(v))
		}
	case []any:
		r.Users = d.texts(path, v)
		if len(v) == 0 {
			d.complainf(path, "require: an empty list lets nobody in; leave it out to let "+
				"everybody in")
		}
	default:
		d.complainf(path, `require: write "login" or a list of users, not %s`, shown(v))
	}
}

func (s *Sandbox) read(d *decoder, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		d.table(path, v, reflect.ValueOf(s).Elem())
	case string:
		s.None = v == "none"
		if !s.None {
			d.complainf(path, `sandbox: write "none" or a table of rights, not %s`, shown(v))
		}
	default:
		d.complainf(path, `sandbox: write "none" or a table of rights, not %s`, shown(v))
	}
}

func (n *Network) read(d *decoder, path string, v any) {
	switch v := v.(type) {
	case []any:
		n.List = d.texts(path, v)
		return
	case string:
		switch v {
		case "none":
			return
		case "any":
			n.Any = true
			return
		}
	}
	d.complainf(path, `network: write "none", "any" or a list of "HOST:PORT", not %s`, shown(v))
}
