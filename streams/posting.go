package streams

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Post implements domain.Ledger: first the lines in the customers' slots, then,
// in the partition, sales and totals together with the acknowledgement.
//
// A crash in between leaves the facts pending, and whoever reclaims them writes
// the same lines again. A line is only created by a confirmation and always
// overwritten by a cancellation, so their order does not matter either.
//
// Lines are not fenced by anything in their own slot. So it is looked before whether
// the order still has this fact behind it: it may have been read from a master that
// is being replaced, and what is written goes to the one that takes over. That narrows
// the window to one round trip and does not close it: a line that falls into it is
// named by the audit (I3).
func (l *Ledger) Post(ctx context.Context, p int, facts []domain.Fact) error {
	var confirmed, cancelled []domain.Fact
	var others []string
	for _, f := range facts {
		switch {
		case f.Type == domain.FactConfirmed:
			confirmed = append(confirmed, f)
		case f.Type == domain.FactCancelled && f.Was == domain.OrderConfirmed:
			cancelled = append(cancelled, f)
		default:
			others = append(others, f.ID)
		}
	}
	linesConfirmed, linesCancelled, err := l.stillTrue(ctx, p, confirmed, cancelled)
	if err != nil {
		return err
	}
	if err := l.writeInvoices(ctx, linesConfirmed, linesCancelled); err != nil {
		return fmt.Errorf("writing invoices: %w", access.Classify(err))
	}
	if err := l.runSales(ctx, p, scriptPost, "post", confirmed); err != nil {
		return err
	}
	if err := l.runSales(ctx, p, scriptReverse, "reverse", cancelled); err != nil {
		return err
	}
	if len(others) == 0 {
		return nil
	}
	if err := l.store.rdb.XAck(ctx, l.store.keys.Log(p), string(domain.GroupPosting), others...).Err(); err != nil {
		return fmt.Errorf("acknowledging facts that post nothing: %w", access.Classify(err))
	}
	return nil
}

// stillTrue are those of the facts that the stored orders have behind them: confirmed
// at that time, and, for a cancellation, cancelled since.
func (l *Ledger) stillTrue(ctx context.Context, p int, confirmed, cancelled []domain.Fact) (c, x []domain.Fact, err error) {
	if len(confirmed)+len(cancelled) == 0 {
		return nil, nil, nil
	}
	keys := make([]string, 0, len(confirmed)+len(cancelled))
	for _, facts := range [][]domain.Fact{confirmed, cancelled} {
		for _, f := range facts {
			keys = append(keys, l.store.keys.Order(p, f.Ref()))
		}
	}
	records, err := l.store.rdb.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, nil, fmt.Errorf("reading orders to post: %w", access.Classify(err))
	}
	for i, record := range records {
		o, err := layout.DecodeOrder(layout.AsString(record))
		if err != nil {
			return nil, nil, err
		}
		if i < len(confirmed) {
			if f := confirmed[i]; o.ConfirmedAtMillis == f.AtMillis {
				c = append(c, f)
			}
		} else if f := cancelled[i-len(confirmed)]; o.State == domain.OrderCancelled && o.ConfirmedAtMillis == f.ConfirmedAtMillis {
			x = append(x, f)
		}
	}
	return c, x, nil
}

// writeInvoices writes the lines of all these facts in one pipeline. When memory is
// full it writes them one by one with a script, which is not refused: an order that
// is confirmed shall be finished. The script also looks at the lines that are there
// already: the partition of an order may have lost its confirmation in a failover,
// and the customer's slot kept its line.
func (l *Ledger) writeInvoices(ctx context.Context, confirmed, cancelled []domain.Fact) error {
	if len(confirmed)+len(cancelled) == 0 {
		return nil
	}
	pipe := l.store.rdb.Pipeline()
	created := make([]*redis.BoolCmd, len(confirmed))
	for i, f := range confirmed {
		created[i] = pipe.HSetNX(ctx, l.store.keys.Invoices(f.CustomerID), f.Ref().String(), layout.EncodeInvoiceLine(f, f.AtMillis, layout.InvoiceConfirmed))
	}
	for _, f := range cancelled {
		pipe.HSet(ctx, l.store.keys.Invoices(f.CustomerID), f.Ref().String(), layout.EncodeInvoiceLine(f, f.ConfirmedAtMillis, layout.InvoiceCancelled))
	}
	_, err := pipe.Exec(ctx)
	full := outOfMemory(err)
	if err != nil && !full {
		return err
	}
	for i, f := range confirmed {
		if created[i].Val() {
			continue
		}
		if err := l.writeInvoice(ctx, f, layout.EncodeInvoiceLine(f, f.AtMillis, layout.InvoiceConfirmed), "1"); err != nil {
			return err
		}
	}
	if !full {
		return nil
	}
	for _, f := range cancelled {
		if err := l.writeInvoice(ctx, f, layout.EncodeInvoiceLine(f, f.ConfirmedAtMillis, layout.InvoiceCancelled), "0"); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) writeInvoice(ctx context.Context, f domain.Fact, line, onlyNew string) error {
	return l.store.run(ctx, scriptInvoice, []string{l.store.keys.Invoices(f.CustomerID)}, f.Ref().String(), line, onlyNew).Err()
}

func (l *Ledger) runSales(ctx context.Context, p int, script *redis.Script, name string, facts []domain.Fact) error {
	for first := 0; first < len(facts); first += access.MaxBatch {
		chunk := facts[first:min(first+access.MaxBatch, len(facts))]
		byEvent := make(map[string][]domain.Fact, 8)
		var events []string
		for _, f := range chunk {
			if byEvent[f.EventID] == nil {
				events = append(events, f.EventID)
			}
			byEvent[f.EventID] = append(byEvent[f.EventID], f)
		}
		keys := append(make([]string, 0, 2+len(events)+len(chunk)), l.store.keys.Log(p), l.store.keys.SalesSummary(p))
		args := append(make([]any, 0, 3+2*len(events)+4*len(chunk)), string(domain.GroupPosting), len(events), len(chunk))
		for _, event := range events {
			keys = append(keys, l.store.keys.Sales(p, event))
			args = append(args, event)
		}
		for _, event := range events {
			args = append(args, len(byEvent[event]))
		}
		for _, column := range []func(domain.Fact) any{
			func(f domain.Fact) any { return f.ID },
			func(f domain.Fact) any { return f.OrderID },
			func(f domain.Fact) any { return f.Quantity },
			func(f domain.Fact) any { return f.Amount() },
		} {
			for _, event := range events {
				for _, f := range byEvent[event] {
					args = append(args, column(f))
				}
			}
		}
		for _, event := range events {
			for _, f := range byEvent[event] {
				keys = append(keys, l.store.keys.Order(p, f.Ref()))
			}
		}
		if err := l.store.run(ctx, script, keys, args...).Err(); err != nil {
			return fmt.Errorf("script %s: %w", name, access.Classify(err))
		}
	}
	return nil
}
