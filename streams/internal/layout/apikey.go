package layout

import (
	"encoding/json"
	"fmt"

	"holdfast/domain"
)

// apiKey is how a key is stored. What a later version adds, this one passes over.
type apiKey struct {
	Hash    string         `json:"hash"`
	Role    domain.APIRole `json:"role"`
	Name    string         `json:"name"`
	Events  []string       `json:"events,omitempty"`
	Created int64          `json:"created"`
	By      string         `json:"by,omitempty"`
}

// EncodeAPIKey is what is stored of a key under its id.
func EncodeAPIKey(k domain.APIKey) (string, error) {
	text, err := json.Marshal(apiKey{k.Hash, k.Role, k.Name, k.Events, k.CreatedMillis, k.By})
	if err != nil {
		return "", fmt.Errorf("api key %s: %w", k.ID, err)
	}
	return string(text), nil
}

// DecodeAPIKey is the inverse. Its error, of ClassPoison, does not repeat what is stored.
func DecodeAPIKey(id, text string) (domain.APIKey, error) {
	var k apiKey
	if json.Unmarshal([]byte(text), &k) != nil || k.Hash == "" {
		return domain.APIKey{}, domain.WithClass(domain.ClassPoison, fmt.Errorf("api key %q: what is stored of it cannot be read", id))
	}
	return domain.APIKey{ID: id, Hash: k.Hash, Role: k.Role, Name: k.Name, Events: k.Events, CreatedMillis: k.Created, By: k.By}, nil
}
