package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/api"
	"holdfast/domain"
	"holdfast/streams"
)

type keysCommand struct {
	Create keysCreateCommand `cmd:"" help:"Make an API key, and print it: nobody can tell it again."`
	List   keysListCommand   `cmd:"" help:"List API keys: whose they are, what they may do, and when they were used last."`
	Revoke keysRevokeCommand `cmd:"" help:"End an API key: a second later nobody gets in with it."`
}

type keysCreateCommand struct {
	Role     string   `required:"" enum:"checkout,customer-view,sales,organiser,sre,admin" placeholder:"ROLE" help:"What it may do: checkout, customer-view, sales, organiser, sre or admin."`
	Checkout string   `placeholder:"NAME" help:"With --role checkout, whose it is. Order ids that are made of an Idempotency-Key are made of this name, too: give the next key of the same checkout the same one."`
	Name     string   `placeholder:"NAME" help:"With the other roles, whose it is."`
	Event    []string `placeholder:"EVENT_ID" help:"For this event only; give the flag once for each. Default: all."`
	By       string   `env:"USER" placeholder:"NAME" help:"Who asks for it, for people. Default: who you are."`
}

// Help is shown by --help.
func (c *keysCreateCommand) Help() string {
	return `
For a checkout, and for the sales of one event:

  holdfast keys create --role checkout --checkout web
  holdfast keys create --role sales --name box-office --event jazz-night

The key goes with every request: Authorization: Bearer KEY. To change it: create another one, use that, revoke this one.
`
}

func (c *keysCreateCommand) Run(ctx context.Context, e *environment) error {
	role := domain.APIRole(c.Role)
	name, flag := c.Name, "--name"
	if role == domain.APICheckout {
		name, flag = c.Checkout, "--checkout"
	}
	if (c.Checkout != "") != (role == domain.APICheckout) || (c.Name != "") == (role == domain.APICheckout) {
		return badUsage("--role %s: want %s NAME, whose it is, and no other name", role, flag)
	}
	cause, err := causeFlags{By: c.By}.cause()
	if err != nil {
		return err
	}
	secret, key, err := api.NewKey(role, name, slices.Compact(slices.Sorted(slices.Values(c.Event))), cause.By, time.Now())
	if err != nil {
		return &usageError{err}
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		if err := store.APIKeys().Add(ctx, key); err != nil {
			return err
		}
		out := e.printer()
		out.row(api.MadeKey{Secret: secret, Key: api.ViewKey(key)}, secret)
		return out.flush()
	})
}

type keysListCommand struct{}

func (c *keysListCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		keys, err := store.APIKeys().List(ctx)
		if err != nil {
			return err
		}
		out := e.printer("key_id", "role", "name", "events", "created", "by", "used")
		for _, k := range keys {
			out.row(api.ViewKey(k), k.ID, string(k.Role), k.Name, strings.Join(k.Events, ","), when(k.CreatedMillis), k.By, when(k.UsedMillis))
		}
		return out.end(nil)
	})
}

type keysRevokeCommand struct {
	ID []string `arg:"" name:"key_id" help:"As keys list shows them."`
}

func (c *keysRevokeCommand) Run(ctx context.Context, e *environment) error {
	for _, id := range c.ID {
		if strings.HasPrefix(id, "hf_") {
			return badUsage("key_id: want the id, as keys list shows it, and not the key")
		}
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		out := e.printer()
		for _, id := range c.ID {
			if err := store.APIKeys().Revoke(ctx, id); err != nil {
				return out.end(err)
			}
			out.row(struct {
				ID      string `json:"key_id"`
				Revoked bool   `json:"revoked"`
			}{id, true}, fmt.Sprintf("key %s is revoked: a second from now nobody gets in with it", id))
		}
		return out.end(nil)
	})
}
