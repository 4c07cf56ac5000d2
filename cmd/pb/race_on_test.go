//go:build race

package main

// raceEnabled says that the race detector watches this process. It watches no program that a test
// builds.
const raceEnabled = true
