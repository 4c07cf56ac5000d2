//go:build !race

package distrib

// RaceEnabled says that the race detector watches: what is only much is less then.
const RaceEnabled = false
