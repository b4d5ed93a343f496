// Package wire is requests and facts as text, in both directions: the flat field lists
// of stream entries. docs/architecture.md has the contract.
//
// What comes in may have been written by anybody. No error repeats a value, which may
// be secret or unprintable.
package wire
