package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
	"holdfast/webhooks"
	"holdfast/workers"
)

type webhooksCommand struct {
	Add     webhooksAddCommand     `cmd:"" help:"Add an endpoint, and print its secret: nobody can tell it again."`
	List    webhooksListCommand    `cmd:"" help:"List endpoints: whether they are sent anything, and what waits."`
	Show    webhooksShowCommand    `cmd:"" help:"Show an endpoint, and how it was tried lately."`
	Rotate  webhooksRotateCommand  `cmd:"" help:"Give an endpoint another secret, and print it. For a day messages are signed with the one before, too."`
	Enable  webhooksEnableCommand  `cmd:"" help:"Send to an endpoint again, from where it was left."`
	Disable webhooksDisableCommand `cmd:"" help:"Send nothing more to an endpoint until it is enabled."`
	Remove  webhooksRemoveCommand  `cmd:"" help:"End an endpoint, and forget what waits for it."`
	Replay  webhooksReplayCommand  `cmd:"" help:"Send once more what happened since a time."`
	Test    webhooksTestCommand    `cmd:"" help:"Send a message that is about nothing, from here and now, and print the answer."`
}

// webhookSender is what tells others of orders, nil if that is no role of the worker. What was trimmed of the log it reads where that is archived, if it is told.
func webhookSender(cfg workers.Config, store *streams.Store, archived domain.ArchivedEntries, log *zap.Logger) workers.Webhooks {
	if !slices.Contains(cfg.Roles, workers.RoleWebhooks) {
		return nil
	}
	checkout := store.Checkout()
	return webhooks.NewSender(webhooks.Config{}, webhooks.Deps{
		Queues: store.Webhooks().With(archived), Orders: checkout.Orders, Now: store.Now, Partitions: store.Partitions(), Name: cfg.Name, Log: log.With(zap.String("worker", cfg.Name)),
		View: func(ctx context.Context, ref domain.OrderRef, o domain.Order) (any, error) {
			return viewOrderOf(ctx, checkout, ref, o)
		},
	})
}

// webhookArg names an endpoint.
type webhookArg struct {
	ID string `arg:"" name:"webhook_id" help:"As webhooks list shows it."`
}

type webhooksAddCommand struct {
	URL          string   `arg:"" name:"url" help:"Where to send: https."`
	Events       []string `required:"" placeholder:"TYPE" help:"Of what it is told, with commas between: ${webhook_types}."`
	AllowPrivate bool     `help:"It may be in a private network or on this machine, and http."`
	By           string   `env:"USER" placeholder:"NAME" help:"Who asks for it, for people. Default: who you are."`
}

// Help is shown by --help.
func (c *webhooksAddCommand) Help() string {
	return `
  holdfast webhooks add https://shop.example/hooks --events order.confirmed,order.cancelled

Messages are sent by a worker that has the role webhooks, each signed with the secret (Standard Webhooks). What happens from now on
is sent, at least once and, order by order, in order. What a receiver must do: docs/operations.md.
`
}

// webhookTypes lists what an endpoint can be told.
func webhookTypes() string {
	var names []string
	for _, t := range domain.WebhookTypes {
		names = append(names, domain.WebhookType(t))
	}
	return strings.Join(names, ", ")
}

// webhookView is an endpoint in JSON.
type webhookView struct {
	ID           string              `json:"webhook_id"`
	URL          string              `json:"url"`
	Events       []string            `json:"events"`
	AllowPrivate bool                `json:"allow_private"`
	State        domain.WebhookState `json:"state"`
	Why          string              `json:"why"`       // given up: gone, failing, full or lost
	SinceMillis  int64               `json:"since"`     // of the state
	AddedMillis  int64               `json:"added"`     // milliseconds
	Waiting      int64               `json:"waiting"`   // messages
	CopiedMillis int64               `json:"copied_to"` // up to when the log was looked through for it, in all partitions; 0: not yet
	By           string              `json:"by,omitempty"`
}

func viewWebhook(w inspect.WebhookStatus) webhookView {
	v := webhookView{
		ID: w.ID, URL: w.URL, AllowPrivate: w.AllowPrivate, State: w.State, Why: w.Why, SinceMillis: w.SinceMillis, AddedMillis: w.FromMillis, Waiting: w.Waiting,
		CopiedMillis: w.CopiedMillis, By: w.By,
	}
	for _, t := range w.Types {
		v.Events = append(v.Events, domain.WebhookType(t))
	}
	return v
}

// state says also why.
func (v webhookView) state() string {
	if v.Why != "" {
		return string(v.State) + ": " + v.Why
	}
	return string(v.State)
}

// withSecret is an endpoint whose secret is told.
type withSecret struct {
	Secret      string `json:"secret"`
	UntilMillis int64  `json:"previous_until,omitempty"` // until when messages are signed with the one before, too
	webhookView
}

