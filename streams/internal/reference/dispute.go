package reference

import "strconv"

// disputable reports whether a customer's bank can ask for the money of an order back: something was paid for it.
func (o *Order) disputable() bool { return o.Confirmed > 0 && o.Paid > 0 && o.Authorization != "" }

// Disputed is what the gateway says of a dispute: a word, how much it is about, and until when it is to be answered. fresh says that the order is as
// it was when the gateway was asked. Nothing else of the order changes by it.
func (w *World) Disputed(name Name, word string, amount, until int64, fresh bool) (happened bool, answer string) {
	o := w.Orders[name]
	if o == nil || !o.disputable() {
		return false, Done
	}
	said := Told(word, min(amount, o.Paid), until)
	switch {
	case amount <= 0 || said == o.Dispute:
		return false, Done
	case !fresh:
		return false, LookUp
	}
	o.Dispute = said
	return true, Done
}

// Told is a dispute as an order has it; empty for none.
func Told(word string, amount, until int64) string {
	if word == "" {
		return ""
	}
	return word + " " + strconv.FormatInt(amount, 10) + " " + strconv.FormatInt(until, 10)
}
