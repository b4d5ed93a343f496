package telemetry

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/domain"
	"holdfast/workers"
)

// Worker is what is told of a worker: a *workers.Pool.
type Worker interface {
	Stats() *workers.Stats
	// Ready says why it takes no requests.
	Ready() error
	// Stuck are loops of it that give no sign of life.
	Stuck() []workers.Stuck
	// Archived is what it has written to the archive, if it archives.
	Archived() (segments, bytes int64, archives bool)
	// SnapshotLags is by partition how far the newest snapshot of the archive is behind, in milliseconds, where it has looked of late.
	SnapshotLags() map[int]int64
}

// watched is the worker that is told of, and how Redis is looked at.
type watched struct {
	worker Worker
	glance *glance
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("holdfast_"+name, help, labels, nil)
}

// Of the worker, since it started.
var (
	orders          = desc("orders_total", "Orders by the outcome that this worker brought about, and why.", "outcome", "reason")
	stages          = desc("stage_seconds", "How long a stage of an order takes.", "stage")
	gatewayCalls    = desc("gateway_seconds", "How long a call of the payment gateway takes.", "call", "result")
	attempts        = desc("attempts_total", "Attempts to pay that leave their orders held: declined, or with something for the customer to do at their bank.", "result")
	batches         = desc("batch_orders", "How many orders a step takes at a time.", "step")
	entries         = desc("entries_total", "Entries that were taken: new ones, from other workers, or from the own list after a lost reply or a restart.", "how")
	redelivered     = desc("redelivered_entries_total", "Entries that had been given to a worker before.")
	lost            = desc("lost_entries_total", "Entries that others took over from this worker.")
	handedBack      = desc("handed_back_entries_total", "Entries that were given back at the end.")
	inHand          = desc("in_hand_entries", "Entries that this worker has in hand.")
	posted          = desc("posted_facts_total", "Facts that were put on invoices.")
	settled         = desc("settled_facts_total", "Facts, and orders that were owed, whose money is where it belongs.")
	owing           = desc("owed_orders_total", "How often the money of an order had to wait by itself.")
	voided          = desc("voided_payments_total", "Payments that were voided before their entry was acknowledged.")
	setAside        = desc("set_aside_total", "Entries and orders that this worker has made dead letters of.")
	trimmedLog      = desc("trimmed_log_entries_total", "Log entries that were archived, and removed from Redis.")
	trimmed         = desc("trimmed_requests_total", "Requests that were done with and removed.")
	forgottenEvents = desc("forgotten_events_total", "Events that were over, and are in the archive alone.")
	forgottenOrders = desc("forgotten_orders_total", "Orders of such events.")
	archiveSegments = desc("archive_segments_total", "Segments that were written to the archive.")
	archiveBytes    = desc("archive_bytes_total", "Bytes of them.")
	archiveFailures = desc("archive_failures_total", "Tries to archive that came to nothing.")
	snapshotsTaken  = desc("archive_snapshots_total", "Snapshots of the archive that were taken.")
	snapshotsFailed = desc("archive_snapshot_failures_total", "Tries to take one that came to nothing.")
	snapshotLag     = desc("archive_snapshot_lag_seconds", "Age of the newest fact in the newest snapshot of the archive, where more was archived since, else 0. By the worker that has looked last.", "partition")
	redisErrors     = desc("redis_errors_total", "Failures of Redis, by class.", "class")
	retries         = desc("retries_total", "What was tried again: a step in Redis, a call of the payment gateway, an order that is owed.", "of")
	ready           = desc("ready", "Whether this worker takes requests.")
	stuckLoops      = desc("stuck_loops", "Loops of this worker that give no sign of life.")
	parked          = desc("parked_requests_total", "Requests that were parked because their event is paused.")
)