func (c *webhooksAddCommand) Run(ctx context.Context, e *environment) error {
	if err := webhooks.CheckURL(c.URL, c.AllowPrivate); err != nil {
		return &usageError{err}
	}
	hook := domain.Webhook{ID: webhooks.NewID(), URL: c.URL, AllowPrivate: c.AllowPrivate, State: domain.WebhookEnabled}
	for _, name := range c.Events {
		t, ok := domain.ParseWebhookType(name)
		if !ok {
			return badUsage("--events: there is no %q: want some of %s", name, webhookTypes())
		}
		if !slices.Contains(hook.Types, t) {
			hook.Types = append(hook.Types, t)
		}
	}
	cause, err := causeFlags{By: c.By}.cause()
	if err != nil {
		return err
	}
	hook.By = cause.By
	return e.withStore(ctx, func(store *streams.Store) error {
		now, err := store.Now(ctx)
		if err != nil {
			return err
		}
		hook.SinceMillis, hook.FromMillis = now.UnixMilli(), now.UnixMilli()
		secret := webhooks.NewSecret()
		if err := store.Webhooks().Add(ctx, hook, domain.WebhookSecrets{Current: secret}); err != nil {
			return err
		}
		out, text := e.printer(), webhooks.SecretText(secret)
		out.sheet(withSecret{Secret: text, webhookView: viewWebhook(inspect.WebhookStatus{Webhook: hook})}, "webhook_id", hook.ID, "secret", text)
		return out.flush()
	})
}

// webhooksNow are the endpoints as they are.
func webhooksNow(ctx context.Context, store *streams.Store) ([]inspect.WebhookStatus, error) {
	now, err := store.Now(ctx)
	if err != nil {
		return nil, err
	}
	return inspect.New(store).Webhooks(ctx, now.UnixMilli())
}

type webhooksListCommand struct{}

func (c *webhooksListCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		hooks, err := webhooksNow(ctx, store)
		if err != nil {
			return err
		}
		out := e.printer("webhook_id", "url", "events", "state", "since", "waiting", "copied_to", "by")
		for _, w := range hooks {
			v := viewWebhook(w)
			out.row(v, v.ID, v.URL, strings.Join(v.Events, ","), v.state(), when(v.SinceMillis), count(v.Waiting), when(v.CopiedMillis), v.By)
		}
		return out.end(nil)
	})
}

type webhooksShowCommand struct{ webhookArg }

// tryView is how a message was tried.
type tryView struct {
	AtMillis   int64  `json:"at"`
	Fact       string `json:"fact"`
	Type       string `json:"type"`
	EventID    string `json:"event_id"`
	OrderID    string `json:"order_id"`
	Attempt    int64  `json:"attempt"`
	Status     int    `json:"status"` // of HTTP; 0: there was no answer
	Taken      bool   `json:"taken"`
	Why        string `json:"why"` // it was not
	TookMillis int64  `json:"took_ms"`
}

func viewTry(t domain.WebhookTry) tryView {
	v := tryView{t.AtMillis, t.Fact, domain.WebhookType(t.Type), t.Ref.EventID, t.Ref.OrderID, t.Attempt, t.Status, t.Why == "" && t.Status != 0, t.Why, t.TookMillis}
	if v.Why == "" && !v.Taken {
		v.Why = "not sent: nothing is known of the order any more"
	}
	return v
}

func (c *webhooksShowCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		hooks, err := webhooksNow(ctx, store)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(hooks, func(w inspect.WebhookStatus) bool { return w.ID == c.ID })
		if i < 0 {
			return domain.WithClass(domain.ClassReject, fmt.Errorf("webhook %q: %w", c.ID, domain.ErrNotFound))
		}
		tries, err := store.Webhooks().Tries(ctx, c.ID)
		if err != nil {
			return err
		}
		v, all := viewWebhook(hooks[i]), []tryView{}
		for _, t := range tries {
			all = append(all, viewTry(t))
		}
		out := e.printer()
		out.sheet(struct {
			webhookView
			Tries []tryView `json:"tries"` // the newest first
		}{v, all}, "webhook_id", v.ID, "url", v.URL, "events", strings.Join(v.Events, ","), "state", v.state(), "since", when(v.SinceMillis), "added", when(v.AddedMillis),
			"waiting", count(v.Waiting), "copied_to", when(v.CopiedMillis), "by", v.By)
		if out.section("at", "type", "order", "attempt", "status", "took", "why") {
			for _, t := range all {
				out.row(t, whenExactly(t.AtMillis), t.Type, t.EventID+"/"+t.OrderID, count(t.Attempt), fmt.Sprint(t.Status), fmt.Sprintf("%d ms", t.TookMillis), t.Why)
			}
		}
		return out.flush()
	})
}

type webhooksRotateCommand struct{ webhookArg }

