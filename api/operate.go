package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"holdfast/domain"
)

// Operating is what SREs look at and mend. Each answers with the objects that the command of that name writes with -o json.
type Operating interface {
	Pending(ctx context.Context) ([]json.RawMessage, error)
	Explain(ctx context.Context, ref domain.OrderRef, entryID string) ([]json.RawMessage, error)
	Workers(ctx context.Context) ([]json.RawMessage, error)
	Check(ctx context.Context) ([]json.RawMessage, error)
	Doctor(ctx context.Context) ([]json.RawMessage, error)
	// DeadLetters are the oldest, at most so many, whose reason contains a text.
	DeadLetters(ctx context.Context, reason string, most int) ([]json.RawMessage, error)
	DeadLetter(ctx context.Context, id string) ([]json.RawMessage, error)
	// HandledLetters are those of late, at most so many, the newest first.
	HandledLetters(ctx context.Context, most int) ([]json.RawMessage, error)
	// Redrive, Reroute and Discard return what was done, and why what was not done was not.
	Redrive(ctx context.Context, ids []string, cause domain.Cause) (done, failed []json.RawMessage, err error)
	Reroute(ctx context.Context, ids []string, cause domain.Cause) (done, failed []json.RawMessage, err error)
	Discard(ctx context.Context, ids []string, cause domain.Cause) (done, failed []json.RawMessage, err error)
	// Pauses are those that last, and those of late. Pause and Resume are of an event, or, if that is empty, of everything; without a reason they are
	// refused.
	Pauses(ctx context.Context) ([]json.RawMessage, error)
	Pause(ctx context.Context, eventID string, extendHolds time.Duration, cause domain.Cause) ([]json.RawMessage, error)
	Resume(ctx context.Context, eventID string, cause domain.Cause) ([]json.RawMessage, error)
	// Audited are the newest verdicts. Audit makes them anew, which takes a while: progress is told how far it is, from several goroutines perhaps.
	Audited(ctx context.Context) ([]json.RawMessage, error)
	Audit(ctx context.Context, progress func(AuditProgress)) (json.RawMessage, error)
}

// Object is one of those that a command writes with -o json.
type Object = json.RawMessage

// Objects are a list of them.
type Objects struct {
	Items []Object `json:"items" nullable:"false"`
}

// Handled is what was done with dead letters.
type Handled struct {
	Done   []Object `json:"done" nullable:"false"`
	Failed []Object `json:"failed" nullable:"false" doc:"error says why, and code."`
}

// LettersRequest names dead letters.
type LettersRequest struct {
	IDs    []string `json:"ids" minItems:"1" maxItems:"1000" nullable:"false" doc:"As the list has them (dead_id)."`
	Reason string   `json:"reason,omitempty" maxLength:"512" doc:"Why, for people. Who asked for it is the name of the key."`
}

var operators = []domain.APIRole{domain.APISRE, domain.APIAdmin}

func (s *Server) registerOperating() {
	s.registerPauses()
	s.registerAudit()
	o := s.deps.Operating
	look := func(id, path, summary, command string) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Tags: []string{"sres"},
			Description: "The objects are those of holdfast " + command + " -o json.",
		}
	}
	type none struct{}
	registerOfAll(s, look("pending", "/v1/pending", "What waits, who has it, and for how long", "pending"), operators, func(ctx context.Context, _ *none) (*objectsOutput, error) {
		return s.objects(o.Pending(ctx))
	})
	register(s, look("explain", "/v1/pending/{event}/{id}", "Where one order stands", "pending explain"), operators, func(ctx context.Context, in *struct {
		OrderPath
		EntryID string `query:"entry_id" maxLength:"64" doc:"Of a request of it: then nothing is searched."`
	},
	) (*objectsOutput, error) {
		return s.objects(o.Explain(ctx, in.ref(), in.EntryID))
	})
	registerOfAll(s, look("workers", "/v1/workers", "Who works", "workers list"), operators, func(ctx context.Context, _ *none) (*objectsOutput, error) {
		return s.objects(o.Workers(ctx))
	})
	registerOfAll(s, look("check", "/v1/check", "Is all well", "check"), operators, func(ctx context.Context, _ *none) (*objectsOutput, error) {
		return s.objects(o.Check(ctx))
	})
	registerOfAll(s, look("doctor", "/v1/doctor", "What will be wrong later", "doctor"), operators, func(ctx context.Context, _ *none) (*objectsOutput, error) {
		return s.objects(o.Doctor(ctx))
	})
	registerOfAll(s, look("dead-letters", "/v1/dead-letters", "List dead letters, the oldest first", "dead list"), operators, func(ctx context.Context, in *struct {
		Reason string `query:"reason" maxLength:"512" doc:"Only those whose reason contains this."`
		Limit  int    `query:"limit" doc:"How many at most." minimum:"1" maximum:"1000" default:"100"`
	},
	) (*objectsOutput, error) {
		return s.objects(o.DeadLetters(ctx, in.Reason, in.Limit))
	})
	registerOfAll(s, look("dead-letter", "/v1/dead-letters/{dead_id}", "Show a dead letter, but for its payment token", "dead show"), operators, func(ctx context.Context, in *struct {
		ID string `path:"dead_id" doc:"As the list of dead letters has it." maxLength:"64"`
	},
	) (*objectsOutput, error) {
		return s.objects(o.DeadLetter(ctx, in.ID))
	})
	registerOfAll(s, look("dead-letters-handled", "/v1/dead-letters/handled", "Who had which dead letters handled, when, and why, the newest first", "dead handled"), operators, func(ctx context.Context, in *struct {
		Limit int `query:"limit" doc:"How many at most." minimum:"1" maximum:"1000" default:"100"`
	},
	) (*objectsOutput, error) {
		return s.objects(o.HandledLetters(ctx, in.Limit))
	})
	for _, act := range []struct {
		name, summary string
		do            func(context.Context, []string, domain.Cause) (done, failed []json.RawMessage, err error)
	}{
		{"redrive", "Give dead letters back to be handled", func(ctx context.Context, ids []string, cause domain.Cause) (done, failed []json.RawMessage, err error) {
			return o.Redrive(ctx, ids, cause)
		}},
		{"reroute", "Publish requests in the partition of their event", func(ctx context.Context, ids []string, cause domain.Cause) (done, failed []json.RawMessage, err error) {
			return o.Reroute(ctx, ids, cause)
		}},
		{"discard", "Remove dead letters for good", func(ctx context.Context, ids []string, cause domain.Cause) (done, failed []json.RawMessage, err error) {
			return o.Discard(ctx, ids, cause)
		}},
	} {
		registerOfAll(s, huma.Operation{
			OperationID: "dead-letters-" + act.name, Method: http.MethodPost, Path: "/v1/dead-letters/" + act.name, Summary: act.summary, Tags: []string{"sres"},
		}, operators, func(ctx context.Context, in *struct{ Body LettersRequest }) (*struct{ Body Handled }, error) {
			cause := domain.Cause{Reason: in.Body.Reason, By: callerOf(ctx).key.Name}
			if err := cause.Validate(); err != nil {
				return nil, s.problem(err)
			}
			done, failed, err := act.do(ctx, in.Body.IDs, cause)
			if err != nil {
				return nil, s.problem(err)
			}
			return &struct{ Body Handled }{Handled{orEmpty(done), orEmpty(failed)}}, nil
		})
	}
}

