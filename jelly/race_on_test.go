//go:build race

package jelly_test

// raceDetector is set where sync.Pool drops what it is given, so that allocations cannot be
// counted.
const raceDetector = true
