//go:build race

package pb_test

const raceEnabled = true
