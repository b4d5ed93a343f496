// Package layout is what is where in Redis, and in which form: the names of keys and
// channels, and the records, hashes, lines and letters behind them, as the scripts
// and package streams write them. It does no I/O.
//
// Whatever is decoded here was read from Redis, where anything may have been put: what
// cannot be read is an error of ClassPoison.
package layout
