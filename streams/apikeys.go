package streams

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// APIKeys are the keys with which others use a namespace over HTTP. Of a key itself only a hash is stored.
type APIKeys struct{ store *Store }

// APIKeys hands them out.
func (s *Store) APIKeys() *APIKeys { return &APIKeys{s} }

// Add stores a key. Errors: ClassReject if it is not well-formed, or if there are as many as may be; domain.ErrConflict if there is one
// of that id.
func (k *APIKeys) Add(ctx context.Context, key domain.APIKey) error {
	if err := key.Validate(); err != nil {
		return err
	}
	text, err := layout.EncodeAPIKey(key)
	if err != nil {
		return err
	}
	n, err := k.store.rdb.HLen(ctx, k.store.keys.APIKeys()).Result()
	if err != nil {
		return fmt.Errorf("counting api keys: %w", access.Classify(err))
	}
	if n >= domain.MaxAPIKeys {
		return domain.WithCode(domain.ClassReject, domain.CodeInvalid, fmt.Errorf("there are %d api keys, and may not be more: revoke some", n))
	}
	added, err := k.store.rdb.HSetNX(ctx, k.store.keys.APIKeys(), key.ID, text).Result()
	if err != nil {
		return fmt.Errorf("storing an api key: %w", access.ClassifyChange(err))
	}
	if !added {
		return domain.WithClass(domain.ClassReject, fmt.Errorf("api key %s: %w: there is one", key.ID, domain.ErrConflict))
	}
	return nil
}

// List returns all keys, the oldest first.
func (k *APIKeys) List(ctx context.Context) ([]domain.APIKey, error) {
	pipe := k.store.rdb.Pipeline()
	stored, used := pipe.HGetAll(ctx, k.store.keys.APIKeys()), pipe.HGetAll(ctx, k.store.keys.APIKeysUsed())
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("reading api keys: %w", access.Classify(err))
	}
	keys := make([]domain.APIKey, 0, len(stored.Val()))
	for id, text := range stored.Val() {
		key, err := layout.DecodeAPIKey(id, text)
		if err != nil {
			return nil, err
		}
		if millis, err := strconv.ParseInt(used.Val()[id], 10, 64); err == nil {
			key.UsedMillis = millis
		}
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b domain.APIKey) int {
		return cmp.Or(cmp.Compare(a.CreatedMillis, b.CreatedMillis), cmp.Compare(a.ID, b.ID))
	})
	return keys, nil
}

// Revoke removes a key for good: nobody gets in with it a second later. Error: domain.ErrNotFound.
func (k *APIKeys) Revoke(ctx context.Context, id string) error {
	removed, err := k.store.rdb.HDel(ctx, k.store.keys.APIKeys(), id).Result()
	if err != nil {
		return fmt.Errorf("revoking api key %q: %w", id, access.ClassifyChange(err))
	}
	if removed == 0 {
		return domain.WithClass(domain.ClassReject, fmt.Errorf("api key %q: %w", id, domain.ErrNotFound))
	}
	if err := k.store.rdb.HDel(ctx, k.store.keys.APIKeysUsed(), id).Err(); err != nil {
		return fmt.Errorf("api key %q is revoked; forgetting when it was used: %w", id, access.ClassifyChange(err))
	}
	return nil
}

// Used notes when keys were used last.
func (k *APIKeys) Used(ctx context.Context, millis map[string]int64) error {
	values := make([]any, 0, 2*len(millis))
	for id, at := range millis {
		values = append(values, id, at)
	}
	if err := k.store.rdb.HSet(ctx, k.store.keys.APIKeysUsed(), values...).Err(); err != nil {
		return fmt.Errorf("noting that api keys were used: %w", access.ClassifyChange(err))
	}
	return nil
}
