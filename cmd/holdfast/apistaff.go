package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"holdfast/api"
	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/audit"
	"holdfast/streams/inspect"
)

// apiOrganising is what organisers do, as the API knows it.
type apiOrganising struct{ *streams.Events }

// Create is that of Events, for a cause.
func (o apiOrganising) Create(ctx context.Context, eventID string, t domain.Terms, cause domain.Cause) (bool, error) {
	return o.By(cause).Create(ctx, eventID, t)
}

// Adjust is AdjustEvent, likewise.
func (o apiOrganising) Adjust(ctx context.Context, eventID string, change func(domain.Event) (domain.Terms, error), cause domain.Cause) (bool, error) {
	return o.By(cause).AdjustEvent(ctx, eventID, change)
}

func (o apiOrganising) CallOff(ctx context.Context, eventID string, cause domain.Cause) (api.CalledOff, error) {
	done, err := o.Cancel(ctx, eventID, cause, nil)
	return api.CalledOff{Before: done.Before, Held: done.Held, Confirmed: done.Confirmed}, err
}

// apiOperating is what SREs look at and mend: over HTTP it is what the commands say in JSON.
type apiOperating struct {
	*environment // with which the API was started
	store        *streams.Store
	compared     auditSources
}

// runner is a command.
type runner interface {
	Run(ctx context.Context, e *environment) error
}

// run runs a command on the store there is: what it writes, and what it complains of.
func (o apiOperating) run(ctx context.Context, command runner) (done, failed []json.RawMessage, err error) {
	var stdout, stderr bytes.Buffer
	e := *o.environment
	e.opened, e.json, e.stdin, e.stdout, e.stderr = o.store, true, strings.NewReader(""), &stdout, &stderr
	err = command.Run(ctx, &e)
	var ended *endedError
	if errors.As(err, &ended) {
		err = ended.err // that it found something is in what it writes
	}
	return objectsOf(stdout.Bytes()), objectsOf(stderr.Bytes()), err
}

// look is run of a command that only looks: warnings are of no interest to programs.
func (o apiOperating) look(ctx context.Context, command runner) ([]json.RawMessage, error) {
	found, _, err := o.run(ctx, command)
	return found, err
}

func objectsOf(lines []byte) (list []json.RawMessage) {
	for line := range bytes.Lines(lines) {
		list = append(list, bytes.TrimSpace(line))
	}
	return list
}

func (o apiOperating) Pending(ctx context.Context) ([]json.RawMessage, error) {
	return o.look(ctx, &pendingListCommand{Entries: apiEntries, Every: leastEvery})
}

// apiEntries is how many entries of each group are shown over HTTP, and apiPatience how long a look at all may take.
const (
	apiEntries  = 20
	apiPatience = 10 * time.Second
)

func (o apiOperating) Explain(ctx context.Context, ref domain.OrderRef, entryID string) ([]json.RawMessage, error) {
	found, err := o.look(ctx, &pendingExplainCommand{orderArgs{OrderID: ref.OrderID, Event: ref.EventID}, entryID})
	return found, asInvalid(err)
}

// asInvalid is the mistake of a caller, where a command takes it for one of its command line.
func asInvalid(err error) error {
	var usage *usageError
	if errors.As(err, &usage) {
		return domain.WithCode(domain.ClassReject, domain.CodeInvalid, err)
	}
	return err
}

func (o apiOperating) Workers(ctx context.Context) ([]json.RawMessage, error) {
	return o.look(ctx, &workersListCommand{})
}

func (o apiOperating) Check(ctx context.Context) ([]json.RawMessage, error) {
	limits, err := defaultLimits()
	if err != nil {
		return nil, err
	}
	return o.look(ctx, &checkCommand{Timeout: apiPatience, Limits: limits})
}

func (o apiOperating) Doctor(ctx context.Context) ([]json.RawMessage, error) {
	return o.look(ctx, &doctorCommand{Timeout: apiPatience})
}

func (o apiOperating) DeadLetters(ctx context.Context, reason string, most int) ([]json.RawMessage, error) {
	return o.look(ctx, &deadListCommand{Reason: reason, Limit: limitFlag{given: true, most: most}})
}

func (o apiOperating) DeadLetter(ctx context.Context, id string) ([]json.RawMessage, error) {
	return o.look(ctx, &deadShowCommand{ID: id})
}

func (o apiOperating) HandledLetters(ctx context.Context, most int) ([]json.RawMessage, error) {
	return o.look(ctx, &deadHandledCommand{limitFlag{given: true, most: most}})
}

func (o apiOperating) Redrive(ctx context.Context, ids []string, cause domain.Cause) (done, failed []json.RawMessage, err error) {
	return o.run(ctx, &deadRedriveCommand{deadArgs: deadArgs{IDs: ids, Why: cause.Reason, By: cause.By}})
}

func (o apiOperating) Reroute(ctx context.Context, ids []string, cause domain.Cause) (done, failed []json.RawMessage, err error) {
	return o.run(ctx, &deadRedriveCommand{deadArgs: deadArgs{IDs: ids, Why: cause.Reason, By: cause.By}, Reroute: true})
}

func (o apiOperating) Discard(ctx context.Context, ids []string, cause domain.Cause) (done, failed []json.RawMessage, err error) {
	return o.run(ctx, &deadDiscardCommand{deadArgs: deadArgs{IDs: ids, Why: cause.Reason, By: cause.By}})
}

func (o apiOperating) Pauses(ctx context.Context) ([]json.RawMessage, error) {
	return o.look(ctx, &pauseListCommand{})
}

func (o apiOperating) Pause(ctx context.Context, eventID string, extendHolds time.Duration, cause domain.Cause) ([]json.RawMessage, error) {
	done, err := o.look(ctx, &pauseNowCommand{pausable{Event: eventID}, extendHolds, cause.Reason, cause.By})
	return done, asInvalid(err)
}

func (o apiOperating) Resume(ctx context.Context, eventID string, cause domain.Cause) ([]json.RawMessage, error) {
	done, err := o.look(ctx, &resumeCommand{pausable{Event: eventID}, cause.Reason, cause.By})
	return done, asInvalid(err)
}

func (o apiOperating) Audited(ctx context.Context) (list []json.RawMessage, err error) {
	all, err := inspect.New(o.store).Audited(ctx)
	for _, a := range all {
		said, err := json.Marshal(a)
		if err != nil {
			return nil, err
		}
		list = append(list, said)
	}
	return list, err
}

func (o apiOperating) Audit(ctx context.Context, progress func(api.AuditProgress)) (json.RawMessage, error) {
	view, err := o.compared.audit(ctx, o.environment, o.store, auditExtent{}, func(p audit.Progress) { progress(api.AuditProgress(p)) })
	if err != nil {
		return nil, err
	}
	return json.Marshal(view)
}
