package layout

import "holdfast/domain"

// DecodeEntries reads [[id, [field, value, …]], …]; where a third value follows, it is the
// number of deliveries. An entry whose payload is gone has nil fields.
func DecodeEntries(reply any) []domain.Entry {
	list, _ := reply.([]any)
	entries := make([]domain.Entry, 0, len(list))
	for _, item := range list {
		pair, _ := item.([]any)
		if len(pair) < 2 {
			continue
		}
		e := domain.Entry{ID: AsString(pair[0])}
		if len(pair) > 2 {
			e.Deliveries = AsInt(pair[2])
		}
		if values, ok := pair[1].([]any); ok {
			e.Fields = make([]string, len(values))
			for i, v := range values {
				e.Fields[i] = AsString(v)
			}
		}
		entries = append(entries, e)
	}
	return entries
}
