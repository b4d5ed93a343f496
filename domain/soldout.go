package domain

// SoldOut reports whether a request that would open an order comes to nothing because, as an event is now, none is left of some places that it names.
// Of what is not on sale, or not there, it says nothing: why such an order is rejected is another reason.
func (e Event) SoldOut(r *Request, nowMillis int64) (is bool) {
	if !e.onSaleOf(r.asked(), nowMillis) {
		return false
	}
	for line := range r.Lines() {
		pool, there := e.Section(line.Section)
		if !there {
			return false
		}
		is = is || pool.Available == 0
	}
	return is
}