func (c *webhooksRotateCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		hook, err := store.Webhooks().Webhook(ctx, c.ID) // before: nothing may fail between the change and telling it
		if err != nil {
			return err
		}
		secret := webhooks.NewSecret()
		is, err := store.Webhooks().Rotate(ctx, c.ID, secret)
		out, text := e.printer(), webhooks.SecretText(secret)
		switch {
		case errors.Is(err, domain.ErrUnknownOutcome):
			return fmt.Errorf("%w: messages may be signed with %s, and with the secret before it for a day: have the receiver take both, and do not rotate it again before that", err, text)
		case err != nil:
			return err
		}
		out.sheet(withSecret{text, is.PreviousUntilMillis, viewWebhook(inspect.WebhookStatus{Webhook: hook})},
			"webhook_id", c.ID, "secret", text, "previous_until", when(is.PreviousUntilMillis))
		return out.flush()
	})
}

type webhooksEnableCommand struct{ webhookArg }

func (c *webhooksEnableCommand) Run(ctx context.Context, e *environment) error {
	return c.act(ctx, e, "enabled", func(w *streams.Webhooks) error { return w.Enable(ctx, c.ID) })
}

type webhooksDisableCommand struct{ webhookArg }

func (c *webhooksDisableCommand) Run(ctx context.Context, e *environment) error {
	return c.act(ctx, e, "disabled", func(w *streams.Webhooks) error { return w.Disable(ctx, c.ID) })
}

type webhooksRemoveCommand struct{ webhookArg }

func (c *webhooksRemoveCommand) Run(ctx context.Context, e *environment) error {
	return c.act(ctx, e, "removed", func(w *streams.Webhooks) error { return w.Remove(ctx, c.ID) })
}

// act does something to the endpoint, and says that it is done.
func (c webhookArg) act(ctx context.Context, e *environment, done string, do func(*streams.Webhooks) error) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		if err := do(store.Webhooks()); err != nil {
			return err
		}
		out := e.printer()
		out.row(struct {
			ID   string `json:"webhook_id"`
			Done string `json:"done"`
		}{c.ID, done}, fmt.Sprintf("webhook %s is %s", c.ID, done))
		return out.end(nil)
	})
}

type webhooksReplayCommand struct {
	webhookArg
	Since sinceFlag `required:"" placeholder:"TIME|DURATION" help:"From when on, or since how long: 2h, or a time as events create takes it."`
	Until sinceFlag `placeholder:"TIME|DURATION" help:"Until when. Default: now."`
}

// Help is shown by --help.
func (c *webhooksReplayCommand) Help() string {
	return `
Messages come with the webhook-id that they had, so a receiver that has one already passes over it. They come beside what is new, with the orders as they
are now. It is done by whoever sends, if the endpoint is enabled.
`
}

func (c *webhooksReplayCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		since, err := c.Since.on(ctx, store)
		if err != nil {
			return err
		}
		until, err := c.Until.on(ctx, store)
		if err != nil {
			return err
		}
		if until == 0 {
			now, err := store.Now(ctx)
			if err != nil {
				return err
			}
			until = now.UnixMilli()
		}
		if until < since {
			return badUsage("--until is before --since")
		}
		if err := store.Webhooks().Replay(ctx, c.ID, since, until); err != nil {
			return err
		}
		out := e.printer()
		out.row(struct {
			ID          string `json:"webhook_id"`
			SinceMillis int64  `json:"since"`
			UntilMillis int64  `json:"until"`
		}{c.ID, since, until}, fmt.Sprintf("webhook %s will be sent once more what happened from %s to %s", c.ID, when(since), when(until)))
		return out.end(nil)
	})
}

type webhooksTestCommand struct {
	webhookArg
	Timeout time.Duration `default:"10s" placeholder:"DURATION" help:"How long it may take. Default: 10s."`
}

func (c *webhooksTestCommand) Run(ctx context.Context, e *environment) error {
	if c.Timeout <= 0 {
		return badUsage("--timeout: want more than 0")
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		hook, err := store.Webhooks().Webhook(ctx, c.ID)
		if err != nil {
			return err
		}
		secrets, err := store.Webhooks().Secrets(ctx, c.ID)
		if err != nil {
			return err
		}
		now, err := store.Now(ctx)
		if err != nil {
			return err
		}
		id, body, err := webhooks.TestMessage(now)
		if err != nil {
			return err
		}
		client := webhooks.NewClient(c.Timeout)
		defer client.Close()
		a := client.Send(ctx, hook, secrets.Signing(now.UnixMilli()), id, now, body)
		out := e.printer()
		out.row(struct {
			ID         string `json:"webhook_id"`
			Message    string `json:"message_id"`
			Status     int    `json:"status"` // of HTTP; 0: there was no answer
			Taken      bool   `json:"taken"`
			Why        string `json:"why"`
			TookMillis int64  `json:"took_ms"`
		}{c.ID, id, a.Status, a.Why == "", a.Why, a.Took.Milliseconds()}, fmt.Sprintf("HTTP status %d in %d ms", a.Status, a.Took.Milliseconds()))
		var failed error
		if a.Why != "" {
			failed = errors.New("the endpoint did not take the message: " + a.Why)
		}
		return out.end(failed)
	})
}
