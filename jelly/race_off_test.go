//go:build !race

package jelly_test

const raceDetector = false
