package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"holdfast/domain"
)

// Managing is how keys and endpoints of webhooks are made and ended. What it answers of webhooks are the objects that the command of that
// name writes with -o json.
type Managing interface {
	AddKey(ctx context.Context, key domain.APIKey) error
	RevokeKey(ctx context.Context, id string) error
	Webhooks(ctx context.Context) ([]json.RawMessage, error)
	Webhook(ctx context.Context, id string) ([]json.RawMessage, error)
	// AddWebhook adds one in public networks only.
	AddWebhook(ctx context.Context, url string, events []string, by string) ([]json.RawMessage, error)
	RotateWebhook(ctx context.Context, id string) ([]json.RawMessage, error)
	EnableWebhook(ctx context.Context, id string) ([]json.RawMessage, error)
	DisableWebhook(ctx context.Context, id string) ([]json.RawMessage, error)
	RemoveWebhook(ctx context.Context, id string) ([]json.RawMessage, error)
	ReplayWebhook(ctx context.Context, id string, sinceMillis, untilMillis int64) ([]json.RawMessage, error)
	TestWebhook(ctx context.Context, id string) ([]json.RawMessage, error)
}

// Key is an API key, but for the key itself.
type Key struct {
	ID            string         `json:"key_id"`
	Role          domain.APIRole `json:"role" enum:"checkout,customer-view,sales,organiser,sre,admin"`
	Name          string         `json:"name" doc:"Whose it is."`
	Events        []string       `json:"events" nullable:"false" doc:"For which events it is; none: all."`
	CreatedMillis int64          `json:"created"`
	By            string         `json:"by,omitempty" doc:"Who asked for it."`
	UsedMillis    int64          `json:"used" doc:"When it was used last, to a minute or so; 0: never."`
}

// ViewKey is a key in JSON.
func ViewKey(k domain.APIKey) Key {
	events := k.Events
	if events == nil {
		events = []string{}
	}
	return Key{k.ID, k.Role, k.Name, events, k.CreatedMillis, k.By, k.UsedMillis}
}

// KeyList are keys, the oldest first.
type KeyList struct {
	Keys []Key `json:"keys" nullable:"false"`
}

// NewKeyRequest says which key is wanted. Who asked for it is the name of the key that asks.
type NewKeyRequest struct {
	Role   domain.APIRole `json:"role" enum:"checkout,customer-view,sales,organiser,sre,admin"`
	Name   string         `json:"name" minLength:"1" maxLength:"128" doc:"Whose it is. Order ids that are made of a checkout's Idempotency-Key are made of this name, too."`
	Events []string       `json:"events,omitempty" maxItems:"100" nullable:"false" doc:"For these events only. Default: for all that the key that asks is for."`
}

// MadeKey is a key that was just made.
type MadeKey struct {
	Secret string `json:"key" doc:"The key. Nobody can tell it again."`
	Key
}

// KeyPath names a key.
type KeyPath struct {
	ID string `path:"key_id" maxLength:"64" doc:"As the list of keys has it."`
}

// RevokedKey is one that is over.
type RevokedKey struct {
	ID      string `json:"key_id"`
	Revoked bool   `json:"revoked"`
}

// WebhookPath names an endpoint of webhooks.
type WebhookPath struct {
	ID string `path:"webhook_id" maxLength:"64" doc:"As the list of webhooks has it."`
}

// NewWebhookRequest says who is to be told of what. Who asked for it is the name of the key.
type NewWebhookRequest struct {
	URL    string   `json:"url" minLength:"1" maxLength:"2048" doc:"Where to send: https, in a public network. Only the command line adds others."`
	Events []string `json:"events" minItems:"1" maxItems:"50" nullable:"false" doc:"Of what it is told: order.confirmed and others."`
}

// ReplayRequest says what is to be sent once more.
type ReplayRequest struct {
	SinceMillis int64 `json:"since" minimum:"1" doc:"What happened from then on."`
	UntilMillis int64 `json:"until,omitempty" minimum:"1" doc:"Until when. Default: now."`
}

var managers = []domain.APIRole{domain.APIAdmin}

// mayKey says why the caller may not have to do with a key; nil if they may: whoever is for some events, with those that are for these.
func (p principal) mayKey(events []string) error {
	if len(p.key.Events) == 0 {
		return nil
	}
	if len(events) == 0 || slices.ContainsFunc(events, func(id string) bool { return !p.key.MayEvent(id) }) {
		return problemOf(http.StatusForbidden, domain.CodeDenied, "this key is not for all events of that one")
	}
	return nil
}

// mayAll says why the caller may not do what is about all events; nil if they may.
func (p principal) mayAll() error {
	if len(p.key.Events) > 0 {
		return problemOf(http.StatusForbidden, domain.CodeDenied, "this key is not for all events")
	}
	return nil
}

