package domain

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"

	"holdfast/domain/seats"
)

// MaxItems is how many items an order has at most.
const MaxItems = 20

// Item is one line of an order: places of a section, at one price.
type Item struct {
	Section   string // or its places of an allocation: PoolOf
	Quantity  int64
	UnitPrice int64  // minor units, fixed at the hold; 0 of what was never held
	Places    string // of seats, where they stand (seats.FormatPlaces); empty of a counted section
	Mark      byte   // of seats of an allocation, what they are when they are free: so they are given back to it; 0 of all others
}

// Free is what the item's seats are when they are free.
func (i Item) Free() byte { return cmp.Or(i.Mark, seats.Free) }

// Amount is what the item costs, in minor units.
func (i Item) Amount() int64 { return i.Quantity * i.UnitPrice }

// Items are those of an order, as its record and its facts say them: section:quantity:unit_price, and behind that, of seats,
// :places, of an allocation with their mark before them, with commas between items, each of another section, in the order of their names. So they are copied for nothing,
// and equal if they are ==. Empty if nothing was asked for, or nothing that could be read.
type Items string

// ItemsOf are these, which are in their order.
func ItemsOf(list ...Item) Items {
	b := make([]byte, 0, 32*len(list))
	for i, item := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, item.Section...), ':')
		b = strconv.AppendInt(b, item.Quantity, 10)
		b = strconv.AppendInt(append(b, ':'), item.UnitPrice, 10)
		if item.Places != "" {
			b = append(b, ':')
			if item.Mark != 0 {
				b = append(b, item.Mark)
			}
			b = append(b, item.Places...)
		}
	}
	return Items(b)
}

// ParseItems reads what ItemsOf wrote. It reports false for anything else, and for more than can be counted.
func ParseItems(text string) (Items, bool) {
	var before string
	var amount int64
	for rest, more, n := text, text != "", 0; more; n++ {
		var one string
		one, rest, more = strings.Cut(rest, ",")
		item, ok := parseItem(one)
		if !ok || n == MaxItems || n > 0 && item.Section <= before {
			return "", false
		}
		if item.Places != "" {
			if places, err := seats.ParsePlaces(item.Places); err != nil || int64(len(places)) != item.Quantity {
				return "", false
			}
		}
		if item.UnitPrice > 0 && item.Quantity > (math.MaxInt64-amount)/item.UnitPrice {
			return "", false
		}
		before, amount = item.Section, amount+item.Amount()
	}
	return Items(text), true
}

func parseItem(text string) (item Item, ok bool) {
	section, numbers, _ := strings.Cut(text, ":")
	quantity, price, _ := strings.Cut(numbers, ":")
	price, places, seated := strings.Cut(price, ":")
	if places != "" && places[0] >= 'a' && places[0] <= 'z' {
		item.Mark, places = places[0], places[1:]
	}
	item.Section, item.Places = section, places
	var err, err2 error
	item.Quantity, err = strconv.ParseInt(quantity, 10, 64)
	item.UnitPrice, err2 = strconv.ParseInt(price, 10, 64)
	_, is := allocated(section)
	return item, err == nil && err2 == nil && item.Quantity >= 0 && item.UnitPrice >= 0 && seated == (places != "") && (item.Mark != 0) == (is && seated)
}

// All are the items one by one.
func (s Items) All() iter.Seq[Item] {
	return func(yield func(Item) bool) {
		for rest, more := string(s), s != ""; more; {
			var one string
			one, rest, more = strings.Cut(rest, ",")
			if item, _ := parseItem(one); !yield(item) {
				return
			}
		}
	}
}

// Seated reports whether any of them is of seats.
func (s Items) Seated() bool {
	for item := range s.All() {
		if item.Places != "" {
			return true
		}
	}
	return false
}

// Len is how many there are.
func (s Items) Len() int {
	if s == "" {
		return 0
	}
	return strings.Count(string(s), ",") + 1
}

// Quantity is how many places they are.
func (s Items) Quantity() (n int64) {
	for item := range s.All() {
		n += item.Quantity
	}
	return n
}

// Amount is what they cost, in minor units.
func (s Items) Amount() (n int64) {
	for item := range s.All() {
		n += item.Amount()
	}
	return n
}

// Sections are the names of their sections, with commas between them.
func (s Items) Sections() string {
	if s.Len() <= 1 {
		pool, _, _ := strings.Cut(string(s), ":")
		section, _ := SplitPool(pool)
		return section
	}
	var names []string
	for item := range s.All() {
		section, _ := SplitPool(item.Section)
		names = append(names, section)
	}
	return strings.Join(names, ",")
}

// SeatNames are the names of the seats among them, by section, as the section's layout has them; nothing of counted ones. An error of ClassPoison
// is about places where no seat is, or no layout.
func (s Items) SeatNames(layoutOf func(section string) (*seats.Layout, error)) (map[string][]string, error) {
	names := make(map[string][]string)
	for item := range s.All() {
		if item.Places == "" {
			continue
		}
		section, _ := SplitPool(item.Section)
		layout, err := layoutOf(section)
		if err == nil {
			names[section], err = layout.Names(item.Places)
		}
		if err != nil {
			return nil, WithClass(ClassPoison, fmt.Errorf("section %s: %w", item.Section, err))
		}
	}
	return names, nil
}

// UnitPrice is that of an order of one item; 0 if there are several.
func (s Items) UnitPrice() (price int64) {
	if s.Len() == 1 {
		for item := range s.All() {
			price = item.UnitPrice
		}
	}
	return price
}
