// Package bench measures holdfast from outside, against its goals and against other ways to
// sell tickets with Redis. It is a module of its own, so that what it compares with does not
// become a dependency of holdfast.
//
// Every system runs the same flow (type system) on a redis-server that the benchmark starts:
// N purchase requests of two tickets each are submitted, for 100 events or for a single hot
// one. A worker takes the tickets of each from its event's inventory, asks a payment gateway in
// its own process, which says yes, confirms the order, and posts a line to the customer's invoices
// and the order to the event's sales. A run is over when all of that is done, and fails unless
// the books are right: every order sold once, no ticket more than that, every invoice line there.
//
// The measurements are Go benchmarks, so what they print is what benchstat reads. Package
// report puts the same output beside the goals and draws it. From the top of the tree:
//
//	make bench                      holdfast against its goals, in under ten minutes
//	make bench-full                 and 10,000,000 orders, overload, and the peers
//	make bench-compare BASE=main    two revisions in alternating runs
//
// One benchmark by hand, with fewer orders:
//
//	go test -run '^$' -bench 'Drain/system=asynq' -benchtime 1x . -orders 20000
package bench
