// Package seats is what a seated section is made of: its rows, from best to worst, each with its seats as they
// stand side by side (Layout), and which of them are free (its places, a string with a character for each). It says
// which seats a request gets (Choose), and what becomes of the places (Change). Pure: no clock, no I/O.
//
// A seat is named ROW-NUMBER, such as A-12. A place is where it stands in the string, counted from 1: that is what
// records and facts say, because scripts know no names. Places are never renumbered.
package seats
