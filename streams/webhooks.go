package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

const (
	// webhookPage is how many log entries are read at a time for an endpoint, and webhookCopy after how many messages the rest is
	// left for the next time.
	webhookPage = 100
	webhookCopy = 512
	// webhookReplays is how often somebody who asks for a replay tries, while senders move its mark.
	webhookReplays = 20
)

// Webhooks are the endpoints of others that are told of orders, and what waits to be sent to them. It implements domain.WebhookQueues.
type Webhooks struct {
	store    *Store
	archived domain.ArchivedEntries // nil: what was trimmed of the log is not read
}

// Webhooks hands them out.
func (s *Store) Webhooks() *Webhooks { return &Webhooks{store: s} }

// With returns those that copy from an archive what was trimmed of the log.
func (w *Webhooks) With(archived domain.ArchivedEntries) *Webhooks {
	return &Webhooks{w.store, archived}
}

// Webhooks are the endpoints, the oldest first.
func (w *Webhooks) Webhooks(ctx context.Context) ([]domain.Webhook, error) {
	stored, err := w.store.rdb.HGetAll(ctx, w.store.keys.Webhooks()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading webhooks: %w", access.Classify(err))
	}
	return layout.DecodeWebhooks(stored)
}

// Webhook is one endpoint. Error: domain.ErrNotFound.
func (w *Webhooks) Webhook(ctx context.Context, id string) (domain.Webhook, error) {
	text, err := w.store.rdb.HGet(ctx, w.store.keys.Webhooks(), id).Result()
	if access.IsNil(err) {
		return domain.Webhook{}, access.NotFound("webhook", id)
	}
	if err != nil {
		return domain.Webhook{}, fmt.Errorf("reading webhook %q: %w", id, access.Classify(err))
	}
	return layout.DecodeWebhook(id, text)
}

// Add stores an endpoint and its secrets. It is told what happens from FromMillis on. Errors: ClassReject if it is not well-formed, or if
// there are as many as may be; domain.ErrConflict if there is one of that id.
func (w *Webhooks) Add(ctx context.Context, hook domain.Webhook, secrets domain.WebhookSecrets) error {
	if err := hook.Validate(); err != nil {
		return err
	}
	n, err := w.store.rdb.HLen(ctx, w.store.keys.Webhooks()).Result()
	if err != nil {
		return fmt.Errorf("counting webhooks: %w", access.Classify(err))
	}
	if n >= domain.MaxWebhooks {
		return domain.WithCode(domain.ClassReject, domain.CodeInvalid, fmt.Errorf("there are %d webhooks, and may not be more: remove some", n))
	}
	// The secrets first: nobody sends to an endpoint that is not there.
	text, err := layout.EncodeWebhookSecrets(secrets)
	if err != nil {
		return err
	}
	if err := w.swap(ctx, w.store.keys.WebhookSecrets(), hook.ID, "", text); err != nil {
		return err
	}
	if text, err = layout.EncodeWebhook(hook); err != nil {
		return err
	}
	return w.swap(ctx, w.store.keys.Webhooks(), hook.ID, "", text)
}

// swap changes what is stored under an id. Error: domain.ErrConflict if somebody else has changed it since.
func (w *Webhooks) swap(ctx context.Context, key, id, was, is string) error {
	done, err := w.store.run(ctx, scriptChangeWebhook, []string{key}, id, was, is).Bool()
	if err != nil {
		return fmt.Errorf("script change_webhook: %w", access.ClassifyChange(err))
	}
	if !done {
		return domain.WithClass(domain.ClassReject, fmt.Errorf("webhook %q: %w: somebody else has changed it", id, domain.ErrConflict))
	}
	return nil
}

// change makes another endpoint of one that was read.
func (w *Webhooks) change(ctx context.Context, was domain.Webhook, state domain.WebhookState, why string) error {
	now, err := w.store.Now(ctx)
	if err != nil {
		return err
	}
	before, err := layout.EncodeWebhook(was)
	if err != nil {
		return err
	}
	was.State, was.Why, was.SinceMillis = state, why, now.UnixMilli()
	after, err := layout.EncodeWebhook(was)
	if err != nil {
		return err
	}
	return w.swap(ctx, w.store.keys.Webhooks(), was.ID, before, after)
}

