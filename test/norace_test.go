//go:build !race

package test

// raceDetector tells that the tests, and so the program, are built with it.
const raceDetector = false
