package streams

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// Post implements domain.Ledger. A line is a field without a value, in the customer's slot: all that is shown
// of it is read from the order, until that is forgotten with its event, and the line says it (ForgetEvents): what is there stays. So to write it again
// changes nothing, and nothing has to be reversed:
// what an order is, its record says, and one that Redis has lost again, in a failover, is not shown.
//
// A crash before the acknowledgement leaves the entries pending, and whoever reclaims them writes the same lines.
func (l *Ledger) Post(ctx context.Context, p int, entryIDs []string, facts []domain.Fact) error {
	if len(facts) > 0 {
		if err := l.post(ctx, facts); err != nil {
			return err
		}
	}
	if err := l.store.rdb.XAck(ctx, l.store.keys.Log(p), string(domain.GroupPosting), entryIDs...).Err(); err != nil {
		return fmt.Errorf("acknowledging what was posted: %w", access.Classify(err))
	}
	return nil
}

func (l *Ledger) post(ctx context.Context, facts []domain.Fact) error {
	const width = 4 // HSETNX, key, field, value
	args := newArgList(width * len(facts))
	for i := range facts {
		f := &facts[i]
		args.text("hsetnx")
		from := len(args.buf)
		args.buf = l.store.keys.AppendInvoices(args.buf, f.CustomerID)
		args.end(from)
		args.ref(f.Ref())
		args.text("")
	}
	all := args.done()
	lines, cmds := make([]*redis.BoolCmd, len(facts)), make([]redis.Cmder, len(facts))
	for i := range facts {
		lines[i] = redis.NewBoolCmd(ctx, all[width*i:width*(i+1):width*(i+1)]...)
		cmds[i] = lines[i]
	}
	pipe := l.store.rdb.Pipeline()
	_ = pipe.BatchProcess(ctx, cmds...) // it only queues them
	_, err := pipe.Exec(ctx)
	if outOfMemory(err) {
		err = l.postAnyway(ctx, facts)
	}
	if err != nil {
		first := slices.IndexFunc(lines, func(line *redis.BoolCmd) bool { return line.Err() != nil })
		return fmt.Errorf("writing invoices: order %s: %w", facts[max(first, 0)].Ref(), access.Classify(err))
	}
	return nil
}

// postAnyway writes the lines with a script that a full memory does not refuse: an order that is
// confirmed shall be finished.
func (l *Ledger) postAnyway(ctx context.Context, facts []domain.Fact) error {
	for _, f := range facts {
		if err := l.store.run(ctx, scriptInvoice, []string{l.store.keys.Invoices(f.CustomerID)}, f.Ref().String(), "").Err(); err != nil {
			return fmt.Errorf("script invoice: %w", err)
		}
	}
	return nil
}
