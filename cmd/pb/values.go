package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"perspective/pb"
)

// parseArg reads an argument of a call: JSON if it is JSON, else a string.
// Whole numbers are whole numbers, of any size.
func parseArg(arg string) any {
	d := json.NewDecoder(strings.NewReader(arg))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return arg
	}
	if strings.TrimLeft(arg[d.InputOffset():], " \t\r\n") != "" {
		return arg
	}
	return numbers(v)
}

// numbers puts Go's numbers in place of JSON's.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(v)
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

func number(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		return i
	}
	if !strings.ContainsAny(n.String(), ".eE") {
		if i, ok := new(big.Int).SetString(n.String(), 10); ok {
			if i.IsUint64() {
				return i.Uint64()
			}
			return i
		}
	}
	f, err := n.Float64()
	if err != nil {
		return n.String()
	}
	return f
}

// resultLine is a result as one line of JSON: bytes in base64, times after RFC
// 3339, durations as Go writes them, remote objects by their number.
func resultLine(v any) (string, error) {
	shown, err := forJSON(v)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(shown); err != nil {
		return "", fmt.Errorf("pb: the result cannot be shown: %w", err)
	}
	return escapeControls(strings.TrimSuffix(b.String(), "\n")), nil
}

// forJSON puts what JSON can say in place of what it cannot.
func forJSON(v any) (any, error) {
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v), nil
		}
	case float32:
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Sprint(v), nil
		}
	case time.Duration:
		return v.String(), nil
	case *pb.RemoteReference:
		return v.String(), nil
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = forJSON(v[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			var err error
			if out[k], err = forJSON(x); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[any]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			name := fmt.Sprint(k)
			if _, taken := out[name]; taken {
				return nil, fmt.Errorf(
					"pb: the result cannot be shown: two keys of a map are %q in JSON", name)
			}
			var err error
			if out[name], err = forJSON(x); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

// escapeControls writes what a terminal could act on as JSON's \u escapes. In
// JSON such characters stand in strings only.
func escapeControls(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf && r >= ' ' && r != 0x7f || r >= utf8.RuneSelf && harmless(r) {
			b.WriteRune(r)
			continue
		}
		if r > 0xffff {
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			_, _ = fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
			continue
		}
		_, _ = fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}

// printable is a text, perhaps a peer's, that a terminal shows and does not act on.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || harmless(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// harmless reports whether a character is neither a control nor invisible.
func harmless(r rune) bool {
	return !unicode.Is(unicode.C, r) && r != '\u2028' && r != '\u2029'
}
