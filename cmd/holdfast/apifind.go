package main

import (
	"context"
	"encoding/json"

	"holdfast/api"
	"holdfast/domain"
	"holdfast/streams/inspect"
)

// apiFinding is how people find orders, as the API knows it.
type apiFinding struct{ as apiOperating }

func (f apiFinding) Orders(ctx context.Context, by api.OrderSearch) ([]json.RawMessage, error) {
	c := &ordersListCommand{
		Event: by.EventID, Customer: by.CustomerID, Since: sinceFlag{millis: by.SinceMillis}, Limit: limitFlag{given: true, most: by.Limit},
	}
	if by.State != domain.OrderNone {
		c.State = []stateFlag{{by.State}}
	}
	return f.as.look(ctx, c)
}

func (f apiFinding) OrdersNamed(ctx context.Context, orderID string) (list []json.RawMessage, err error) {
	checkout := f.as.store.Checkout()
	refs, err := inspect.New(f.as.store).FindOrder(ctx, orderID)
	if err != nil || len(refs) == 0 {
		return nil, err
	}
	orders, err := checkout.Orders(ctx, refs)
	if err != nil {
		return nil, err
	}
	for i, o := range orders {
		v, err := viewOrderOf(ctx, checkout, refs[i], o)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, nil
}

func (f apiFinding) History(ctx context.Context, ref domain.OrderRef) ([]json.RawMessage, error) {
	found, err := f.as.look(ctx, &ordersShowCommand{orderArgs: orderArgs{OrderID: ref.OrderID, Event: ref.EventID}, atFlags: atFlags{Archive: f.as.compared.Archive}})
	return found, asInvalid(err)
}
