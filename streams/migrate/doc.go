// Package migrate takes a namespace of schema 1 to schema 2.
//
// The log of schema 1 is the truth: it is folded, what is stored is compared with it, and then everything is written
// anew from it, under the names of schema 2. The old keys are left as they are until the new ones are audited; what
// was written so far is written again by a run after one that was killed. So the same may be run at any time, as often as
// it takes, and two at once do no harm: the one that began last goes on.
//
// # What differs afterwards
//
// Facts of one millisecond and one type that stand next to each other share an entry. A fact's time stays; the second half of
// its entry's id does not.
//
// Schema 1 decided by one clock and stamped by another, some milliseconds later. So a confirmation that was in time may be
// stamped at its deadline or after it, and a hold may end before the stamp that it began at. Schema 2 checks deadlines exactly.
// Of such an order the deadline is moved: to the millisecond after its confirmation, or to when it was held. The times of what
// happened, which have gone to customers and into their books, stay.
package migrate
