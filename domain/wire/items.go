package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"holdfast/domain"
	"holdfast/domain/seats"
)

// The field items is a JSON array of 1 to domain.MaxItems objects: {"section", "quantity"}, perhaps with "adjacent", or
// {"section", "seats"}; each perhaps with a "unit_price" and an "allocation". Here names are as exact as those of fields are: none is unknown, none
// is given twice, each item is of another section.

// encodeItems is the field.
func encodeItems(items []domain.RequestItem) string {
	type item struct {
		Section    string   `json:"section"`
		Allocation string   `json:"allocation,omitempty"`
		Quantity   *int64   `json:"quantity,omitempty"`
		Seats      []string `json:"seats,omitempty"`
		Adjacent   *bool    `json:"adjacent,omitempty"`
		UnitPrice  *int64   `json:"unit_price,omitempty"`
	}
	list := make([]item, len(items))
	for i, it := range items {
		list[i] = item{Section: it.Section, Allocation: it.Allocation, Quantity: &it.Quantity, Seats: it.Seats, UnitPrice: it.UnitPrice}
		if n := int64(len(it.Seats)); n > 0 && (it.Quantity == n || it.Quantity == 0) {
			list[i].Quantity = nil // the seats say it
		}
		if it.Apart {
			list[i].Adjacent = new(bool)
		}
	}
	return encode(list)
}

// maxSeatsLength is how long the most seats with the longest names are, in bytes.
const maxSeatsLength = domain.MaxItemSeats * (seats.MaxRowName + len("-99999,"))

// checkSeats returns the seats that are named in their canonical order, or what is wrong with them.
func checkSeats(names []string) ([]string, error) {
	if err := seats.CheckNames(names, domain.MaxItemSeats); err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// parseItems reads the field. The items are in the order of their sections, whatever order they came in.
func parseItems(text string) ([]domain.RequestItem, error) {
	if len(text) > MaxItemsLength {
		return nil, fmt.Errorf("%s: longer than %d bytes", fieldItems, MaxItemsLength)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if !begins(d, '[') {
		return nil, errItems
	}
	var items []domain.RequestItem
	for d.More() {
		if len(items) == domain.MaxItems {
			return nil, errItems
		}
		item, err := parseItem(d)
		if errors.Is(err, errNoJSON) {
			return nil, errItems
		}
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", fieldItems, len(items), err)
		}
		items = append(items, item)
	}
	if !begins(d, ']') || len(items) == 0 {
		return nil, errItems
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errItems
	}
	if err := checkItems(items); err != nil {
		return nil, err
	}
	slices.SortFunc(items, func(a, b domain.RequestItem) int {
		return strings.Compare(domain.PoolOf(a.Section, a.Allocation), domain.PoolOf(b.Section, b.Allocation))
	})
	return items, nil
}

var (
	errItems  = fmt.Errorf("%s: want a JSON array of 1 to %d objects with section, and quantity or seats", fieldItems, domain.MaxItems)
	errNoJSON = errors.New("no JSON object")
)

// checkItems: each is of another section, and what they are said to cost can be counted.
func checkItems(items []domain.RequestItem) error {
	amount := int64(0)
	for i, item := range items {
		if slices.ContainsFunc(items[:i], func(before domain.RequestItem) bool { return before.Section == item.Section }) {
			return fmt.Errorf("%s[%d]: section: is that of another item", fieldItems, i)
		}
		if price := item.UnitPrice; price != nil && *price > 0 {
			if item.Quantity > (domain.MaxAmount-amount) / *price {
				return fmt.Errorf("%s: the amount is too large to be counted exactly", fieldItems)
			}
			amount += item.Quantity * *price
		}
	}
	return nil
}

// begins reads the next token, and reports whether it is that one.
func begins(d *json.Decoder, delim json.Delim) bool {
	token, err := d.Token()
	return err == nil && token == delim
}

// parseItem reads the next object. Its errors quote nothing of it: that may be a token in the wrong place.
func parseItem(d *json.Decoder) (item domain.RequestItem, err error) {
	if !begins(d, '{') {
		return item, errNoJSON
	}
	said := make(map[string]bool, 4)
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return item, errNoJSON
		}
		if said[name] { // then it is known
			return item, fmt.Errorf("%s: given twice", name)
		}
		said[name] = true
		switch name {
		case "section":
			value, err := d.Token()
			section, ok := value.(string)
			if err != nil || !ok {
				return item, fmt.Errorf("%s: want a string", name)
			}
			if err := domain.CheckID(name, section); err != nil {
				return item, err
			}
			item.Section = section
		case "quantity":
			if item.Quantity, err = countOf(d, name, 1, domain.MaxQuantity); err != nil {
				return item, err
			}
		case "unit_price":
			price, err := countOf(d, name, 0, domain.MaxAmount)
			if err != nil {
				return item, err
			}
			item.UnitPrice = &price
		case FieldSeats:
			if item.Seats, err = seatsOf(d); err != nil {
				return item, fmt.Errorf("%s: %w", name, err)
			}
		case FieldAdjacent:
			token, err := d.Token()
			adjacent, ok := token.(bool)
			if err != nil || !ok {
				return item, fmt.Errorf("%s: want true or false", name)
			}
			item.Apart = !adjacent
		case FieldAllocation:
			value, err := d.Token()
			allocation, ok := value.(string)
			if err != nil || !ok {
				return item, fmt.Errorf("%s: want a string", name)
			}
			if item.Allocation, err = allocationOf(allocation); err != nil {
				return item, err
			}
		default:
			return item, errors.New("unknown name, want section, quantity or seats, and perhaps adjacent, allocation and unit_price")
		}
	}
	if !begins(d, '}') {
		return item, errNoJSON
	}
	switch {
	case !said["section"]:
		return item, errors.New("section: missing")
	case said[FieldSeats] && said["quantity"]:
		return item, notWith(fieldSeats, fieldQuantity)
	case said[FieldSeats] && said[FieldAdjacent]:
		return item, notWith(fieldSeats, fieldAdjacent)
	case said[FieldSeats]:
		item.Quantity = int64(len(item.Seats))
	case !said["quantity"]:
		return item, errors.New("quantity: missing")
	}
	return item, nil
}

// seatsOf reads an array of seats.
func seatsOf(d *json.Decoder) ([]string, error) {
	var names []string
	if !begins(d, '[') {
		return nil, errSeats
	}
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, errSeats
		}
		names = append(names, name)
	}
	if !begins(d, ']') {
		return nil, errSeats
	}
	return checkSeats(names)
}

var errSeats = errors.New("want an array of strings, such as A-12")

// countOf reads a whole number: a JSON number without sign, fraction or exponent.
func countOf(d *json.Decoder, name string, low, high int64) (int64, error) {
	token, err := d.Token()
	digits, ok := token.(json.Number)
	if err == nil && ok {
		n, err := strconv.ParseInt(digits.String(), 10, 64)
		if err == nil && n >= low && n <= high && strconv.FormatInt(n, 10) == digits.String() {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s: want a whole number from %d to %d", name, low, high)
}
