// Package inspect is what people read of a namespace, and what they do with what they
// find: what waits and who works on it, dead letters, orders and their histories, sales
// and invoices. It changes nothing but dead letters, and those only by Redrive, Reroute and Discard.
package inspect

import (
	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// Inspector reads a namespace. It is safe for concurrent use.
type Inspector struct {
	ns    access.Namespace
	cause domain.Cause
}

// New returns an inspector of the namespace that a *streams.Store is about.
func New(store access.Store) *Inspector { return &Inspector{ns: store.Inside()} }

// With returns one that reads in an archive what was trimmed of the log: it does not care where a fact is.
func (in *Inspector) With(archived domain.ArchivedEntries) *Inspector {
	ns := in.ns
	ns.Archived = archived
	return &Inspector{ns, in.cause}
}

// By returns one that notes who has dead letters handled, and why.
func (in *Inspector) By(cause domain.Cause) *Inspector { return &Inspector{in.ns, cause} }

// ErrArchive says that what was trimmed of the log cannot be read where it is archived.
var ErrArchive = access.ErrArchive