// Of the namespace: every worker says the same.
var (
	redisUp       = desc("redis_up", "Whether Redis has answered this scrape. If not, nothing is said that it would have told.")
	backlog       = desc("backlog", "Requests, or facts, that wait or are in hand, and orders whose money waits.", "partition", "group")
	lag           = desc("lag", "Requests, or facts, that no worker was given yet.", "partition", "group")
	pending       = desc("pending", "Requests, or facts, that were given to workers and are not done.", "partition", "group")
	owed          = desc("owed", "Orders whose money waits by itself.", "partition", "group")
	oldestWaiting = desc("oldest_waiting_seconds", "Age of the oldest that no worker was given yet.", "partition", "group")
	oldestInHand  = desc("oldest_in_hand_seconds", "For how long the oldest has been with workers.", "partition", "group")
	oldestOwed    = desc("oldest_owed_seconds", "Age of the oldest outcome whose money waits by itself.", "partition", "group")
	oldestIdle    = desc("oldest_idle_seconds", "Longest time without a sign of life, of the oldest entries in hand.", "partition", "group")
	deliveries    = desc("most_deliveries", "How often one of the oldest entries in hand was given to a worker.", "partition", "group")
	alive         = desc("consumers_alive", "Workers that gave a sign of life.", "partition", "group")
	deadLetters   = desc("dead_letters", "Entries and orders that were set aside, by what they are about.", "stream")
	overdueHolds  = desc("overdue_holds", "Holds that are over and have not ended.")
	oldestOverdue = desc("oldest_overdue_seconds", "Since when the oldest of them is over.")
	awaited       = desc("awaited_orders", "Orders that the gateway is asked about from time to time: their customers have something to do at their bank, or they lapsed while they were being paid for.")
	oldestUnasked = desc("oldest_unasked_seconds", "Since when it should have been asked about the one of them that waits longest for that.")
	archiveLag    = desc("archive_lag_seconds", "Age of the oldest fact that is not archived. Not there where nothing is archived.", "partition")
	paused        = desc("paused", "What is paused: everything (0 or 1), and how many events.", "what")
	oldestPause   = desc("oldest_pause_seconds", "For how long the oldest of that has been paused.")
	parkedNow     = desc("parked_requests", "Requests of paused events that are parked.")
	auditFound    = desc("audit_violations", "Violations that the newest audit found, of the books or of the payments. Missing before the first audit.", "of")
	auditAge      = desc("audit_age_seconds", "Since when that is known.", "of")
	refusesWrites = desc("redis_refuses_writes", "Whether Redis, or a master of a Cluster, takes no writes now: its memory is full, or another reason that holdfast check tells.")
	webhookState  = desc("webhooks_state", "Whether an endpoint is in a state: enabled, disabled (by a person), given_up (by a worker).", "webhook", "state")
	webhookQueue  = desc("webhooks_waiting", "Messages that wait to be sent to an endpoint.", "webhook")
	webhookTries  = desc("webhooks_tries_total", "Tries to send a message to an endpoint, by all workers, and whether it was taken.", "webhook", "result")
	webhookUnsent = desc("webhooks_unsent_seconds", "For how long nobody has sent to an endpoint that is enabled.", "webhook")
	dataReplaced  = desc("data_replaced", "Whether the data in Redis was replaced, and nobody has seen to it.")
)

// collector reads, when it is asked, what the worker has counted and what Redis has. Nothing is kept here.
type collector struct{ of *atomic.Pointer[watched] }

// Describe implements prometheus.Collector, for one whose metrics are known only when they are collected.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	m, of := metrics{to}, c.of.Load()
	if of == nil { // it waits for Redis
		m.gauge(ready, 0)
		m.gauge(redisUp, 0)
		return
	}
	ofWorker(m, of.worker)
	figures, err := of.glance.figures()
	m.gauge(redisUp, number(err == nil))
	if err == nil {
		ofNamespace(m, figures)
	}
}

func ofWorker(m metrics, w Worker) {
	s := w.Stats()
	for o := range s.Orders() {
		m.counter(orders, o.N, o.Outcome.String(), o.Reason)
	}
	m.counter(attempts, s.AttemptsDeclined.Load(), "declined")
	m.counter(attempts, s.ActionsRequired.Load(), "action_required")
	m.histograms(stages, s.StageSeconds())
	m.histograms(gatewayCalls, s.GatewaySeconds())
	m.histograms(batches, s.BatchSizes())
	m.counter(entries, s.Read.Load(), "read")
	m.counter(entries, s.Reclaimed.Load(), "reclaimed")
	m.counter(entries, s.Recovered.Load(), "recovered")
	m.counter(redelivered, s.Redelivered.Load())
	m.counter(lost, s.Lost.Load())
	m.counter(handedBack, s.HandedBack.Load())
	m.gauge(inHand, float64(s.InFlight.Load()))
	m.counter(posted, s.Posted.Load())
	m.counter(settled, s.Settled.Load())
	m.counter(owing, s.Owed.Load())
	m.counter(voided, s.Voided.Load())
	m.counter(setAside, s.DeadLettered.Load())
	m.counter(parked, s.Parked.Load())
	m.counter(trimmed, s.Trimmed.Load())
	m.counter(forgottenEvents, s.ForgottenEvents.Load())
	m.counter(forgottenOrders, s.ForgottenOrders.Load())
	m.counter(trimmedLog, s.LogTrimmed.Load())
	for _, n := range s.RedisErrors() {
		m.counter(redisErrors, n.N, n.Label)
	}
	for _, n := range s.Retries() {
		m.counter(retries, n.N, n.Label)
	}
	if segments, bytes, archives := w.Archived(); archives {
		m.counter(archiveSegments, segments)
		m.counter(archiveBytes, bytes)
		m.counter(archiveFailures, s.ArchiveFailed.Load())
		m.counter(snapshotsTaken, s.Snapshots.Load())
		m.counter(snapshotsFailed, s.SnapshotFailed.Load())
		for p, millis := range w.SnapshotLags() {
			m.gauge(snapshotLag, seconds(millis), strconv.Itoa(p))
		}
	}
	m.gauge(ready, number(w.Ready() == nil))
	m.gauge(stuckLoops, float64(len(w.Stuck())))
}

