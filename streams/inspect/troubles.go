package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// Trouble is something that does not work, as a worker says it.
type Trouble struct {
	Worker      string      `json:"worker"`
	Code        domain.Code `json:"code"`
	Text        string      `json:"text"`
	SinceMillis int64       `json:"since_ms"`
	SeenMillis  int64       `json:"seen_ms"`
}

// troubleLasts is after how long what no worker repeats is over: its worker died with it.
const troubleLasts = time.Minute

// Troubles are those that workers have now, by worker.
func (in *Inspector) Troubles(ctx context.Context, nowMillis int64) ([]Trouble, error) {
	h, err := in.ns.Client.HGetAll(ctx, in.ns.Keys.Troubles()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the troubles of workers: %w", access.Classify(err))
	}
	var troubles []Trouble
	for field, value := range h {
		var t Trouble
		if json.Unmarshal([]byte(value), &t) != nil || nowMillis-t.SeenMillis > troubleLasts.Milliseconds() {
			continue // of another version; or over
		}
		t.Worker, _, _ = strings.Cut(field, "/")
		troubles = append(troubles, t)
	}
	slices.SortFunc(troubles, func(a, b Trouble) int {
		return strings.Compare(a.Worker+"/"+string(a.Code), b.Worker+"/"+string(b.Code))
	})
	return troubles, nil
}
