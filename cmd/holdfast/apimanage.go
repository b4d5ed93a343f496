package main

import (
	"context"
	"encoding/json"

	"holdfast/domain"
)

// apiManaging is how keys and webhooks are managed, as the API knows it.
type apiManaging struct{ as apiOperating }

func (m apiManaging) AddKey(ctx context.Context, key domain.APIKey) error {
	return m.as.store.APIKeys().Add(ctx, key)
}

func (m apiManaging) RevokeKey(ctx context.Context, id string) error {
	return m.as.store.APIKeys().Revoke(ctx, id)
}

func (m apiManaging) Webhooks(ctx context.Context) ([]json.RawMessage, error) {
	return m.as.look(ctx, &webhooksListCommand{})
}

func (m apiManaging) Webhook(ctx context.Context, id string) ([]json.RawMessage, error) {
	return m.as.look(ctx, &webhooksShowCommand{webhookArg{id}})
}

func (m apiManaging) AddWebhook(ctx context.Context, url string, events []string, by string) ([]json.RawMessage, error) {
	made, err := m.as.look(ctx, &webhooksAddCommand{URL: url, Events: events, By: by})
	return made, asInvalid(err)
}

func (m apiManaging) RotateWebhook(ctx context.Context, id string) ([]json.RawMessage, error) {
	return m.as.look(ctx, &webhooksRotateCommand{webhookArg{id}})
}

func (m apiManaging) EnableWebhook(ctx context.Context, id string) ([]json.RawMessage, error) {
	return m.as.look(ctx, &webhooksEnableCommand{webhookArg{id}})
}

func (m apiManaging) DisableWebhook(ctx context.Context, id string) ([]json.RawMessage, error) {
	return m.as.look(ctx, &webhooksDisableCommand{webhookArg{id}})
}

func (m apiManaging) RemoveWebhook(ctx context.Context, id string) ([]json.RawMessage, error) {
	return m.as.look(ctx, &webhooksRemoveCommand{webhookArg{id}})
}

func (m apiManaging) ReplayWebhook(ctx context.Context, id string, sinceMillis, untilMillis int64) ([]json.RawMessage, error) {
	done, err := m.as.look(ctx, &webhooksReplayCommand{webhookArg{id}, sinceFlag{millis: sinceMillis}, sinceFlag{millis: untilMillis}})
	return done, asInvalid(err)
}

// TestWebhook tells how the endpoint answered, also if that was no.
func (m apiManaging) TestWebhook(ctx context.Context, id string) ([]json.RawMessage, error) {
	said, err := m.as.look(ctx, &webhooksTestCommand{webhookArg{id}, apiPatience})
	if len(said) > 0 {
		err = nil
	}
	return said, err
}
