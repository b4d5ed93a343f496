package access

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/streams/internal/layout"
)

// layouts are what is known of where the seats of events are, by event and section. A layout never changes, but an event may get
// more sections: so one that is not found must be looked for. The zero value is ready.
type layouts struct {
	mu      sync.Mutex
	byEvent map[string]map[string]*seats.Layout // the inner ones do not change
	size    int
}

// mostLayouts bounds them: a seat takes some 10 bytes. Whoever sells more at once forgets, and learns again.
const mostLayouts = 20 * seats.MaxSeats

func sizeOf(of map[string]*seats.Layout) int {
	size := 100 // of what is there beside the seats
	for _, l := range of {
		size += l.Seats()
	}
	return size
}

func (l *layouts) of(eventID string) (of map[string]*seats.Layout, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of, known = l.byEvent[eventID]
	return of, known
}

func (l *layouts) learn(eventID string, of map[string]*seats.Layout) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before, known := l.byEvent[eventID]; known {
		l.size -= sizeOf(before)
	}
	if l.size += sizeOf(of); l.byEvent == nil || l.size > mostLayouts {
		l.byEvent, l.size = make(map[string]map[string]*seats.Layout), sizeOf(of)
	}
	l.byEvent[eventID] = of
}

func (l *layouts) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byEvent, l.size = nil, 0
}

// LearnLayouts looks for where the seats of an event are, and returns that by section; nothing of one that has none, or is not there.
func (n Namespace) LearnLayouts(ctx context.Context, eventID string) (map[string]*seats.Layout, error) {
	reply := n.Client.HMGet(ctx, n.Keys.Events(n.Keys.PartitionOf(eventID)), layout.AboutField(eventID))
	if err := reply.Err(); err != nil {
		return nil, fmt.Errorf("reading layouts of event %s: %w", eventID, Classify(err))
	}
	said := texts(reply)[0]
	if said == "" {
		return nil, nil
	}
	about, err := layout.DecodeEventAbout(said)
	if err != nil {
		return nil, err
	}
	of := make(map[string]*seats.Layout)
	for i, name := range about.Sections {
		if text := about.Layout(i); text != "" {
			if of[name], err = seats.Parse(text); err != nil {
				return nil, domain.WithClass(domain.ClassPoison, fmt.Errorf("event %s: layout of section %s: %w", eventID, name, err))
			}
		}
	}
	n.Hashes.layouts.learn(eventID, of)
	return of, nil
}

// Layouts are those of an event's seated sections, by section; they must not be changed. Those that are named are among them, and are
// what is stored now: the sections are compared by their tags, since the data may be other data, in which the event was listed with other rows.
// Error: domain.ErrNotFound if there is none of one that is named.
func (n Namespace) Layouts(ctx context.Context, eventID string, sections ...string) (map[string]*seats.Layout, error) {
	of, known := n.Hashes.Layouts(eventID)
	if known && len(sections) > 0 {
		fields := make([]string, len(sections))
		for i, name := range sections {
			fields[i] = layout.SectionField(eventID, name)
		}
		reply := n.Client.HMGet(ctx, n.Keys.Events(n.Keys.PartitionOf(eventID)), fields...)
		if err := reply.Err(); err != nil {
			return nil, fmt.Errorf("reading sections of event %s: %w", eventID, Classify(err))
		}
		for i, value := range texts(reply) {
			l := of[sections[i]]
			known = known && l != nil && strings.HasSuffix(value, "|"+layout.TagOf(l.String()))
		}
	}
	if !known {
		var err error
		if of, err = n.LearnLayouts(ctx, eventID); err != nil {
			return nil, err
		}
	}
	for _, name := range sections {
		if of[name] == nil {
			return nil, NotFound("layout of section", eventID+"/"+name)
		}
	}
	return of, nil
}

// SeatNames are the names of an order's seats, by section; nothing of counted ones. Errors: as Layouts, and
// ClassPoison for places where no seat is.
func (n Namespace) SeatNames(ctx context.Context, eventID string, items domain.Items) (map[string][]string, error) {
	var sections []string
	for item := range items.All() {
		if item.Places != "" {
			section, _ := domain.SplitPool(item.Section)
			sections = append(sections, section)
		}
	}
	var of map[string]*seats.Layout
	if len(sections) > 0 {
		var err error
		if of, err = n.Layouts(ctx, eventID, sections...); err != nil {
			return nil, err
		}
	}
	names, err := items.SeatNames(func(section string) (*seats.Layout, error) { return of[section], nil })
	if err != nil {
		return nil, fmt.Errorf("event %s, %w", eventID, err)
	}
	return names, nil
}
