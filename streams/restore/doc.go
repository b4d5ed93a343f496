// Package restore writes a namespace anew from its archive, into a Redis in which nothing is of it.
//
// The log is written back entry by entry, each under its own id, as far back as anybody needs it; everything else is what all of it folds to, in the form in
// which the scripts would have left it. Each partition is of a new branch, and the namespace of a new epoch: who remembers anything from
// before believes it no more, and changes nothing.
//
// # What nobody sees until it is whole
//
// The first thing that is written is the meta, with a schema on which no program works, and the last is the meta as it was. A
// partition's log and events are under other names until all of it is written, and get theirs in one step: without them no script of
// whoever still knows the namespace from before changes anything.
//
// # Again
//
// A crash, or an error, at any point: run it again. Partitions that are whole stay, the others are written from their start.
// Every write is by a script that compares whose the partition is: of two runs the one that began last goes on, and one that was frozen
// changes nothing any more. Invoices are in other slots, where two runs write the same: an empty field of the name of an order, which says
// nothing but that there is such an order.
//
// # What is not in the log
//
// Requests in line, parked ones, dead letters, pauses, API keys and how many were turned away are lost. What is owed is settled again, from where the archive says that all
// was settled. Until when rejections for unknown events must be remembered is not in the log either: they are for as long as a request can be valid.
package restore
