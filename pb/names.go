package pb

import (
	"unicode"
	"unicode/utf8"

	"perspective/internal/near"
)

const (
	maxMethodName = 256 // bytes of a method's name that a peer may send
	// maxNearName: longer names get no hints, for the comparison costs the product of two lengths.
	maxNearName = 64
	maxNear     = 3
)

// appendFolded appends name without underscores and without a difference of case: get_users,
// GetUsers and getUsers fold to the same bytes.
func appendFolded[S ~string | ~[]byte](dst []byte, name S) []byte {
	for i := 0; i < len(name); {
		c := name[i]
		switch {
		case c == '_':
			i++
		case c >= 'A' && c <= 'Z':
			dst = append(dst, c+('a'-'A'))
			i++
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		default:
			r, n := decodeRune(name[i:])
			dst = utf8.AppendRune(dst, unicode.ToLower(unicode.ToUpper(r)))
			i += n
		}
	}
	return dst
}

func decodeRune[S ~string | ~[]byte](s S) (rune, int) {
	return utf8.DecodeRuneInString(string(s[:min(len(s), utf8.UTFMax)]))
}

func folded(name string) string { return string(appendFolded(nil, name)) }

// nearNames returns at most three of names that a caller that wrote name may have meant: one or two
// edits away, one in a name of less than six bytes, or one of them being the beginning of the
// other.
func nearNames(name string, names []string) []string {
	if len(name) > maxNearName {
		return nil
	}
	var found []string
	want := folded(name)
	for _, n := range names {
		if len(found) == maxNear {
			break
		}
		if near.Is(want, folded(n)) {
			found = append(found, n)
		}
	}
	return found
}
