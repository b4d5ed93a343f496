package streams

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
)

// Statuses of an invoice line.
const (
	invoiceConfirmed = "confirmed"
	invoiceCancelled = "cancelled"
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
func (s *Store) Post(ctx context.Context, p int, facts []domain.Fact) error {
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
	linesConfirmed, linesCancelled, err := s.stillTrue(ctx, p, confirmed, cancelled)
	if err != nil {
		return err
	}
	if err := s.writeInvoices(ctx, linesConfirmed, linesCancelled); err != nil {
		return fmt.Errorf("writing invoices: %w", classify(err))
	}
	if err := s.runSales(ctx, p, scriptPost, "post", confirmed); err != nil {
		return err
	}
	if err := s.runSales(ctx, p, scriptReverse, "reverse", cancelled); err != nil {
		return err
	}
	if len(others) == 0 {
		return nil
	}
	if err := s.rdb.XAck(ctx, s.keys.log(p), string(domain.GroupPosting), others...).Err(); err != nil {
		return fmt.Errorf("acknowledging facts that post nothing: %w", classify(err))
	}
	return nil
}

// stillTrue are those of the facts that the stored orders have behind them: confirmed
// at that time, and, for a cancellation, cancelled since.
func (s *Store) stillTrue(ctx context.Context, p int, confirmed, cancelled []domain.Fact) (c, x []domain.Fact, err error) {
	if len(confirmed)+len(cancelled) == 0 {
		return nil, nil, nil
	}
	keys := make([]string, 0, len(confirmed)+len(cancelled))
	for _, facts := range [][]domain.Fact{confirmed, cancelled} {
		for _, f := range facts {
			keys = append(keys, s.keys.order(p, f.Ref()))
		}
	}
	records, err := s.rdb.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, nil, fmt.Errorf("reading orders to post: %w", classify(err))
	}
	for i, record := range records {
		o, err := decodeOrder(asString(record))
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
func (s *Store) writeInvoices(ctx context.Context, confirmed, cancelled []domain.Fact) error {
	if len(confirmed)+len(cancelled) == 0 {
		return nil
	}
	pipe := s.rdb.Pipeline()
	created := make([]*redis.BoolCmd, len(confirmed))
	for i, f := range confirmed {
		created[i] = pipe.HSetNX(ctx, s.keys.invoices(f.CustomerID), f.Ref().String(), invoiceLine(f, f.AtMillis, invoiceConfirmed))
	}
	for _, f := range cancelled {
		pipe.HSet(ctx, s.keys.invoices(f.CustomerID), f.Ref().String(), invoiceLine(f, f.ConfirmedAtMillis, invoiceCancelled))
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
		if err := s.writeInvoice(ctx, f, invoiceLine(f, f.AtMillis, invoiceConfirmed), "1"); err != nil {
			return err
		}
	}
	if !full {
		return nil
	}
	for _, f := range cancelled {
		if err := s.writeInvoice(ctx, f, invoiceLine(f, f.ConfirmedAtMillis, invoiceCancelled), "0"); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) writeInvoice(ctx context.Context, f domain.Fact, line, onlyNew string) error {
	return s.run(ctx, scriptInvoice, []string{s.keys.invoices(f.CustomerID)}, f.Ref().String(), line, onlyNew).Err()
}

// invoiceLine is the JSON of a line. All values are of plain characters, so
// nothing needs escaping.
func invoiceLine(f domain.Fact, confirmedAt int64, status string) string {
	b := make([]byte, 0, 160)
	b = append(b, `{"section":"`...)
	b = append(b, f.Section...)
	b = append(b, `","quantity":`...)
	b = strconv.AppendInt(b, f.Quantity, 10)
	b = append(b, `,"amount":`...)
	b = strconv.AppendInt(b, f.Amount(), 10)
	b = append(b, `,"currency":"`...)
	b = append(b, f.Currency...)
	b = append(b, `","confirmed_at":`...)
	b = strconv.AppendInt(b, confirmedAt, 10)
	b = append(b, `,"status":"`...)
	b = append(b, status...)
	b = append(b, `"}`...)
	return string(b)
}

func (s *Store) runSales(ctx context.Context, p int, script *redis.Script, name string, facts []domain.Fact) error {
	for first := 0; first < len(facts); first += maxBatch {
		chunk := facts[first:min(first+maxBatch, len(facts))]
		byEvent := make(map[string][]domain.Fact, 8)
		var events []string
		for _, f := range chunk {
			if byEvent[f.EventID] == nil {
				events = append(events, f.EventID)
			}
			byEvent[f.EventID] = append(byEvent[f.EventID], f)
		}
		keys := append(make([]string, 0, 2+len(events)+len(chunk)), s.keys.log(p), s.keys.salesSummary(p))
		args := append(make([]any, 0, 3+2*len(events)+4*len(chunk)), string(domain.GroupPosting), len(events), len(chunk))
		for _, event := range events {
			keys = append(keys, s.keys.sales(p, event))
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
				keys = append(keys, s.keys.order(p, f.Ref()))
			}
		}
		if err := s.run(ctx, script, keys, args...).Err(); err != nil {
			return fmt.Errorf("script %s: %w", name, classify(err))
		}
	}
	return nil
}
