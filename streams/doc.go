// Package streams is everything in holdfast that speaks Redis: the ledger and its Lua
// scripts, the queues (consumer groups), publishing and outcomes, events, posting, and
// upkeep. It implements the ports of package domain.
//
// Every change of state is one script on one partition. A script is atomic and
// crash-atomic (its effects reach the append-only file as one unit), so after any
// crash either all of it happened or nothing; and each script decides by the
// stored state, so repeating one whose reply was lost changes nothing more.
//
// What people read, and dead letters, are in package inspect; the proof that all of it
// is true is package audit. What is where in Redis, and in which form, is internal/layout.
package streams