func (s *Server) registerManaging() {
	register(s, huma.Operation{
		OperationID: "keys", Method: http.MethodGet, Path: "/v1/keys", Summary: "List API keys, but for the keys themselves", Tags: []string{"keys"},
		Description: "To a key that is for some events, those that are for no others.",
	}, operators, s.listKeys)
	register(s, huma.Operation{
		OperationID: "key-create", Method: http.MethodPost, Path: "/v1/keys", Summary: "Make an API key, and tell it once", Tags: []string{"keys"}, DefaultStatus: http.StatusCreated,
		Description: "After no answer there may be a key that nobody has: the list tells, and it can be revoked.",
	}, managers, s.createKey)
	register(s, huma.Operation{
		OperationID: "key-revoke", Method: http.MethodDelete, Path: "/v1/keys/{key_id}", Summary: "End an API key", Tags: []string{"keys"},
		Description: "A second later nobody gets in with it, nor with a customer's token that it made.",
	}, managers, s.revokeKey)
	s.registerWebhooks()
}

func (s *Server) listKeys(ctx context.Context, _ *struct{}) (*struct{ Body KeyList }, error) {
	all, err := s.deps.Keys.List(ctx)
	if err != nil {
		return nil, s.problem(err)
	}
	caller, list := callerOf(ctx), KeyList{Keys: []Key{}}
	for _, k := range all {
		if caller.mayKey(k.Events) == nil {
			list.Keys = append(list.Keys, ViewKey(k))
		}
	}
	return &struct{ Body KeyList }{list}, nil
}

func (s *Server) createKey(ctx context.Context, in *struct{ Body NewKeyRequest }) (*struct {
	CacheControl string `header:"Cache-Control"`
	Body         MadeKey
}, error,
) {
	caller := callerOf(ctx)
	events := slices.Compact(slices.Sorted(slices.Values(in.Body.Events)))
	if len(events) == 0 {
		events = caller.key.Events
	}
	if err := caller.mayKey(events); err != nil {
		return nil, err
	}
	secret, key, err := NewKey(in.Body.Role, in.Body.Name, events, caller.key.Name, time.Now())
	if err != nil {
		return nil, s.problem(err)
	}
	if err := s.deps.Managing.AddKey(ctx, key); err != nil {
		return nil, s.problem(err)
	}
	s.did(ctx, "an api key was made", zap.String("key_id", key.ID), zap.String("role", string(key.Role)), zap.String("name", key.Name))
	return &struct {
		CacheControl string `header:"Cache-Control"`
		Body         MadeKey
	}{"no-store", MadeKey{secret, ViewKey(key)}}, nil
}

func (s *Server) revokeKey(ctx context.Context, in *KeyPath) (*struct{ Body RevokedKey }, error) {
	all, err := s.deps.Keys.List(ctx)
	if err != nil {
		return nil, s.problem(err)
	}
	i := slices.IndexFunc(all, func(k domain.APIKey) bool { return k.ID == in.ID })
	if i < 0 || callerOf(ctx).mayKey(all[i].Events) != nil {
		return nil, problemOf(http.StatusNotFound, domain.CodeNotFound, "there is no such key, or not any more")
	}
	if err := s.deps.Managing.RevokeKey(ctx, in.ID); err != nil {
		return nil, s.problem(err)
	}
	s.did(ctx, "an api key was revoked", zap.String("key_id", in.ID), zap.String("role", string(all[i].Role)), zap.String("name", all[i].Name))
	return &struct{ Body RevokedKey }{RevokedKey{in.ID, true}}, nil
}

// did logs what a person has changed of which no fact tells.
func (s *Server) did(ctx context.Context, what string, about ...zap.Field) {
	s.options.Log.Info(what, append(about, zap.String("by", callerOf(ctx).key.Name))...)
}

