package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/streams/internal/access"
)

// Trouble is something that a worker cannot mend, as it said itself (domain.Trouble).
type Trouble struct {
	Worker      string `json:"worker"`
	What        string `json:"what"` // what it is about
	Code        string `json:"code"`
	Text        string `json:"text"`     // for people
	SinceMillis int64  `json:"since_ms"` // milliseconds since 1970, on Redis's clock
	SeenMillis  int64  `json:"seen_ms"`  // when the worker said it last
}

// troubleLasts is how long a trouble counts after its worker said it last.
const troubleLasts = time.Minute

// Troubles are those that last, of all workers, by what they are about, the oldest first.
func (in *Inspector) Troubles(ctx context.Context) ([]Trouble, error) {
	pipe := in.ns.Client.Pipeline()
	all, now := pipe.HGetAll(ctx, in.ns.Keys.Troubles()), pipe.Time(ctx)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("reading troubles: %w", access.Classify(err))
	}
	return troubles(all.Val(), now.Val().Add(-troubleLasts).UnixMilli()), nil
}

// troubles passes over what was seen last before a time, and what cannot be read: nobody
// depends on it.
func troubles(all map[string]string, seenSinceMillis int64) []Trouble {
	var list []Trouble
	for field, value := range all {
		var t Trouble
		if err := json.Unmarshal([]byte(value), &t); err != nil || t.SeenMillis < seenSinceMillis {
			continue
		}
		t.Worker, t.What, _ = strings.Cut(field, "/")
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b Trouble) int {
		return cmp.Or(strings.Compare(a.What, b.What), cmp.Compare(a.SinceMillis, b.SinceMillis), strings.Compare(a.Worker, b.Worker))
	})
	return list
}
