package api

import "github.com/danielgtaylor/huma/v2"

// operation is nil for a method that an endpoint does not have, or that needs no key.
func operation(op *huma.Operation) *struct{ id string } {
	if op == nil || len(op.Security) > 0 {
		return nil
	}
	return &struct{ id string }{op.OperationID}
}