func (s *Server) registerWebhooks() {
	m := s.deps.Managing
	// add is an endpoint of the API that is for whoever is for all events.
	add := func(op huma.Operation, roles []domain.APIRole, command string) (huma.Operation, []domain.APIRole) {
		op.Tags = []string{"webhooks"}
		op.Description = strings.TrimSpace(op.Description + " The objects are those of holdfast webhooks " + command + " -o json. For keys that are for all events.")
		return op, roles
	}
	op, roles := add(huma.Operation{
		OperationID: "webhooks", Method: http.MethodGet, Path: "/v1/webhooks", Summary: "Who is told of orders, and whether they listen",
	}, operators, "list")
	registerOfAll(s, op, roles, func(ctx context.Context, _ *struct{}) (*objectsOutput, error) {
		return s.objects(m.Webhooks(ctx))
	})
	op, roles = add(huma.Operation{
		OperationID: "webhook-add", Method: http.MethodPost, Path: "/v1/webhooks", Summary: "Have somebody be told of orders", DefaultStatus: http.StatusCreated,
		Description: "secret of the answer signs the messages: nobody can tell it again.",
	}, managers, "add")
	register(s, op, roles, func(ctx context.Context, in *struct{ Body NewWebhookRequest }) (*secretOutput, error) {
		caller := callerOf(ctx)
		if err := caller.mayAll(); err != nil {
			return nil, err
		}
		for _, name := range in.Body.Events {
			if _, known := domain.ParseWebhookType(name); !known {
				return nil, errWebhookTypes
			}
		}
		made, err := m.AddWebhook(ctx, in.Body.URL, in.Body.Events, caller.key.Name)
		if err == nil {
			s.did(ctx, "a webhook was added", zap.String("webhook_id", named(made)))
		}
		return s.secret(made, err)
	})
	op, roles = add(huma.Operation{
		OperationID: "webhook", Method: http.MethodGet, Path: "/v1/webhooks/{webhook_id}", Summary: "Show an endpoint, and how it was tried lately",
	}, operators, "show")
	registerOfAll(s, op, roles, func(ctx context.Context, in *WebhookPath) (*objectsOutput, error) {
		return s.objects(m.Webhook(ctx, in.ID))
	})
	op, roles = add(huma.Operation{
		OperationID: "webhook-rotate", Method: http.MethodPost, Path: "/v1/webhooks/{webhook_id}/rotate", Summary: "Give an endpoint another secret",
		Description: "secret of the answer is told once; for a day messages are signed with the one before, too.",
	}, managers, "rotate")
	registerOfAll(s, op, roles, func(ctx context.Context, in *WebhookPath) (*secretOutput, error) {
		made, err := m.RotateWebhook(ctx, in.ID)
		if err == nil {
			s.did(ctx, "a webhook has another secret", zap.String("webhook_id", in.ID))
		}
		return s.secret(made, err)
	})
	for _, act := range []struct {
		id, method, path, summary, command, done string
		roles                                    []domain.APIRole
		do                                       func(context.Context, string) ([]json.RawMessage, error)
	}{
		{"webhook-enable", http.MethodPost, "/enable", "Send to an endpoint again, from where it was left", "enable", "a webhook was enabled", operators, func(ctx context.Context, id string) ([]json.RawMessage, error) {
			return m.EnableWebhook(ctx, id)
		}},
		{"webhook-disable", http.MethodPost, "/disable", "Send nothing more to an endpoint until it is enabled", "disable", "a webhook was disabled", operators, func(ctx context.Context, id string) ([]json.RawMessage, error) {
			return m.DisableWebhook(ctx, id)
		}},
		{"webhook-remove", http.MethodDelete, "", "End an endpoint, and forget what waits for it", "remove", "a webhook was removed", managers, func(ctx context.Context, id string) ([]json.RawMessage, error) {
			return m.RemoveWebhook(ctx, id)
		}},
		{"webhook-test", http.MethodPost, "/test", "Send a message that is about nothing, from here and now", "test", "a webhook was tested", operators, func(ctx context.Context, id string) ([]json.RawMessage, error) {
			return m.TestWebhook(ctx, id)
		}},
	} {
		op, roles := add(huma.Operation{OperationID: act.id, Method: act.method, Path: "/v1/webhooks/{webhook_id}" + act.path, Summary: act.summary}, act.roles, act.command)
		register(s, op, roles, func(ctx context.Context, in *WebhookPath) (*objectsOutput, error) {
			if err := callerOf(ctx).mayAll(); err != nil {
				return nil, err
			}
			done, err := act.do(ctx, in.ID)
			if err == nil {
				s.did(ctx, act.done, zap.String("webhook_id", in.ID))
			}
			return s.objects(done, err)
		})
	}
	op, roles = add(huma.Operation{
		OperationID: "webhook-replay", Method: http.MethodPost, Path: "/v1/webhooks/{webhook_id}/replay", Summary: "Send once more what happened since a time",
		Description: "With the ids that the messages had: a receiver that has one passes over it.",
	}, operators, "replay")
	registerOfAll(s, op, roles, func(ctx context.Context, in *struct {
		WebhookPath
		Body ReplayRequest
	},
	) (*objectsOutput, error) {
		done, err := m.ReplayWebhook(ctx, in.ID, in.Body.SinceMillis, in.Body.UntilMillis)
		if err == nil {
			s.did(ctx, "a webhook is sent once more what it was sent", zap.String("webhook_id", in.ID), zap.Int64("since", in.Body.SinceMillis), zap.Int64("until", in.Body.UntilMillis))
		}
		return s.objects(done, err)
	})
}

// errWebhookTypes says of what an endpoint can be told.
var errWebhookTypes = func() *Problem {
	names := make([]string, len(domain.WebhookTypes))
	for i, t := range domain.WebhookTypes {
		names[i] = domain.WebhookType(t)
	}
	return problemOf(http.StatusUnprocessableEntity, domain.CodeInvalid, "events: want some of "+strings.Join(names, ", "))
}()

// secretOutput is an answer that nobody may keep.
type secretOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         Objects
}

func (s *Server) secret(list []json.RawMessage, err error) (*secretOutput, error) {
	out, err := s.objects(list, err)
	if err != nil {
		return nil, err
	}
	return &secretOutput{"no-store", out.Body}, nil
}

// named is the id of the endpoint that was made.
func named(made []json.RawMessage) string {
	var view struct {
		ID string `json:"webhook_id"`
	}
	if len(made) != 1 || json.Unmarshal(made[0], &view) != nil {
		return ""
	}
	return view.ID
}