// Enable has an endpoint be sent again what waits for it, and what has happened since. Errors: domain.ErrNotFound, domain.ErrConflict.
func (w *Webhooks) Enable(ctx context.Context, id string) error {
	return w.set(ctx, id, domain.WebhookEnabled)
}

// Disable has an endpoint be sent nothing more. What waits for it is kept. Errors: as of Enable.
func (w *Webhooks) Disable(ctx context.Context, id string) error {
	return w.set(ctx, id, domain.WebhookDisabled)
}

func (w *Webhooks) set(ctx context.Context, id string, state domain.WebhookState) error {
	hook, err := w.Webhook(ctx, id)
	if err != nil || hook.State == state {
		return err
	}
	return w.change(ctx, hook, state, "")
}

// GiveUp implements domain.WebhookQueues.
func (w *Webhooks) GiveUp(ctx context.Context, hook domain.Webhook, why string) error {
	return w.change(ctx, hook, domain.WebhookGivenUp, why)
}

// Secrets implements domain.WebhookQueues.
func (w *Webhooks) Secrets(ctx context.Context, id string) (domain.WebhookSecrets, error) {
	text, err := w.secrets(ctx, id)
	if err != nil {
		return domain.WebhookSecrets{}, err
	}
	return layout.DecodeWebhookSecrets(id, text)
}

func (w *Webhooks) secrets(ctx context.Context, id string) (string, error) {
	text, err := w.store.rdb.HGet(ctx, w.store.keys.WebhookSecrets(), id).Result()
	if access.IsNil(err) {
		return "", access.NotFound("secrets of webhook", id)
	}
	if err != nil {
		return "", fmt.Errorf("reading the secrets of webhook %q: %w", id, access.Classify(err))
	}
	return text, nil
}

// Rotate gives an endpoint another secret. The one before signs, too, for domain.WebhookRotation; the one before that no longer does.
// Errors: domain.ErrNotFound, domain.ErrConflict.
func (w *Webhooks) Rotate(ctx context.Context, id string, secret []byte) (domain.WebhookSecrets, error) {
	if _, err := w.Webhook(ctx, id); err != nil {
		return domain.WebhookSecrets{}, err
	}
	before, err := w.secrets(ctx, id)
	if err != nil {
		return domain.WebhookSecrets{}, err
	}
	was, err := layout.DecodeWebhookSecrets(id, before)
	if err != nil {
		return was, err
	}
	now, err := w.store.Now(ctx)
	if err != nil {
		return was, err
	}
	is := domain.WebhookSecrets{Current: secret, Previous: was.Current, PreviousUntilMillis: now.Add(domain.WebhookRotation).UnixMilli()}
	after, err := layout.EncodeWebhookSecrets(is)
	if err != nil {
		return was, err
	}
	return is, w.swap(ctx, w.store.keys.WebhookSecrets(), id, before, after)
}

// Remove ends an endpoint, and forgets what waits for it. Error: domain.ErrNotFound; what a sender still writes of it, Sweep forgets.
func (w *Webhooks) Remove(ctx context.Context, id string) error {
	k := w.store.keys
	removed, err := w.store.rdb.HDel(ctx, k.Webhooks(), id).Result()
	if err != nil {
		return fmt.Errorf("removing webhook %q: %w", id, access.ClassifyChange(err))
	}
	if err := w.store.rdb.HDel(ctx, k.WebhookSecrets(), id).Err(); err != nil {
		return fmt.Errorf("removing the secrets of webhook %q: %w", id, access.ClassifyChange(err))
	}
	for p := range w.store.partitions {
		if err := w.forget(ctx, p, id); err != nil {
			return err
		}
	}
	if removed == 0 {
		return access.NotFound("webhook", id)
	}
	return nil
}

