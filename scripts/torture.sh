#!/usr/bin/env bash
# Runs every test of the invariants in full, and prints what was done how often. See docs/reliability.md.
# Green if nothing was found. SEED=… repeats a run.
set -uo pipefail
cd "$(dirname "$0")/.."

report=$(mktemp)
log=$(mktemp)
cache=$(mktemp -d)
trap 'rm -rf "$report" "$cache"' EXIT
export HOLDFAST_TORTURE=1 HOLDFAST_TORTURE_REPORT=$report
export SEED=${SEED:-$(date +%s)}
echo "SEED=$SEED"
failed=0

run() { # a name, then a command
	local name=$1 began=$SECONDS
	shift
	echo "== $name"
	if ! "$@" >>"$log" 2>&1; then
		failed=1
		echo "   FAILED after $((SECONDS - began)) s; the whole output is in $log"
		grep -E '^\s*(--- FAIL|SEED=|.*_test\.go:[0-9]+:)' "$log" | tail -n 40
		return
	fi
	echo "   ok, $((SECONDS - began)) s"
}

run "faults, the two descriptions, linearizability" \
	go test -v -count 1 -timeout 60m -run 'Torture' ./streams ./workers ./producer
run "processes, restarts, clusters" \
	go test -v -count 1 -timeout 60m -run 'Torture' ./e2e
run "network" \
	bash -c 'cd e2e/network && go test -v -count 1 -timeout 30m -run Torture ./...'
# Each planted bug is a program of its own, 50 MB in Go's cache of builds: they go into one that ends with the run, for
# a disk was filled by them once.
run "planted bugs" \
	env GOCACHE="$cache" go test -v -count 1 -timeout 60m -tags planted -run 'Planted' -parallel 6 ./workers ./producer ./streams ./payments/simulator ./payments/stripe ./archive ./streams/audit ./webhooks

go run ./e2e/torture/table "$report" || failed=1
if [ "$failed" -eq 0 ]; then
	rm -f "$log"
	echo "torture: green"
else
	echo "torture: FAILED, see $log" >&2
fi
exit "$failed"
