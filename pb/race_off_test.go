//go:build !race

package pb_test

const raceEnabled = false
