package inspect

import (
	"context"
	"fmt"
	"strconv"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// DeadLetter is an entry that was set aside.
type DeadLetter struct {
	ID         string            `json:"dead_id"` // partition:entry id
	Stream     string            `json:"stream"`
	Group      string            `json:"group"`
	EntryID    string            `json:"entry_id"`
	Reason     string            `json:"reason"`
	Deliveries int64             `json:"deliveries"`
	AtMillis   int64             `json:"at"`     // milliseconds
	Fields     map[string]string `json:"fields"` // the payment token redacted
}

// shown is a letter as people see it.
func shown(l layout.DeadLetter) DeadLetter {
	letter := DeadLetter{
		ID: l.ID(), Stream: l.Stream, Group: l.Group, EntryID: l.EntryID, Reason: l.Reason,
		Deliveries: l.Deliveries, AtMillis: l.AtMillis, Fields: make(map[string]string, len(l.Fields)/2),
	}
	for i := 0; i+1 < len(l.Fields); i += 2 {
		name, value := l.Fields[i], l.Fields[i+1]
		if name == wire.FieldPaymentToken {
			value = domain.Secret(value).String()
		}
		letter.Fields[name] = value
	}
	return letter
}

// parseDeadID takes "partition:id" apart.
func parseDeadID(id string, partitions int) (p int, letterID string, err error) {
	for i := range len(id) {
		if id[i] == ':' {
			p, convErr := strconv.Atoi(id[:i])
			if convErr == nil && p >= 0 && p < partitions && domain.EntryMillis(id[i+1:]) > 0 {
				return p, id[i+1:], nil
			}
		}
	}
	return 0, "", domain.WithClass(domain.ClassReject, fmt.Errorf("dead letter %q: want an id as dead list prints it, such as 0:1700000000000-0", id))
}

// EachDeadLetter calls each for every dead letter, the oldest of each partition first.
func (in *Inspector) EachDeadLetter(ctx context.Context, each func(DeadLetter) error) error {
	for p := range in.ns.Keys.Partitions() {
		after := "0-0"
		for {
			page, err := in.ns.DeadLetters(ctx, p, "("+after, "+", access.ReadPage)
			if err != nil {
				return err
			}
			for _, letter := range page {
				if err := each(shown(letter)); err != nil {
					return err
				}
				after = letter.LetterID
			}
			if len(page) < access.ReadPage {
				break
			}
		}
	}
	return nil
}

// DeadLetter reads one. Error: domain.ErrNotFound.
func (in *Inspector) DeadLetter(ctx context.Context, id string) (DeadLetter, error) {
	letter, err := in.deadLetter(ctx, id)
	if err != nil {
		return DeadLetter{}, err
	}
	return shown(letter), nil
}

func (in *Inspector) deadLetter(ctx context.Context, id string) (layout.DeadLetter, error) {
	p, letterID, err := parseDeadID(id, in.ns.Keys.Partitions())
	if err != nil {
		return layout.DeadLetter{}, err
	}
	found, err := in.ns.DeadLetters(ctx, p, letterID, letterID, 1)
	if err != nil {
		return layout.DeadLetter{}, err
	}
	if len(found) == 0 {
		return layout.DeadLetter{}, access.NotFound("dead letter", id)
	}
	return found[0], nil
}

// maxRedriveFields bounds what a script can add again in one call.
const maxRedriveFields = 1000

// Redrive gives a dead letter back to its group, to be handled as if it had just
// come (a request is a new entry, so its time in line starts again), and removes
// the letter. It returns the entry's id. Errors: domain.ErrNotFound; ClassReject
// if the entry cannot be given back; domain.ErrUnknownOutcome.
func (in *Inspector) Redrive(ctx context.Context, id string) (entryID string, err error) {
	letter, err := in.deadLetter(ctx, id)
	if err != nil {
		return "", err
	}
	source := in.ns.Keys.Log(letter.Partition)
	args := []any{letter.LetterID, letter.Group, letter.EntryID}
	if letter.Stream == layout.StreamRequests {
		if len(letter.Fields) == 0 || len(letter.Fields) > maxRedriveFields {
			return "", domain.WithClass(domain.ClassReject, fmt.Errorf("dead letter %s: %d fields, cannot be published again: discard it", id, len(letter.Fields)/2))
		}
		source = in.ns.Keys.Requests(letter.Partition)
		for _, field := range letter.Fields {
			args = append(args, field)
		}
	}
	entryID, err = in.ns.Redrive.Run(ctx, in.ns.Client, []string{source, in.ns.Keys.Dead(letter.Partition)}, args...).Text()
	switch {
	case access.IsNil(err):
		return "", domain.WithClass(domain.ClassReject, fmt.Errorf("dead letter %s: entry %s is not in the %s any more: discard it", id, letter.EntryID, letter.Stream))
	case err != nil:
		return "", fmt.Errorf("script redrive: %w", access.ClassifyChange(err))
	case entryID == "":
		return "", access.NotFound("dead letter", id)
	}
	return entryID, nil
}

// Discard removes a dead letter for good. Errors: domain.ErrNotFound, domain.ErrUnknownOutcome.
func (in *Inspector) Discard(ctx context.Context, id string) error {
	p, letterID, err := parseDeadID(id, in.ns.Keys.Partitions())
	if err != nil {
		return err
	}
	n, err := in.ns.Client.XDel(ctx, in.ns.Keys.Dead(p), letterID).Result()
	if err != nil {
		return fmt.Errorf("discarding %s: %w", id, access.ClassifyChange(err))
	}
	if n == 0 {
		return access.NotFound("dead letter", id)
	}
	return nil
}