func ofNamespace(m metrics, f Figures) {
	for _, g := range f.Groups {
		of := []string{strconv.Itoa(g.Partition), g.Group}
		m.gauge(backlog, float64(g.Backlog), of...)
		m.gauge(lag, float64(g.Waiting), of...)
		m.gauge(pending, float64(g.InHand), of...)
		m.gauge(owed, float64(g.Owed), of...)
		m.gauge(oldestWaiting, seconds(g.OldestWaitingMillis), of...)
		m.gauge(oldestInHand, seconds(g.OldestInHandMillis), of...)
		m.gauge(oldestOwed, seconds(g.OldestOwedMillis), of...)
		m.gauge(oldestIdle, seconds(g.OldestIdleMillis), of...)
		m.gauge(deliveries, float64(g.MostDeliveries), of...)
		m.gauge(alive, float64(g.Alive), of...)
	}
	for stream, n := range f.DeadLetters {
		m.gauge(deadLetters, float64(n), stream)
	}
	m.gauge(overdueHolds, float64(f.OverdueHolds))
	m.gauge(oldestOverdue, seconds(f.OldestOverdueMillis))
	m.gauge(awaited, float64(f.AwaitedOrders))
	m.gauge(oldestUnasked, seconds(f.UnaskedMillis))
	m.gauge(dataReplaced, number(f.DataReplaced))
	m.gauge(refusesWrites, number(f.RefusesWrites))
	for p, lag := range f.ArchiveLagMillis {
		m.gauge(archiveLag, seconds(lag), strconv.Itoa(p))
	}
	m.gauge(paused, number(f.Paused.Everything), "everything")
	m.gauge(paused, float64(f.Paused.Events), "events")
	m.gauge(oldestPause, seconds(f.Paused.OldestMillis))
	m.gauge(parkedNow, float64(f.Paused.Parked))
	for _, w := range f.Webhooks {
		for _, state := range domain.WebhookStates {
			m.gauge(webhookState, number(w.State == string(state)), w.ID, string(state))
		}
		m.gauge(webhookQueue, float64(w.Waiting), w.ID)
		m.counter(webhookTries, w.Taken, w.ID, "taken")
		m.counter(webhookTries, w.Failed, w.ID, "failed")
		m.gauge(webhookUnsent, seconds(w.UnsentMillis), w.ID)
	}
	for _, a := range f.Audits {
		m.gauge(auditFound, float64(a.Violations), a.Of)
		m.gauge(auditAge, seconds(a.AgeMillis), a.Of)
	}
}

// metrics is where they go.
type metrics struct{ to chan<- prometheus.Metric }

func (m metrics) gauge(d *prometheus.Desc, v float64, labels ...string) {
	m.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (m metrics) counter(d *prometheus.Desc, n int64, labels ...string) {
	m.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func (m metrics) histograms(d *prometheus.Desc, all []workers.Histogram) {
	for _, h := range all {
		buckets := make(map[float64]uint64, len(h.Bounds))
		var sum uint64
		for i, n := range h.Counts {
			sum += uint64(n)
			if i < len(h.Bounds) {
				buckets[h.Bounds[i]] = sum
			}
		}
		metric := prometheus.MustNewConstHistogram(d, sum, h.Sum, buckets, h.Labels...)
		if len(h.Exemplars) > 0 {
			exemplars := make([]prometheus.Exemplar, len(h.Exemplars))
			for i, e := range h.Exemplars {
				exemplars[i] = prometheus.Exemplar{Value: e.Value, Labels: prometheus.Labels{"trace_id": e.TraceID}, Timestamp: e.At}
			}
			metric = prometheus.MustNewMetricWithExemplars(metric, exemplars...)
		}
		m.to <- metric
	}
}

func seconds(millis int64) float64 { return float64(millis) / 1000 }

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
