// Package e2e has only tests: holdfast as its users meet it, the program in
// processes of its own, on a real redis-server and over a real connection to
// the payment gateway. What the processes are put through (kill -9, SIGTERM,
// SIGSTOP, a Redis that goes away, bad input) is in the names of the files.
//
// They are part of go test ./... and take about a minute. These environment
// variables change that:
//
//	HOLDFAST_TORTURE=1   the TestTorture… tests in full, as make torture runs them: see package torture
//	HOLDFAST_E2E_RACE=1  build the program with the race detector
//	SEED=n               repeat what was drawn by chance: the tests print their seeds
package e2e
