package main

import (
	"context"
	"fmt"

	"holdfast/streams"
)

type initCommand struct {
	Partitions   *int   `placeholder:"N" help:"How many partitions, for ever: an event lives in one, and one is bounded by one Redis core. Default: 4."`
	PaymentNames string `enum:"namespaced,plain," default:"" placeholder:"HOW" help:"How payments are named at the gateway, for ever: namespaced, or plain, to make a namespace again that was made by a program older than that. Default: namespaced."`
	Archive      string `env:"HOLDFAST_ARCHIVE" placeholder:"URL" help:"Where the log is archived: a namespace of which anything is archived there is not made anew. Default: nowhere."`
	NewBranch    bool   `help:"Make it anew all the same, with nothing of what is archived; that stays where it is."`
	RestoreMeta  bool   `help:"Make holdfast:meta again where it alone is lost. Needs --partitions and --payment-names, as they were."`
}

// Help is shown by --help.
func (c *initCommand) Help() string {
	return `
It is harmless on a namespace that is there. One whose partitions are found, and not the note of what it was made with,
is refused by every command. If you know what it was made with, write the note again:

  holdfast init --restore-meta --partitions 8 --payment-names namespaced

A number of partitions that cannot be right by what is found is refused. Payments are namespaced if the books of the gateway
have them so, and plain in a namespace that was made before there was a choice.
`
}

type initView struct {
	streams.Namespace
	Created bool `json:"created"`
}

func (c *initCommand) Run(ctx context.Context, e *environment) error {
	o := streams.Options{Create: true, Restore: c.RestoreMeta, PaymentNames: streams.PaymentNames(c.PaymentNames)}
	if c.Partitions != nil {
		if *c.Partitions < 1 || *c.Partitions > streams.MaxPartitions {
			return badUsage("--partitions: want 1 to %d", streams.MaxPartitions)
		}
		o.Partitions = *c.Partitions
	}
	if c.RestoreMeta && (c.Partitions == nil || c.PaymentNames == "") {
		return badUsage("--restore-meta: say --partitions and --payment-names, too, as they were")
	}
	if !c.NewBranch {
		var err error
		if o.MayCreate, err = e.newArchiveGuard(c.Archive); err != nil {
			return err
		}
	}
	store, err := e.open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }() // everything has been read
	ns, err := store.Namespace(ctx)
	if err != nil {
		return err
	}
	if c.Partitions != nil && ns.Partitions != *c.Partitions {
		return fmt.Errorf("namespace %s exists with %s, and their number cannot be changed: choose another --namespace", ns.Name, plural(int64(ns.Partitions), "partition", "partitions"))
	}
	if c.PaymentNames != "" && ns.PaymentNames != o.PaymentNames {
		return fmt.Errorf("namespace %s exists with %s payment names, and they cannot be changed: choose another --namespace", ns.Name, ns.PaymentNames)
	}
	out := e.printer()
	pairs := append(namespaceSheet(ns), "created", fmt.Sprint(store.Created()))
	out.sheet(initView{ns, store.Created()}, pairs...)
	return out.flush()
}
