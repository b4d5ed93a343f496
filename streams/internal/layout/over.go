package layout

import (
	"fmt"
	"strconv"
	"strings"

	"holdfast/domain"
)

// OverNote is what is noted of an event that is closed: the version of its terms, and an entry of the log before which all
// that is known of the event had happened: version|position.
type OverNote struct {
	Version  int64
	Position string
}

// String is the value.
func (n OverNote) String() string { return strconv.FormatInt(n.Version, 10) + "|" + n.Position }

// DecodeOverNote is the inverse.
func DecodeOverNote(value string) (OverNote, error) {
	version, position, _ := strings.Cut(value, "|")
	n := numbers{}
	note := OverNote{Version: n.parse(version), Position: position}
	if n.err != nil || note.Version == 0 || ParseLogID(position).String() != position {
		return OverNote{}, damaged("note of an event that is closed", value)
	}
	return note, nil
}

// ForgettingNote is where the orders are of an event that is forgotten, while they are: how many hashes are its own, and 1 if some are in the one that
// it shares besides, from before it was listed. Recalled is so while they come back, and not while they go: hashes|early, and then |r.
type ForgettingNote struct {
	Hashes   int
	Early    bool
	Recalled bool
}

// String is the value.
func (n ForgettingNote) String() string {
	value := strconv.Itoa(n.Hashes) + "|0"
	if n.Early {
		value = strconv.Itoa(n.Hashes) + "|1"
	}
	if n.Recalled {
		value += "|r"
	}
	return value
}

// DecodeForgettingNote is the inverse.
func DecodeForgettingNote(value string) (ForgettingNote, error) {
	going, recalled := strings.CutSuffix(value, "|r")
	hashes, early, _ := strings.Cut(going, "|")
	n := numbers{}
	note := ForgettingNote{Hashes: int(n.parse(hashes)), Early: early == "1", Recalled: recalled}
	if n.err != nil || note.String() != value || note.Hashes > mostOrderHashes {
		return ForgettingNote{}, damaged("note of an event that is forgotten", value)
	}
	return note, nil
}

// EncodeLine is what stands on a customer's invoices of an order whose event was forgotten: the letter of its
// state, currency, amount, quantity, and when it was confirmed, in milliseconds. It is shorter than 64 bytes: a longer value would cost each
// hash that has one twice as much. As long as the event is not forgotten there is nothing: all is read from the order.
func EncodeLine(l domain.Line) string {
	return fmt.Sprintf("%c|%s|%d|%d|%d", stateLetters[l.State], l.Currency, l.Amount, l.Quantity, l.ConfirmedAtMillis)
}

// DecodeLine is the inverse, of a line that is not empty; whose it is stands in the name of the key.
func DecodeLine(customerID, value string) (domain.Line, error) {
	v, n := strings.Split(value, "|"), numbers{}
	if len(v) != 5 || len(v[0]) != 1 {
		return domain.Line{}, damaged("invoice line", value)
	}
	l := domain.Line{
		CustomerID: customerID, State: domain.OrderState(max(strings.Index(stateLetters, v[0]), 0)), Currency: v[1], //nolint:gosec // of a few letters
		Amount: n.parse(v[2]), Quantity: n.parse(v[3]), ConfirmedAtMillis: n.parse(v[4]),
	}
	if n.err != nil || EncodeLine(l) != value || l.State != domain.OrderConfirmed && l.State != domain.OrderCancelled {
		return domain.Line{}, damaged("invoice line", value)
	}
	return l, nil
}
