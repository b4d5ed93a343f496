package archive

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"holdfast/domain"
)

// What can be exported, and how.
const (
	ExportOrders   = "orders"
	ExportInvoices = "invoices"
	ExportSales    = "sales"

	FormatCSV     = "csv"
	FormatParquet = "parquet"
)

// ExportedOrder is an order as it is exported. The names of its columns are a contract. Amounts are minor units, times UTC.
type ExportedOrder struct {
	EventID         string `parquet:"event_id,dict"`
	OrderID         string `parquet:"order_id"`
	CustomerID      string `parquet:"customer_id"`
	State           string `parquet:"state,dict"`
	Reason          string `parquet:"reason,dict"`
	Quantity        int64  `parquet:"quantity"`
	Amount          int64  `parquet:"amount"`
	Currency        string `parquet:"currency,dict"`
	Items           string `parquet:"items"` // section:quantity:unit_price, and :places of seats, with commas between them
	HeldAt          *int64 `parquet:"held_at,optional,timestamp(millisecond)"`
	ConfirmedAt     *int64 `parquet:"confirmed_at,optional,timestamp(millisecond)"`
	ResolvedAt      *int64 `parquet:"resolved_at,optional,timestamp(millisecond)"`
	AuthorizationID string `parquet:"authorization_id"`
}

// ExportedInvoice is a line of a customer's invoices: an order that was ever confirmed.
type ExportedInvoice struct {
	CustomerID  string `parquet:"customer_id"`
	EventID     string `parquet:"event_id,dict"`
	OrderID     string `parquet:"order_id"`
	Status      string `parquet:"status,dict"`
	Quantity    int64  `parquet:"quantity"`
	Amount      int64  `parquet:"amount"`
	Currency    string `parquet:"currency,dict"`
	ConfirmedAt *int64 `parquet:"confirmed_at,optional,timestamp(millisecond)"`
}

// ExportedSales is what is sold of an event.
type ExportedSales struct {
	EventID  string `parquet:"event_id"`
	Name     string `parquet:"name"`
	Currency string `parquet:"currency,dict"`
	Orders   int64  `parquet:"orders"`
	Tickets  int64  `parquet:"tickets"`
	Revenue  int64  `parquet:"revenue"`
}

// Export writes orders, invoices or sales as the archive tells them, each event's by their names, and returns how many.
func (r *Reader) Export(ctx context.Context, to io.Writer, what, format string, o Options) (rows int, err error) {
	switch what {
	case ExportOrders:
		return export(ctx, r, to, format, o, ordersOf)
	case ExportInvoices:
		return export(ctx, r, to, format, o, invoicesOf)
	case ExportSales:
		return export(ctx, r, to, format, o, SalesOf)
	}
	return 0, domain.WithCode(domain.ClassReject, domain.CodeInvalid, fmt.Errorf("%q: want %s, %s or %s", what, ExportOrders, ExportInvoices, ExportSales))
}

func export[T any](ctx context.Context, r *Reader, to io.Writer, format string, o Options, of func(*domain.Snapshot) []T) (rows int, err error) {
	var w interface {
		Write(rows []T) (int, error)
		Close() error
	}
	switch format {
	case FormatCSV:
		w, err = newCSV[T](to)
	case FormatParquet:
		w = parquet.NewGenericWriter[T](to, parquet.Compression(&parquet.Zstd))
	default:
		err = domain.WithCode(domain.ClassReject, domain.CodeInvalid, fmt.Errorf("%q: want %s or %s", format, FormatCSV, FormatParquet))
	}
	if err != nil {
		return 0, err
	}
	if err := r.Fold(ctx, o, func(f Folded) error {
		n, err := w.Write(of(f.Book))
		rows += n
		return err
	}); err != nil {
		return rows, err
	}
	return rows, w.Close()
}

// refsOf are the orders of a book in the order of their names.
func refsOf(b *domain.Snapshot) []domain.OrderRef {
	return slices.SortedFunc(maps.Keys(b.Orders), func(a, b domain.OrderRef) int {
		return cmp.Or(strings.Compare(a.EventID, b.EventID), strings.Compare(a.OrderID, b.OrderID))
	})
}

func ordersOf(b *domain.Snapshot) (all []ExportedOrder) {
	for _, ref := range refsOf(b) {
		o := b.Orders[ref]
		all = append(all, ExportedOrder{
			EventID: ref.EventID, OrderID: ref.OrderID, CustomerID: o.CustomerID, State: o.State.String(), Reason: o.Reason,
			Quantity: o.Items.Quantity(), Amount: o.Amount(), Currency: o.Currency, Items: string(o.Items),
			HeldAt: some(o.HeldAtMillis), ConfirmedAt: some(o.ConfirmedAtMillis), ResolvedAt: some(o.ResolvedAtMillis), AuthorizationID: o.AuthorizationID,
		})
	}
	return all
}

func invoicesOf(b *domain.Snapshot) (all []ExportedInvoice) {
	for _, ref := range refsOf(b) {
		o := b.Orders[ref]
		if o.ConfirmedAtMillis == 0 {
			continue
		}
		all = append(all, ExportedInvoice{
			CustomerID: o.CustomerID, EventID: ref.EventID, OrderID: ref.OrderID, Status: o.State.String(),
			Quantity: o.Items.Quantity(), Amount: o.Amount(), Currency: o.Currency, ConfirmedAt: some(o.ConfirmedAtMillis),
		})
	}
	return all
}

// SalesOf are the sales of the events of a book, by their names: what its confirmed orders have.
func SalesOf(b *domain.Snapshot) (all []ExportedSales) {
	sums := make(map[string]ExportedSales)
	for ref, o := range b.Orders {
		if o.State == domain.OrderConfirmed {
			s := sums[ref.EventID]
			s.Orders, s.Tickets, s.Revenue = s.Orders+1, s.Tickets+o.Items.Quantity(), s.Revenue+o.Amount()
			sums[ref.EventID] = s
		}
	}
	for _, id := range slices.Sorted(maps.Keys(b.Events)) {
		s := sums[id]
		s.EventID, s.Name, s.Currency = id, b.Events[id].Name, b.Events[id].Currency
		all = append(all, s)
	}
	return all
}

// csvWriter writes rows as CSV, with the columns that they have in Parquet.
type csvWriter[T any] struct{ to *csv.Writer }

func newCSV[T any](to io.Writer) (csvWriter[T], error) {
	w := csvWriter[T]{csv.NewWriter(to)}
	var columns []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		name, _, _ := strings.Cut(f.Tag.Get("parquet"), ",")
		columns = append(columns, name)
	}
	return w, w.to.Write(columns)
}

// Write writes rows.
func (w csvWriter[T]) Write(rows []T) (int, error) {
	for i, row := range rows {
		v := reflect.ValueOf(row)
		values := make([]string, v.NumField())
		for j := range values {
			switch value := v.Field(j).Interface().(type) {
			case string:
				values[j] = value
			case int64:
				values[j] = strconv.FormatInt(value, 10)
			case *int64: // a time
				if value != nil {
					values[j] = time.UnixMilli(*value).UTC().Format("2006-01-02T15:04:05.000Z07:00")
				}
			}
		}
		if err := w.to.Write(values); err != nil {
			return i, err
		}
	}
	return len(rows), nil
}

// Close hands on everything so far.
func (w csvWriter[T]) Close() error {
	w.to.Flush()
	return w.to.Error()
}
