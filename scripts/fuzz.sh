#!/usr/bin/env bash
# Fuzzes every target of every package for FUZZTIME each (default 1m), FUZZJOBS of them at a time
# (default 1), and keeps of what was found interesting the smallest inputs, as seeds that "go test"
# runs from then on. What fails, go test keeps itself, in the same place.
set -euo pipefail
cd "$(dirname "$0")/.."

export FUZZTIME=${FUZZTIME:-1m}
jobs=${FUZZJOBS:-1}
FUZZPARALLEL=$(($(nproc) / jobs))
[ "$FUZZPARALLEL" -gt 0 ] || FUZZPARALLEL=1
FUZZCACHE=$(go env GOCACHE)/fuzz
export FUZZPARALLEL FUZZCACHE

fuzz() { # a package, and a target of it
	local package=$1 target=$2 failed=0 log found seeds room
	local most=50 bytes=2048 # seeds of a target, and of a seed
	log=$(mktemp)
	go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -parallel "$FUZZPARALLEL" >"$log" 2>&1 || failed=1
	echo "$package $target: $(grep '^fuzz: elapsed' "$log" | tail -n 1)"
	[ "$failed" -eq 0 ] || cat "$log"
	rm -f "$log"
	found=$FUZZCACHE/$package/$target
	[ -d "$found" ] || return "$failed"
	seeds=$(go list -f '{{.Dir}}' "$package")/testdata/fuzz/$target
	mkdir -p "$seeds"
	room=$((most - $(find "$seeds" -type f | wc -l)))
	if [ "$room" -gt 0 ]; then
		find "$found" -type f -size "-${bytes}c" -printf '%s %p\n' | sort -n | awk -v n="$room" 'NR <= n { print $2 }' |
			xargs -r cp -n -t "$seeds"
	fi
	return "$failed"
}
export -f fuzz

for package in $(go list ./...); do
	targets=$(go test -list '^Fuzz' "$package")
	sed -n "/^Fuzz/s|^|$package |p" <<<"$targets"
done | xargs -L 1 -P "$jobs" bash -c 'fuzz "$@"' fuzz