func (w *Webhooks) forget(ctx context.Context, p int, id string) error {
	k := w.store.keys
	pipe := w.store.rdb.Pipeline()
	pipe.HDel(ctx, k.WebhookMarks(p), id, layout.WebhookReplay(id), layout.WebhookWaiting(id), layout.WebhookLease(id), layout.WebhookLost(id), layout.WebhookTaken(id), layout.WebhookFailed(id))
	pipe.Del(ctx, k.WebhookDue(p, id), k.WebhookQueue(p, id), k.WebhookTries(p, id))
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("forgetting webhook %q: %w", id, access.Classify(err))
	}
	return nil
}

// Sweep implements domain.WebhookQueues.
func (w *Webhooks) Sweep(ctx context.Context, p int) error {
	fields, err := w.store.rdb.HKeys(ctx, w.store.keys.WebhookMarks(p)).Result()
	if err != nil || len(fields) == 0 {
		return access.Classify(err)
	}
	// What has fields was there before they were read.
	there, err := w.store.rdb.HKeys(ctx, w.store.keys.Webhooks()).Result()
	if err != nil {
		return fmt.Errorf("reading webhooks: %w", access.Classify(err))
	}
	for _, id := range layout.WebhookIDs(fields) {
		if !slices.Contains(there, id) {
			if err := w.forget(ctx, p, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// Replay has an endpoint be sent once more what happened from a time on, and until another one, in milliseconds. What is asked for
// twice is sent from the earlier beginning to the later end. Error: domain.ErrNotFound.
func (w *Webhooks) Replay(ctx context.Context, id string, sinceMillis, untilMillis int64) error {
	if sinceMillis <= 0 || untilMillis < sinceMillis {
		return domain.WithCode(domain.ClassReject, domain.CodeInvalid, errors.New("want a time, and one that is not before it"))
	}
	if _, err := w.Webhook(ctx, id); err != nil {
		return err
	}
	for p := range w.store.partitions {
		if err := w.replay(ctx, p, id, sinceMillis, untilMillis); err != nil {
			return err
		}
	}
	return nil
}

func (w *Webhooks) replay(ctx context.Context, p int, id string, sinceMillis, untilMillis int64) error {
	for range webhookReplays {
		at, err := w.look(ctx, p, id)
		if err != nil {
			return err
		}
		mark, from := at.marks[1], layout.LogID{Millis: uint64(sinceMillis)}.Before() //nolint:gosec // it is positive
		if begins, err := w.logBegins(ctx, p); err != nil {
			return err
		} else if begins.missing(from) && (!begins.archived || !begins.trimmed()) {
			return domain.WithCode(domain.ClassReject, domain.CodeInvalid, fmt.Errorf("the log of partition %d has nothing from before %d any more, and nothing of it is archived", p, begins.first.Millis))
		}
		if at.texts[1] != "" {
			if now, _ := at.here(mark); from.After(now.Position) { // it is further back already
				from = now.Position
			}
			untilMillis = max(untilMillis, mark.UntilMillis)
		}
		done, err := w.advance(ctx, p, id, at, 1, layout.WebhookMark{Branch: at.branch, Position: from, UntilMillis: untilMillis}.String(), "", nil)
		if err != nil || done {
			return err
		}
	}
	return domain.WithClass(domain.ClassRetry, fmt.Errorf("webhook %q: others keep changing what is sent to it once more: try again", id))
}

// webhookAt is how far the log of a partition was copied for an endpoint: its mark, and that of a replay.
type webhookAt struct {
	branch   string
	branches []layout.Branch
	waiting  int64
	lost     string
	fields   [2]string
	texts    [2]string
	marks    [2]layout.WebhookMark
}

func (w *Webhooks) look(ctx context.Context, p int, id string) (at webhookAt, err error) {
	k := w.store.keys
	at.fields = [2]string{id, layout.WebhookReplay(id)}
	pipe := w.store.rdb.Pipeline()
	branch := pipe.HMGet(ctx, k.Events(p), layout.BranchField, layout.BranchesField)
	marks := pipe.HMGet(ctx, k.WebhookMarks(p), at.fields[0], at.fields[1], layout.WebhookWaiting(id), layout.WebhookLost(id))
	if _, err := pipe.Exec(ctx); err != nil {
		return at, fmt.Errorf("looking how far webhook %q is: %w", id, access.Classify(err))
	}
	at.branch = layout.AsString(branch.Val()[0])
	if at.branch == "" {
		return at, w.store.branchReplaced(p, w.store.history.branch(p))
	}
	// What is damaged of the list the audit tells of; without it marks of another branch are not known here.
	at.branches, _ = layout.DecodeBranches(layout.AsString(branch.Val()[1]))
	for i := range at.marks {
		at.texts[i] = layout.AsString(marks.Val()[i])
		if at.marks[i], err = layout.DecodeWebhookMark(at.texts[i]); err != nil {
			return at, err
		}
	}
	at.lost = layout.AsString(marks.Val()[3])
	at.waiting, err = layout.DecodeWebhookCount(layout.AsString(marks.Val()[2]))
	return at, err
}

// here is a mark on the partition's branch: not behind what its own has in common with it. It is not known if that is not.
func (at webhookAt) here(m layout.WebhookMark) (layout.WebhookMark, bool) {
	for _, b := range at.branches {
		if m.Branch == b.ID {
			m.Branch = at.branch
			return m, true
		}
		if b.Common == "" {
			break
		}
		if common := layout.ParseLogID(b.Common); m.Position.After(common) {
			m.Position = common
		}
	}
	known := m.Branch == at.branch
	m.Branch = at.branch
	return m, known
}

// advance moves a mark, and puts messages into the queue; it reports whether that was done.
func (w *Webhooks) advance(ctx context.Context, p int, id string, at webhookAt, which int, mark, lost string, messages []domain.WebhookMessage) (bool, error) {
	k := w.store.keys
	args := append(make([]any, 0, 6+2*len(messages)), at.branch, id, at.fields[which], at.texts[which], mark, lost)
	for _, m := range messages {
		args = append(args, m.Ref.String(), layout.WebhookLine(m))
	}
	done, err := w.store.run(ctx, scriptCopyWebhook, []string{k.Events(p), k.WebhookMarks(p), k.WebhookDue(p, id), k.WebhookQueue(p, id)}, args...).Bool()
	if err != nil {
		return false, fmt.Errorf("script copy_webhook: %w", access.Classify(err))
	}
	return done, nil
}

// Copy implements domain.WebhookQueues.
func (w *Webhooks) Copy(ctx context.Context, p int, hook domain.Webhook) (more bool, lost string, err error) {
	at, err := w.look(ctx, p, hook.ID)
	if err != nil {
		return false, "", err
	}
	if at.lost != "" || at.waiting >= domain.MaxWebhookQueue {
		return false, at.lost, nil
	}
	for which := range at.marks {
		switch {
		case which == 1 && at.texts[1] == "": // nothing is to be sent once more
			continue
		case at.texts[which] == "":
			at.marks[0] = layout.WebhookMark{Branch: at.branch, Position: layout.LogID{Millis: uint64(hook.FromMillis)}.Before()} //nolint:gosec // when it was added
		}
		again, err := w.copyFrom(ctx, p, hook, at, which)
		if err != nil {
			return false, "", err
		}
		more = more || again
	}
	return more, "", nil
}

// copyFrom copies a page behind one of the marks.
func (w *Webhooks) copyFrom(ctx context.Context, p int, hook domain.Webhook, at webhookAt, which int) (more bool, err error) {
	mark, known := at.here(at.marks[which])
	lost := ""
	from := mark.Position
	upTo := "+"
	if mark.UntilMillis > 0 {
		upTo = strconv.FormatInt(mark.UntilMillis, 10)
	}
	reply, err := w.store.rdb.Do(ctx, "XRANGE", w.store.keys.Log(p), "("+mark.Position.String(), upTo, "COUNT", webhookPage).Result()
	if err != nil {
		return false, fmt.Errorf("reading the log: %w", access.Classify(err))
	}
	page, archived := layout.DecodeEntries(reply), false
	if len(page) > 0 || which == 1 { // all that is to be sent once more may have been trimmed
		begins, err := w.logBegins(ctx, p)
		if err != nil {
			return false, err
		}
		if begins.missing(from) && w.archived != nil && begins.trimmed() {
			before := begins.first.Before().String()
			if mark.UntilMillis > 0 && mark.UntilMillis < int64(begins.first.Millis) { //nolint:gosec // a time in milliseconds
				before = upTo
			}
			past, err := w.past(ctx, p, from, before)
			if err != nil {
				return false, err
			}
			if archived = len(past) > 0; archived {
				page = past
			}
		} else if begins.missing(from) && which == 1 {
			w.store.log.Warn("what was trimmed is sent to no webhook once more: this worker has no --archive",
				zap.String("webhook", hook.ID), zap.Int("partition", p), zap.Uint64("until_millis", begins.first.Millis))
		} else if begins.missing(from) {
			known = false
		}
	}
	var messages []domain.WebhookMessage
	read := 0
	for _, e := range page {
		if len(messages) >= webhookCopy {
			break
		}
		mark.Position = layout.ParseLogID(e.ID)
		read++
		if len(e.Fields) == 0 || !slices.Contains(hook.Types, domain.FactType(e.Fields[0])) && e.Fields[0] != string(domain.FactRestored) {
			continue
		}
		facts, err := wire.ParseFacts(e.ID, e.Fields)
		if err != nil { // it is a dead letter of those who need it
			w.store.log.Error("a log entry that cannot be read is sent to no webhook", zap.String("webhook", hook.ID), zap.Error(err))
			continue
		}
		for _, f := range facts {
			if as := f.ToldAs(); slices.Contains(hook.Types, as) {
				messages = append(messages, domain.WebhookMessage{Fact: f.Name(), Type: as, Ref: f.Ref()})
			}
		}
	}
	if which == 0 && !known {
		lost = strconv.FormatUint(from.Millis, 10)
	}
	all := read == len(page) && len(page) < webhookPage && !archived
	text := mark.String()
	if all && which == 1 {
		text = "" // what was to be sent once more, is
	}
	if text == at.texts[which] {
		return false, nil
	}
	done, err := w.advance(ctx, p, hook.ID, at, which, text, lost, messages)
	return done && !all, err
}

// errFull ends a reading of the log after a page.
var errFull = errors.New("the page is full")

// past is a page of archived entries behind one and up to another one, or a time: fewer only if there are no more.
func (w *Webhooks) past(ctx context.Context, p int, after layout.LogID, upTo string) (page []domain.Entry, err error) {
	ns := w.store.Inside()
	ns.Archived = w.archived
	_, err = ns.EachEntry(ctx, p, after.String(), upTo, func(e domain.Entry) error {
		if len(page) == webhookPage {
			return errFull
		}
		page = append(page, e)
		return nil
	})
	if errors.Is(err, errFull) {
		err = nil
	}
	return page, err
}

// logBegin is where a partition's log begins.
type logBegin struct {
	first    layout.LogID // the oldest entry
	removed  bool         // there were any before it
	mark     layout.LogID // where it was trimmed behind the archive
	archived bool         // something is archived
}

// missing reports whether there may have been entries behind one that are not there any more.
func (b logBegin) missing(behind layout.LogID) bool { return b.removed && b.first.After(behind) }

// trimmed reports whether all that is missing was trimmed behind the archive.
func (b logBegin) trimmed() bool { return !b.first.After(b.mark) }

func (w *Webhooks) logBegins(ctx context.Context, p int) (b logBegin, err error) {
	k := w.store.keys
	pipe := w.store.rdb.Pipeline()
	stream, trimmed, archived := pipe.XInfoStream(ctx, k.Log(p)), pipe.HGet(ctx, k.Events(p), layout.TrimmedField), pipe.Get(ctx, k.Archived(p))
	if _, err := pipe.Exec(ctx); err != nil && !access.IsNil(err) {
		return b, fmt.Errorf("looking where the log begins: %w", access.Classify(err))
	}
	is := stream.Val()
	return logBegin{
		first:   layout.ParseLogID(is.FirstEntry.ID),
		removed: is.EntriesAdded > is.Length || trimmed.Val() != "", // one that was restored counts only what it has
		mark:    layout.ParseLogID(trimmed.Val()), archived: archived.Val() != "",
	}, nil
}

// ForgetLost implements domain.WebhookQueues.
func (w *Webhooks) ForgetLost(ctx context.Context, p int, id string) error {
	if err := w.store.rdb.HDel(ctx, w.store.keys.WebhookMarks(p), layout.WebhookLost(id)).Err(); err != nil {
		return fmt.Errorf("forgetting that facts were missing for webhook %q: %w", id, access.Classify(err))
	}
	return nil
}

// Take implements domain.WebhookQueues.
func (w *Webhooks) Take(ctx context.Context, p int, id, sender string, most int, lease, hold time.Duration) (turn domain.WebhookTurn, err error) {
	k := w.store.keys
	reply, err := w.store.run(ctx, scriptTakeWebhook, []string{k.WebhookMarks(p), k.WebhookDue(p, id), k.WebhookQueue(p, id)},
		id, sender, lease.Milliseconds(), min(most, access.MaxBatch), hold.Milliseconds()).Slice()
	if err != nil {
		return turn, fmt.Errorf("script take_webhook: %w", access.Classify(err))
	}
	if len(reply) < 3 {
		return turn, nil
	}
	turn.Mine = true
	turn.Waiting, _ = reply[1].(int64)
	next, _ := reply[2].(int64)
	turn.Next = time.Duration(next) * time.Millisecond
	for i := 3; i+2 < len(reply); i += 3 {
		m, err := layout.DecodeWebhookMessage(layout.AsString(reply[i]), layout.AsString(reply[i+1]), layout.AsString(reply[i+2]))
		if err != nil { // it is put off, and the others are sent
			w.store.log.Error("a message that cannot be read is sent to no webhook", zap.String("webhook", id), zap.Int("partition", p), zap.Error(err))
			continue
		}
		turn.Messages = append(turn.Messages, m)
	}
	return turn, nil
}

// Settle implements domain.WebhookQueues.
func (w *Webhooks) Settle(ctx context.Context, p int, id string, m domain.WebhookMessage, try domain.WebhookTry, again time.Duration) error {
	k := w.store.keys
	how, counts := "taken", "taken"
	switch {
	case try.Why != "":
		how, counts = strconv.FormatInt(again.Milliseconds(), 10), "failed"
	case try.Status == 0: // it was not sent: there was nothing to be told any more
		counts = ""
	}
	text, err := layout.EncodeWebhookTry(try)
	if err != nil {
		return err
	}
	err = w.store.run(ctx, scriptSettleWebhook, []string{k.WebhookMarks(p), k.WebhookDue(p, id), k.WebhookQueue(p, id), k.WebhookTries(p, id)},
		id, m.Ref.String(), layout.WebhookHeader(m), layout.WebhookLine(m), how, text, domain.WebhookTriesKept, counts).Err()
	if err != nil {
		return fmt.Errorf("script settle_webhook: %w", access.Classify(err))
	}
	return nil
}

// Tries are how an endpoint was tried lately, the newest first.
func (w *Webhooks) Tries(ctx context.Context, id string) ([]domain.WebhookTry, error) {
	pipe := w.store.rdb.Pipeline()
	lists := make([]*redis.StringSliceCmd, w.store.partitions)
	for p := range lists {
		lists[p] = pipe.LRange(ctx, w.store.keys.WebhookTries(p, id), 0, -1)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("reading how webhook %q was tried: %w", id, access.Classify(err))
	}
	var tries []domain.WebhookTry
	for _, list := range lists {
		for _, text := range list.Val() {
			try, err := layout.DecodeWebhookTry(text)
			if err != nil {
				return nil, err
			}
			tries = append(tries, try)
		}
	}
	slices.SortStableFunc(tries, func(a, b domain.WebhookTry) int { return cmp.Compare(b.AtMillis, a.AtMillis) })
	return tries, nil
}
