// Package audit proves that what is stored is true: it folds the log with package
// domain and compares the outcome with all that Redis holds, and with what the payment
// gateway did. docs/architecture.md numbers the invariants that it checks.
package audit
