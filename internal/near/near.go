// Package near tells whether one name may be a slip of the pen for another.
package near

import "strings"

// Is says whether whoever wrote a may have meant b: one or two edits away, one in a name of less
// than six bytes, or one of them being the beginning of the other. It costs the product of the two
// lengths.
func Is(a, b string) bool {
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