// PauseRequest says what is to be paused. Who asked for it is the name of the key.
type PauseRequest struct {
	EventID           string `json:"event_id,omitempty" maxLength:"128" doc:"Its requests are parked. Default: everything."`
	ExtendHoldSeconds int64  `json:"extend_holds_seconds,omitempty" minimum:"1" maximum:"86400" doc:"No hold of what is paused ends within so long from now."`
	Reason            string `json:"reason" minLength:"1" maxLength:"512" doc:"Why, for people: whoever looks is told."`
}

// ResumeRequest says what is to go on.
type ResumeRequest struct {
	EventID string `json:"event_id,omitempty" maxLength:"128" doc:"Default: everything."`
	Reason  string `json:"reason" minLength:"1" maxLength:"512" doc:"Why, for people."`
}

// mayPause is mayEvent; everything is for keys of all events.
func (p principal) mayPause(eventID string) error {
	if eventID == "" {
		return p.mayAll()
	}
	return p.mayEvent(eventID)
}

func (s *Server) registerPauses() {
	o := s.deps.Operating
	registerOfAll(s, huma.Operation{
		OperationID: "pauses", Method: http.MethodGet, Path: "/v1/pauses", Summary: "What is paused, and what was of late", Tags: []string{"sres"},
		Description: "The objects are those of holdfast pause list -o json.",
	}, operators, func(ctx context.Context, _ *struct{}) (*objectsOutput, error) { return s.objects(o.Pauses(ctx)) })
	register(s, huma.Operation{
		OperationID: "pause", Method: http.MethodPost, Path: "/v1/pauses", Summary: "Have workers take no more requests, of an event or at all", Tags: []string{"sres"},
		Description: "Nothing is lost. What is paused already stays so (changed: false).",
	}, operators, func(ctx context.Context, in *struct{ Body PauseRequest }) (*objectsOutput, error) {
		caller := callerOf(ctx)
		if err := caller.mayPause(in.Body.EventID); err != nil {
			return nil, err
		}
		return s.objects(o.Pause(ctx, in.Body.EventID, time.Duration(in.Body.ExtendHoldSeconds)*time.Second, domain.Cause{Reason: in.Body.Reason, By: caller.key.Name}))
	})
	register(s, huma.Operation{
		OperationID: "resume", Method: http.MethodPost, Path: "/v1/pauses/resume", Summary: "Have workers take requests again", Tags: []string{"sres"},
		Description: "What is not paused stays so (changed: false).",
	}, operators, func(ctx context.Context, in *struct{ Body ResumeRequest }) (*objectsOutput, error) {
		caller := callerOf(ctx)
		if err := caller.mayPause(in.Body.EventID); err != nil {
			return nil, err
		}
		return s.objects(o.Resume(ctx, in.Body.EventID, domain.Cause{Reason: in.Body.Reason, By: caller.key.Name}))
	})
}

type objectsOutput struct{ Body Objects }

func (s *Server) objects(list []json.RawMessage, err error) (*objectsOutput, error) {
	if err != nil {
		return nil, s.problem(err)
	}
	return &objectsOutput{Objects{orEmpty(list)}}, nil
}

func orEmpty(list []json.RawMessage) []json.RawMessage {
	if list == nil {
		return []json.RawMessage{}
	}
	return list
}
