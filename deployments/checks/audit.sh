#!/bin/sh
# Proves, for cron, that no ticket was sold twice and every payment is where it should be.
# 0 all is well, 2 the audit found violations (the first ten are printed), or the data was replaced, 3 it could not look.
# Needs holdfast and jq. Where the log is archived, name where in HOLDFAST_ARCHIVE: with a log that was trimmed it cannot look without.
#
#   HOLDFAST_REDIS=redis://auditor:…@redis:6379/0 ./audit.sh [GATEWAY_URL]
set -u

report=$(holdfast audit ${1:+--gateway "$1"} -o json)
if [ -z "$report" ]; then
	echo "UNKNOWN: the audit could not look at everything"
	exit 3
fi
if [ "$(printf '%s' "$report" | jq .ok)" = true ]; then
	printf '%s' "$report" | jq -r '"OK: \(.checked.orders) orders of \(.checked.events) events, \(.checked.facts) facts"'
	exit 0
fi
printf '%s' "$report" | jq -r 'select(.replaced) | "CRITICAL: the data in Redis was replaced (holdfast check)"'
printf '%s' "$report" | jq -r 'select(.violations != []) | "CRITICAL: \(.violations | length) violations", (.violations[:10][] | "\(.invariant) \(.subject): \(.detail)")'
exit 2
