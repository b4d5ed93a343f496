// Package domain holds the rules of holdfast: what an order and an event are,
// which facts a command leads to (Decide) and what a fact changes (Apply).
//
// It has no clock and does no I/O: time comes in as milliseconds, results go
// out as values. It is the executable specification. The audit folds the log
// with it, and property tests hold the Lua scripts of package streams against it.
//
// Units: amounts are integer counts of a currency's minor unit, times are
// milliseconds since the Unix epoch on Redis's clock.
package domain
