package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// maxParked bounds the parked requests of an event: at some 500 bytes each no key of them is too large to be moved.
const maxParked = 100_000

// Pause has workers take no more requests: of one event, which they park until Resume, or, with an empty event_id, none at all. They
// know of it within a second or so; what they have in hand they finish. With extend, no hold of what is paused ends before so long from now.
// Who asks for it, and why, is kept with it; both must be given.
//
// What is paused already stays so since when it was, and its holds may only be extended further: fresh is false then. A crash, or a lost reply, leaves
// it paused or not; again is harmless.
//
// Errors: of ClassReject for a bad cause or event_id, or if a hundred are paused already. Whether there is such an event is not looked at.
func (s *Store) Pause(ctx context.Context, eventID string, extend time.Duration, cause domain.Cause) (p domain.Pause, fresh bool, err error) {
	field, err := pauseField(eventID, cause)
	if err != nil {
		return p, false, err
	}
	said, err := jsonFields(map[string]string{"event_id": eventID, "reason": cause.Reason, "by": cause.By})
	if err != nil {
		return p, false, err
	}
	reply, err := s.run(ctx, scriptPause, []string{s.keys.Pauses()}, field, said, extend.Milliseconds()).Result()
	if err != nil {
		return p, false, fmt.Errorf("script pause: %w", access.ClassifyChange(err))
	}
	values, ok := reply.([]any)
	if !ok { // 'many'
		return p, false, domain.WithCode(domain.ClassReject, domain.CodeConflict, errors.New("as much is paused as can be: resume something, or pause everything"))
	}
	if len(values) != 2 {
		return p, false, errors.New("script pause: a reply of an unknown form")
	}
	p, err = access.DecodePause(layout.AsString(values[1]))
	return p, layout.AsInt(values[0]) == 1, err
}

// Resume ends a pause: workers take requests again, and those that were parked are put back in line, by whoever does maintenance. It
// returns what was paused.
//
// Errors: domain.ErrNotFound if that is not paused; as Pause has them. A lost reply may mean that it was ended: again says ErrNotFound.
func (s *Store) Resume(ctx context.Context, eventID string, cause domain.Cause) (p domain.Pause, err error) {
	field, err := pauseField(eventID, cause)
	if err != nil {
		return p, err
	}
	said, err := jsonFields(map[string]string{"ended_reason": cause.Reason, "ended_by": cause.By})
	if err != nil {
		return p, err
	}
	value, err := s.run(ctx, scriptResume, []string{s.keys.Pauses()}, field, said).Text()
	if err != nil {
		return p, fmt.Errorf("script resume: %w", access.ClassifyChange(err))
	}
	if value == "" {
		return p, access.NotFound("pause of", eventOrEverything(eventID))
	}
	return access.DecodePause(value)
}

func eventOrEverything(eventID string) string {
	if eventID == "" {
		return "everything"
	}
	return "event " + eventID
}

// pauseField checks what a pause is of, and because of what; and returns its field.
func pauseField(eventID string, cause domain.Cause) (string, error) {
	if err := cause.Validate(); err != nil {
		return "", err
	}
	switch {
	case cause.Reason == "" || cause.By == "":
		return "", domain.WithCode(domain.ClassReject, domain.CodeInvalid, errors.New("reason, by: want both"))
	case eventID == "":
		return "everything", nil
	case !domain.ValidID(eventID):
		return "", domain.WithCode(domain.ClassReject, domain.CodeInvalid, fmt.Errorf("event_id: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength))
	}
	return "event/" + eventID, nil
}

// jsonFields are those of an object, without its braces.
func jsonFields(of map[string]string) (string, error) {
	said, err := json.Marshal(of)
	if err != nil {
		return "", fmt.Errorf("noting why: %w", err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(said), "{"), "}"), nil
}

// Pauses implements domain.Ledger.
func (l *Ledger) Pauses(ctx context.Context) (domain.Pauses, error) {
	return l.store.Inside().Pauses(ctx)
}

// Park implements domain.Ledger.
func (l *Ledger) Park(ctx context.Context, p int, eventID string, entryIDs []string) (left []string, err error) {
	k := l.store.keys
	for first := 0; first < len(entryIDs); first += access.MaxBatch {
		args := appendStrings([]any{string(domain.GroupWorkers), eventID, maxParked}, entryIDs[first:min(first+access.MaxBatch, len(entryIDs))])
		some, err := l.store.run(ctx, scriptPark, []string{k.Requests(p), k.ParkedOf(p, eventID), k.Parked(p)}, args...).StringSlice()
		if err != nil {
			return nil, fmt.Errorf("script park: %w", access.Classify(err))
		}
		left = append(left, some...)
	}
	return left, nil
}

// Parked implements domain.Ledger.
func (l *Ledger) Parked(ctx context.Context, p int) ([]string, error) {
	events, err := l.store.rdb.HKeys(ctx, l.store.keys.Parked(p)).Result()
	if err != nil {
		return nil, fmt.Errorf("looking for parked requests: %w", access.Classify(err))
	}
	return events, nil
}

// Unpark implements domain.Ledger.
func (l *Ledger) Unpark(ctx context.Context, p int, eventID string, most int) (n, left int64, err error) {
	k := l.store.keys
	reply, err := l.store.run(ctx, scriptUnpark, []string{k.Requests(p), k.ParkedOf(p, eventID), k.Parked(p)}, eventID, min(most, access.MaxBatch)).Slice()
	switch {
	case err != nil:
		return 0, 0, fmt.Errorf("script unpark: %w", access.Classify(err))
	case len(reply) < 2:
		return 0, 0, domain.WithClass(domain.ClassRetry, errors.New("script unpark: a reply of an unknown form"))
	case layout.AsInt(reply[0]) < 0:
		return 0, 0, l.store.heal(ctx) // makes the stream again; the next call goes on
	}
	for _, millis := range reply[2:] { // what it says may be anybody's secret
		l.store.log.Error("removed a parked request that cannot be read", zap.String("event", eventID), zap.Int("partition", p), zap.String("published_millis", layout.AsString(millis)))
	}
	return layout.AsInt(reply[0]), layout.AsInt(reply[1]), nil
}
