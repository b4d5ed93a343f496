#!/bin/sh
# Says whether holdfast is well, for cron or any monitor that reads exit statuses:
# 0 ok, 1 warning, 2 critical, 3 it could not look. Needs holdfast and jq.
#
#   HOLDFAST_REDIS=redis://auditor:…@redis:6379/0 ./check.sh
#
# MAX_BACKLOG (default 10000): entries of a group over all partitions, waiting or in hand.
# MAX_IDLE_SECONDS (60): how long an entry may go without a sign of life. More than --reclaim-after.
# MAX_DELIVERIES (5): how often an entry may have been tried.
set -u

pending=$(holdfast pending -o json) || { echo "UNKNOWN: holdfast pending failed"; exit 3; }
dead=$(holdfast dead list -o json) || { echo "UNKNOWN: holdfast dead list failed"; exit 3; }

# An entry that was handed back or redriven shows a day of idle time until it is taken over, a moment later.
stuck() {
	printf '%s\n' "$1" | jq -r --argjson most "${MAX_IDLE_SECONDS:-60}" \
		'"\(.partition) \(.group) " + (.entries[] | select(.idle_ms > $most * 1000) | .id)' | sort
}
idle=$(stuck "$pending")
if [ -n "$idle" ]; then
	sleep 5
	again=$(holdfast pending -o json) || { echo "UNKNOWN: holdfast pending failed"; exit 3; }
	idle=$(stuck "$again" | grep -Fx -e "$idle")
fi

critical=$(printf '%s\n' "$pending" | jq -rs '
	map(select(all(.consumers[]; .alive | not)))
	| group_by(.group)[]
	| "nobody works as \(.[0].group) in \(length) partitions, backlog \(map(.backlog) | add)"')
[ -n "$idle" ] && critical="$critical
nobody takes over: $(printf '%s' "$idle" | tr '\n' ',')"

warning=$(printf '%s\n' "$pending" | jq -rs \
	--argjson backlog "${MAX_BACKLOG:-10000}" --argjson deliveries "${MAX_DELIVERIES:-5}" '
	(group_by(.group)[] | {group: .[0].group, backlog: (map(.backlog) | add)}
		| select(.backlog > $backlog) | "backlog of \(.group) is \(.backlog)"),
	(.[] | .group as $group | .entries[] | select(.deliveries > $deliveries)
		| "\($group) \(.id) of \(.order_id) was delivered \(.deliveries) times")')
letters=$(printf '%s' "$dead" | grep -c .)
[ "$letters" -gt 0 ] && warning="$warning
$letters dead letters: $(printf '%s\n' "$dead" | jq -r .reason | sort | uniq -c | sort -rn | head -3 | sed 's/^ *//' | tr '\n' ';')"

say() { printf '%s\n' "$2" | grep . | sed "s/^/$1: /"; }
if [ -n "$critical" ]; then
	say CRITICAL "$critical"
	say WARNING "$warning"
	exit 2
fi
if [ -n "$warning" ]; then
	say WARNING "$warning"
	exit 1
fi
echo "OK: backlog $(printf '%s\n' "$pending" | jq -s 'map(.backlog) | add')"
