package distrib

import "strings"

// hasToken says whether token stands in one of the lists, with or without parameters, which the
// function of httpguts of this kind takes for a part of it.
func hasToken(lists []string, token string) bool {
	for _, l := range lists {
		for t := range strings.SplitSeq(l, ",") {
			t, _, _ = strings.Cut(t, ";")
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}
