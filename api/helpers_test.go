package api

import "github.com/danielgtaylor/huma/v2"

// operation is nil for a method that an endpoint does not have.
func operation(op *huma.Operation) *struct{ id string } {
	if op == nil {
		return nil
	}
	return &struct{ id string }{op.OperationID}
}
