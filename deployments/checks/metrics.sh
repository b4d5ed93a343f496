#!/bin/sh
# Prints what holdfast pending knows in the text format of Prometheus, for a
# collector that reads files, such as node_exporter's textfile collector. Needs holdfast and jq.
#
#   * * * * *  metrics.sh > holdfast.prom.new && mv holdfast.prom.new /var/lib/node_exporter/holdfast.prom
#
# Scale workers on sum(holdfast_backlog{group="purchase"}).
set -eu

pending=$(holdfast pending -o json)
dead=$(holdfast dead list -o json | grep -c . || true)
printf '%s\n' "$pending" | jq -rs '
	def metric($name; $help; value): "# HELP \($name) \($help)", "# TYPE \($name) gauge",
		(.[] | "\($name){partition=\"\(.partition)\",group=\"\(.group)\"} \(value)");
	metric("holdfast_backlog"; "Requests, or facts, that wait or are in hand."; .backlog),
	metric("holdfast_pending"; "Requests, or facts, in hand."; .pending),
	metric("holdfast_owed"; "Orders whose money waits by itself."; .owed),
	metric("holdfast_oldest_waiting_seconds"; "Age of the oldest entry that waits; of maintenance, how long the oldest hold is over."; .oldest_waiting_ms / 1000),
	metric("holdfast_oldest_in_hand_seconds"; "How long the oldest entry in hand has been with workers."; .oldest_in_hand_ms / 1000),
	metric("holdfast_oldest_owed_seconds"; "Age of the oldest outcome of these."; .oldest_owed_ms / 1000),
	metric("holdfast_oldest_idle_seconds"; "Longest time without a sign of life, of the oldest entries."; .oldest_idle_ms / 1000),
	(map(select(.group != "maintenance")) | metric("holdfast_consumers_alive"; "Workers that gave a sign of life."; [.consumers[] | select(.alive)] | length))'
printf '# HELP holdfast_dead_letters Entries that were set aside.\n# TYPE holdfast_dead_letters gauge\nholdfast_dead_letters %s\n' "$dead"
