package pb

import (
	"strings"
	"unicode"
	"unicode/utf8"
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

// near returns at most three of names that a caller that wrote name may have meant: one or two
// edits away, one in a name of less than six bytes, or one of them being the beginning of the
// other.
func near(name string, names []string) []string {
	if len(name) > maxNearName {
		return nil
	}
	var found []string
	want := folded(name)
	for _, n := range names {
		if len(found) == maxNear {
			break
		}
		if isNear(want, folded(n)) {
			found = append(found, n)
		}
	}
	return found
}

func isNear(a, b string) bool {
	short, long := a, b
	if len(short) > len(long) {
		short, long = long, short
	}
	if len(short) >= 3 && strings.HasPrefix(long, short) {
		return true
	}
	most := min(2, len(long)/3)
	return len(long)-len(short) <= most && edits(short, long) <= most
}

// edits is how many bytes to insert, delete or replace, or neighbours to swap, to make a from b.
func edits(a, b string) int {
	var before []int // the row of j-2
	last := make([]int, len(a)+1)
	for i := range last {
		last[i] = i
	}
	for j := 1; j <= len(b); j++ {
		row := make([]int, len(a)+1)
		row[0] = j
		for i := 1; i <= len(a); i++ {
			cost := last[i-1]
			if a[i-1] != b[j-1] {
				cost++
			}
			row[i] = min(cost, row[i-1]+1, last[i]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[i] = min(row[i], before[i-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(a)]
}
